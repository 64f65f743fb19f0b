// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
	"time"
)

func TestHold(t *testing.T) {
	a, b, id, _, _ := connected(t)
	hold := func(s *side, on bool) { t.Helper(); s.do(s.m.Hold(start, id, on)) }
	hold(a, true)
	carry(start, a, b)
	a.expect("a hold is told here", "held us")
	b.expect("and there", "held peer")
	hold(a, true)
	hold(b, true)
	carry(start, a, b)
	a.expect("twice is no news; both sides may hold", "held peer")
	b.expect("both sides may hold", "held us")
	hold(a, false)
	hold(b, false)
	carry(start, a, b)
	a.expect("each ends its own", "resumed us", "resumed peer")
	b.expect("each ends its own", "resumed us", "resumed peer")
	for _, s := range []*side{a, b} {
		if d := s.m.Deadline(); d != after(mediaTimeout) {
			t.Errorf("%s: something is left to be sent again at %v", s.name, d)
		}
	}
}

func TestHoldNeedsAnswer(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	carry(start, a, b)
	for _, s := range l {
		if err := s.m.Hold(start, id, true); !errors.Is(err, ErrNoCall) {
			t.Errorf("%s holds what only rings: %v", s.name, err)
		}
	}
}

// The last word arrives although messages are lost, doubled and overtaken.
func TestUpdateLost(t *testing.T) {
	a, b, id, _, _ := connected(t)
	a.do(a.m.Hold(start, id, true))
	a.wire = nil
	a.advance(after(updateAgain - 1))
	if len(a.wire) != 0 {
		t.Fatal("sent again too early")
	}
	a.advance(after(updateAgain))
	a.wire = nil // lost again: the wait doubles
	a.advance(after(3*updateAgain - 1))
	a.do(a.m.Hold(start, id, false))
	a.do(a.m.Hold(start, id, true))
	first, last := a.wire[0], a.wire[1]
	a.wire = nil
	if err := b.receive(start, a, last.Body); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Outgoing{first, last} {
		if err := b.receive(start, a, o.Body); !errors.Is(err, ErrReplay) {
			t.Errorf("an overtaken or doubled update: %v", err)
		}
	}
	b.expect("the last word counts", "held peer")
	b.wire = nil // the answer is lost too
	a.advance(after(5 * updateAgain))
	carry(after(5*updateAgain), a, b)
	b.expect("hearing it again is no news")
	if d := a.m.Deadline(); d != after(mediaTimeout) {
		t.Errorf("still sent again at %v", d)
	}
}

// What was said while the link was down is said on the next one, at once.
func TestUpdateOverNewLink(t *testing.T) {
	a, b, id, _, _ := connected(t)
	a.m.Forget(start, b.peer())
	b.m.Forget(start, a.peer())
	a.do(a.m.Hold(start, id, true))
	if len(a.wire) != 0 {
		t.Fatal("sent without a link")
	}
	introduce(a, b)
	a.advance(after(10 * time.Millisecond))
	carry(start, a, b)
	b.expect("told on the new link", "held peer")
}

// An update gives up when nobody sees it: a call lives on media alone.
func TestUpdateGivesUp(t *testing.T) {
	a, b, id, _, _ := connected(t)
	_ = b
	a.do(a.m.Hold(start, id, true))
	sent := 1
	for i := range 400 {
		now := after(time.Duration(i) * time.Second)
		a.m.MediaHeard(now, id)
		a.wire = nil
		a.advance(now)
		sent += len(a.wire)
	}
	if sent != 1+maxUpdates {
		t.Errorf("sent %d times, want %d", sent, 1+maxUpdates)
	}
}

// A side that still believes in a call that is over is told so.
func TestUpdateOfEndedCall(t *testing.T) {
	a, b, id, _, _ := connected(t)
	a.do(a.m.HangUp(start, id))
	a.wire = nil // lost
	b.do(b.m.Hold(start, id, true))
	carry(start, a, b)
	b.expect("told again", "held us", "ended hangup answer peer 0s")
}

func TestUpdateForged(t *testing.T) {
	a, b, id, ka, kb := connected(t)
	good := appendUpdate(nil, id, &ka.Keys.sendUpdate, update{seq: 9, state: StateHeld})
	for name, msg := range map[string][]byte{
		"turned around": appendUpdate(nil, id, &kb.Keys.sendUpdate, update{seq: 9}),
		"other call":    append(append([]byte{byte(typeUpdate)}, make([]byte, 16)...), good[17:]...),
		"cut":           good[:len(good)-1],
		"bit":           append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1),
		"empty":         {byte(typeUpdate)},
		"long":          append([]byte{byte(typeUpdate)}, make([]byte, maxUpdate)...),
	} {
		if err := b.receive(start, a, msg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	b.expect("nothing was changed")
	if err := b.receive(start, a, good); err != nil {
		t.Error(err)
	}
	b.expect("the genuine one is taken", "held peer")
}

// Several calls at a time are independent: each has its own state and end.
func TestCallWaiting(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b, c := l[0], l[1], l[2]
	first := a.place(start, b)
	carry(start, l...)
	b.do(b.m.Answer(start, first))
	carry(start, l...)
	second := c.place(start, b)
	carry(start, l...)
	b.expect("the second rings", "incoming anna", "answered", "incoming carl")
	c.expect("and its caller hears it ring", "ringing")
	a.expect("the first goes on", "ringing", "answered")
	b.do(b.m.Answer(start, second))
	b.do(b.m.Hold(start, first, true))
	carry(start, l...)
	a.expect("one is held", "held peer")
	c.expect("the other is not", "answered")
	b.do(b.m.HangUp(start, second))
	carry(start, l...)
	c.expect("one ends", "ended hangup answer peer 0s")
	b.do(b.m.Hold(start, first, false))
	carry(start, l...)
	a.expect("the other goes on", "resumed peer")
}
