// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
)

// recordable are two sides in a call who both know of recordings.
func recordable(t *testing.T) (a, b *side, id CallID) {
	t.Helper()
	l := sides(t, Options{Capabilities: CapRecord}, "anna", "ben")
	a, b = l[0], l[1]
	id = a.place(start, b)
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	carry(start, a, b)
	a.take()
	b.take()
	return a, b, id
}

// Either side tells the other before it records, and when it has ended.
func TestRecord(t *testing.T) {
	a, b, id := recordable(t)
	for _, s := range [][2]*side{{a, b}, {b, a}} {
		us, them := s[0], s[1]
		for _, word := range []string{"on", "off"} {
			us.do(us.m.Record(start, id, word == "on"))
			us.do(us.m.Record(start, id, word == "on")) // again is no error, and nothing
			if len(us.wire) != 1 {
				t.Fatalf("%d messages", len(us.wire))
			}
			us.expect("nothing before the other side knows")
			carry(start, a, b)
			them.expect("they hear of it", "recorded "+word+" by peer")
			us.expect("and we of that", "recorded "+word+" by us")
		}
	}
	if d := a.m.Deadline(); d != after(mediaTimeout) {
		t.Errorf("deadline %v after all is said", d.Sub(start))
	}
	// What the other side says of itself meanwhile is no sign that it knows.
	b.do(b.m.Hold(start, id, true))
	a.do(a.m.Record(start, id, true))
	for _, o := range b.wire {
		if err := a.receive(start, b, o.Body); err != nil {
			t.Fatal(err)
		}
	}
	b.wire = nil
	a.expect("only the hold is known", "held peer")
	carry(start, a, b)
	a.expect("now it knows", "recorded on by us")
}

// Nothing is known as long as the word or its echo is lost; the last word counts,
// also beside a hold.
func TestRecordLost(t *testing.T) {
	a, b, id := recordable(t)
	a.do(a.m.Record(start, id, true))
	a.wire = nil // lost
	a.advance(after(updateAgain))
	for _, o := range a.wire {
		b.do(b.m.Receive(after(updateAgain), a.peer(), o.Body))
	}
	a.wire, b.wire = nil, nil // the echo is lost
	b.expect("heard", "recorded on by peer")
	a.expect("and not known")
	a.advance(after(3 * updateAgain))
	carry(after(3*updateAgain), a, b)
	b.expect("heard once")
	a.expect("known", "recorded on by us")

	// The last word counts, whatever was confirmed in between.
	a.do(a.m.Record(start, id, false))
	off := a.wire
	a.wire = nil
	a.do(a.m.Record(start, id, true))
	a.do(a.m.Hold(start, id, true))
	b.do(b.m.Receive(start, a.peer(), off[0].Body))
	carry(start, a, b)
	a.expect("off is overtaken", "held us", "recorded on by us")
	b.expect("off, then on", "recorded off by peer", "recorded on by peer", "held peer")
}

// Recordings are of calls that are answered, with a peer that knows of them.
func TestRecordRefused(t *testing.T) {
	a, _, id, _, _ := connected(t)
	if err := a.m.Record(start, id, true); !errors.Is(err, ErrIncapable) {
		t.Errorf("an old peer: %v", err)
	}
	if err := a.m.Record(start, CallID{1}, true); !errors.Is(err, ErrNoCall) {
		t.Errorf("no call: %v", err)
	}
	l := sides(t, Options{Capabilities: CapRecord}, "anna", "ben")
	a, b := l[0], l[1]
	id = a.place(start, b)
	if err := a.m.Record(start, id, true); !errors.Is(err, ErrNoCall) {
		t.Errorf("while it rings: %v", err)
	}
}

// A peer that changes its mind all the time is not listened to for long.
func TestRecordFlood(t *testing.T) {
	a, b, id := recordable(t)
	heard := 0
	for i := range 100 {
		a.do(a.m.Record(start, id, i%2 == 0))
		for _, o := range a.wire {
			if err := b.receive(start, a, o.Body); err != nil && !errors.Is(err, ErrFlood) {
				t.Fatal(err)
			}
		}
		a.wire, b.wire = nil, nil
		heard += len(b.take())
	}
	if heard > inviteBurst {
		t.Errorf("%d events", heard)
	}
	if b.m.Counters().Flooded == 0 {
		t.Error("nothing counted")
	}
}
