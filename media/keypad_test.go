// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// TestKeypad: keys sound for 100 ms each 170 ms, a comma waits, small letters
// will do, and nothing comes before its time.
func TestKeypad(t *testing.T) {
	var k Keypad
	if !k.Deadline().IsZero() {
		t.Error("something waits in an empty keypad")
	}
	if err := errors.Join(k.Dial(start, "1"), k.Dial(start, "a,#")); err != nil {
		t.Fatal(err)
	}
	got := ""
	for at := start; !k.Deadline().IsZero(); at = k.Deadline() {
		if _, _, ok := k.Next(at.Add(-time.Nanosecond)); ok {
			t.Error("a packet before its time")
		}
		for {
			e, first, ok := k.Next(at)
			if !ok {
				break
			}
			mark := ""
			if first {
				mark = "!"
			} else if e.End {
				mark = "."
			}
			got += fmt.Sprintf("%d:%c%s%d ", at.Sub(start).Milliseconds(), e.Digit, mark, e.Duration)
		}
	}
	key := func(c byte, at int) string {
		s := fmt.Sprintf("%d:%c!960 ", at, c)
		for i := 1; i < 4; i++ {
			s += fmt.Sprintf("%d:%c%d ", at+20*i, c, 960*(i+1))
		}
		for i := 4; i < 7; i++ {
			s += fmt.Sprintf("%d:%c.4800 ", at+20*i, c)
		}
		return s
	}
	if want := key('1', 0) + key('A', 170) + key('#', 340+2000); got != want {
		t.Errorf("sent %s\nwant %s", got, want)
	}
	// After a rest the next key begins at once, and a sender that is late keeps
	// the distance of packets.
	now := start.Add(time.Minute)
	if err := k.Dial(now, "5"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	n := 0
	for {
		if _, _, ok := k.Next(now); !ok {
			break
		}
		n++
	}
	if d := k.Deadline().Sub(now); n != 1 || d != keyStep {
		t.Errorf("%d packets at once, the next after %v", n, d)
	}
}

func TestKeypadRefuses(t *testing.T) {
	var k Keypad
	for _, s := range []string{"12 3", "e", "\x00", "１"} {
		if err := k.Dial(start, s); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if !k.Deadline().IsZero() {
		t.Error("part of a refused text is sent")
	}
	if err := errors.Join(k.Dial(start, ""), k.Dial(start, strings.Repeat("1", MaxKeys))); err != nil {
		t.Error(err)
	}
	if err := k.Dial(start, "1"); !errors.Is(err, ErrManyKeys) {
		t.Errorf("one more than %d: %v", MaxKeys, err)
	}
}

// TestSkip: packets of keys between those of the sound are no losses, neither in
// what is played nor in the pauses of a sender with DTX, nor in what is reported.
func TestSkip(t *testing.T) {
	p := NewPlayout(PlayoutConfig{})
	var r Reception
	var a Arrivals
	p.Skip(&rtp.Header{}) // before the first sound
	var f Frame
	seq := uint16(1)
	next := func(now time.Time, ts int, sound []byte) {
		h := rtp.Header{SequenceNumber: seq, Timestamp: uint32(ts)}
		seq++
		if sound == nil {
			p.Skip(&h)
			r.Event(now, &h, 4)
			a.Event(now, h.SequenceNumber)
			return
		}
		p.Push(now, &h, sound)
		r.Receive(now, &h, len(sound))
		a.Receive(now, h.SequenceNumber, h.Timestamp)
	}
	for i := range 300 {
		now := start.Add(even(i))
		key := i - i%100 // keys of 2 s, with the timestamp of their start
		switch {
		case i < 100, i%5 == 0: // sound, then silence ten times a second
			sound := speech(i)
			if i >= 100 {
				sound = []byte(silence)
			}
			next(now, i*960, sound)
			next(now, key*960, nil)
		default:
			next(now, key*960, nil)
		}
		p.Pop(now, &f, nil)
		if a.Urgent(now) {
			t.Fatalf("at %d a queue is seen", i)
		}
	}
	s := p.Stats(start)
	if s.Concealed > 3*960 || s.Dropped+s.Late+s.Resyncs > 0 || s.Target > 30*ms {
		t.Errorf("%+v", s)
	}
	if r.Lost() != 0 || r.Jitter() > ms {
		t.Errorf("%d lost, jitter %v", r.Lost(), r.Jitter())
	}
	// A key of another stream, or of long ago, changes nothing.
	before := *p
	p.Skip(&rtp.Header{SequenceNumber: seq, SSRC: 9})
	p.Skip(&rtp.Header{SequenceNumber: seq - 500})
	p.Skip(&rtp.Header{SequenceNumber: seq + 500})
	if p.slots[3].seq != before.slots[3].seq || p.nextSeq != before.nextSeq {
		t.Error("a foreign key was noted")
	}
}
