// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"io"
	"time"
)

// Sound reads an incoming track as PCM, at the pace of a sound card. Only one
// goroutine may use it, and nobody may call ReadFrame meanwhile.
type Sound struct {
	in     *In
	player *Player
	meter  Meter
}

// NewSound returns the sound of a track in 1 or 2 channels, as many as dec
// makes.
func NewSound(in *In, dec Decoder, channels int) *Sound {
	return &Sound{in: in, player: NewPlayer(locked{in}, dec, channels)}
}

// Read fills pcm, channels interleaved, with what is to be heard next; call it
// when the sound card wants it. It never waits for the network: where nothing
// has come, the decoder conceals, and before the first packet there is silence.
// It returns io.EOF after the track was closed and ErrReading when somebody else
// reads; pcm is then silence too.
func (s *Sound) Read(pcm []int16) error {
	if !s.in.reading.CompareAndSwap(false, true) {
		clear(pcm)
		return ErrReading
	}
	defer s.in.reading.Store(false)
	select {
	case <-s.in.closed:
		clear(pcm)
		return io.EOF
	default:
	}
	s.player.Pull(time.Now(), pcm)
	s.meter.Add(pcm)
	s.in.level.Store(Silence - uint32(s.meter.Level()))
	return nil
}

// Level returns how loud the sound is, in -dBov from 0 to 127, falling slowly as
// a meter does, and whether somebody speaks.
func (s *Sound) Level() (level uint8, voice bool) { return s.meter.Level(), s.meter.Voice() }

// Broken returns how many packets the decoder refused.
func (s *Sound) Broken() uint64 { return s.player.Broken() }

// locked is the buffer of a track under its lock, which is held for moments
// only and not while a decoder works.
type locked struct{ in *In }

func (l locked) Pop(now time.Time, f *Frame, buf []byte) bool {
	ok := l.pop(now, f, buf)
	l.in.tapped(f)
	return ok
}

func (l locked) pop(now time.Time, f *Frame, buf []byte) bool {
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
