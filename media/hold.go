// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// KeepEvery is how often Keep is due on a held track: as often as a muted one
// sends, for the same reasons.
const KeepEvery = 100 * time.Millisecond

// hold is the part of an Out that stands in for the app while the track is
// held. It is guarded by Out.mu.
type hold struct {
	on    bool
	since time.Time
	base  uint32 // timestamp at since
}

// at returns the timestamp of now.
func (h *hold) at(now time.Time) uint32 {
	return h.base + uint32(int64(now.Sub(h.since))*ClockRate/int64(time.Second))
}

// Hold stops the track at now, or lets it go on: the session does, at either
// side's wish. What is written meanwhile is checked, and goes nowhere. Until the
// end of it Keep is to be called every KeepEvery.
func (t *Out) Hold(now time.Time, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case on == t.hold.on:
	case on:
		t.hold = hold{on: true, since: now, base: t.time.out + t.time.span}
	default:
		// The clock has run on, whatever the app does with its own.
		t.hold.on = false
		t.time.set(t.hold.at(now))
		t.since = keepSamples
	}
}

// Keep sends one tiny packet of silence in the place of an app that is held or
// has written nothing for a while, so that the path stays alive and the other
// side's buffer full of nothing; quiet is how long ago the last packet was: when
// the app has written a newer one meanwhile, nothing goes out. What the app
// writes next goes on at the right time, whether its timestamps count the pause
// or not. After Close it does nothing. It returns what the session reports.
func (t *Out) Keep(now time.Time, quiet time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() || !t.hold.on && now.Sub(t.wrote) < quiet {
		return nil // or the app has written since quiet was looked at
	}
	var ts uint32
	if t.hold.on {
		ts = t.hold.at(now)
	} else {
		ts = t.time.keep(int(toSamples(min(quiet, time.Hour))))
		t.kept, t.since = now, FrameSamples
	}
	copy(t.quiet[:], silence)
	t.frame = Frame{Payload: t.quiet[:], Timestamp: ts, Samples: FrameSamples}
	err := t.send(&t.frame)
	t.frame.Payload = nil
	return err
}

// Silent is an Opus packet of 20 ms without sound. It must not be changed.
func Silent() []byte { return []byte(silence) }
