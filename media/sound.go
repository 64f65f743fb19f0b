// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// Sound returns the frames of a track for a [Player], which paces itself.
// Nobody may call ReadFrame meanwhile. After Close the track gives what it had,
// then nothing.
func Sound(in *In) Source { return locked{in} }

// locked is the buffer of a track under its lock, which is held for moments
// only and not while a decoder works.
type locked struct{ in *In }

func (l locked) Pop(now time.Time, f *Frame, buf []byte) bool {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.in.play.stretch = true
	return l.in.play.Pop(now, f, buf)
}

func (l locked) Stretched(removed, inserted int) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.in.play.Stretched(removed, inserted)
}

func (l locked) Recovered(samples int) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.in.play.Recovered(samples)
}

func (l locked) Restart() {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	l.in.play.Restart()
}
