// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"testing"
	"time"
)

// A held track swallows what is written; its clock runs on, in whatever way the
// app counts.
func TestOutHold(t *testing.T) {
	for name, count := range map[string]uint32{"counting on": 960, "not counting": 0} {
		var s sent
		out := NewOut(s.send)
		now := time.Unix(1000, 0)
		ts := uint32(5000)
		write := func() {
			t.Helper()
			if err := out.WriteFrame(&Frame{Payload: speech(1), Timestamp: ts}); err != nil {
				t.Fatal(err)
			}
			ts += count
			now = now.Add(20 * time.Millisecond)
		}
		write()
		write()
		out.Hold(now, true)
		out.Hold(now, true)
		for i := range 50 { // a second
			if i%5 == 0 {
				out.Keep(now, 0)
			}
			write()
		}
		out.Hold(now, false)
		write()
		write()
		if len(s.frames) != 2+10+2 {
			t.Fatalf("%s: %d frames", name, len(s.frames))
		}
		for i, f := range s.frames {
			want := uint32(5000 + 960*i)
			if i >= 2 {
				want = uint32(5000 + 960*2 + 4800*(i-2))
			}
			if i >= 12 {
				want = uint32(5000 + 960*52 + 960*(i-12))
			}
			if f.Timestamp != want {
				t.Errorf("%s: frame %d at %d, want %d", name, i, f.Timestamp, want)
			}
			if quiet := string(f.Payload) == silence; quiet != (i >= 2 && i < 12) {
				t.Errorf("%s: frame %d silent %t", name, i, quiet)
			}
		}
	}
}

// Holding a track that has said nothing yet, and a closed one.
func TestOutHoldEarlyAndLate(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	now := time.Unix(1000, 0)
	out.Hold(now, true)
	out.Keep(now, 0)
	out.Hold(now.Add(time.Second), false)
	if err := out.WriteFrame(&Frame{Payload: speech(1), Timestamp: 7}); err != nil {
		t.Fatal(err)
	}
	if len(s.frames) != 2 || s.frames[1].Timestamp-s.frames[0].Timestamp != ClockRate {
		t.Errorf("%+v", s.frames)
	}
	out.Hold(now, true)
	out.Close()
	out.Keep(now, 0)
	if len(s.frames) != 2 {
		t.Error("kept after Close")
	}
}

func TestOutMutedWhileHeld(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	now := time.Unix(1000, 0)
	out.Mute(true)
	out.Hold(now, true)
	out.Hold(now, false)
	if !out.Muted() {
		t.Error("holding has ended the mute")
	}
	out.WriteFrame(&Frame{Payload: speech(1)})
	if len(s.frames) != 1 || string(s.frames[0].Payload) != silence {
		t.Errorf("%+v", s.frames)
	}
}
