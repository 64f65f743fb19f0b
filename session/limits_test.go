// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
)

func TestBusy(t *testing.T) {
	l := sides(t, Options{MaxCalls: 1}, "anna", "ben", "carl")
	a, b, c := l[0], l[1], l[2]
	id := a.place(start, b)
	carry(start, l...)
	a.take()
	b.take()

	if _, err := a.m.Place(start, c.peer()); !errors.Is(err, ErrBusy) {
		t.Errorf("second own call: %v", err)
	}
	if _, err := a.m.Place(start, b.peer()); !errors.Is(err, ErrBusy) {
		t.Errorf("second own call to the same peer: %v", err)
	}
	c.place(start, b)
	carry(start, l...)
	c.expect("busy while it rings", "ended busy ring peer 0s")
	b.expect("a busy line has missed a call", "missed carl")

	b.do(b.m.Answer(start, id))
	carry(start, l...)
	b.take()
	c.place(start, b)
	carry(start, l...)
	c.expect("busy in a call", "ended busy ring peer 0s")
	b.expect("missed again", "missed carl")
	if n := len(b.m.calls); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestEightCalls(t *testing.T) {
	names := []string{"hub", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}
	l := sides(t, Options{MaxCalls: 100}, names...)
	for _, s := range l[1:] {
		s.place(start, l[0])
	}
	carry(start, l...)
	if n := len(l[0].m.calls); n != 8 {
		t.Errorf("%d calls are up, want 8 at most", n)
	}
	l[9].expect("the ninth", "ended busy ring peer 0s")
}

func TestRingAllDevices(t *testing.T) {
	l := sides(t, Options{MaxCalls: 1}, "anna", "ben", "carl")
	a := l[0]
	// Six more nodes of Ben's device stand for six devices: one identity each
	// time, another peer.
	var bens []*side
	for i := range 6 {
		s := newSide(t, "ben"+string(rune('1'+i)), l[1].dev, uint64(20+i), Options{})
		introduce(a, s)
		bens = append(bens, s)
	}
	var ids []CallID
	for i, s := range bens {
		id, err := a.m.Place(start, s.peer())
		if (err == nil) != (i < maxDevices) {
			t.Fatalf("device %d: %v", i, err)
		}
		ids = append(ids, id)
		a.drain()
	}
	if _, err := a.m.Place(start, l[2].peer()); !errors.Is(err, ErrBusy) {
		t.Errorf("calling someone else meanwhile: %v", err)
	}
	carry(start, append(bens, a)...)
	a.take()
	bens[2].do(bens[2].m.Answer(start, ids[2]))
	carry(start, append(bens, a)...)
	a.expect("the first answers", "answered")
	for i, id := range ids[:maxDevices] {
		if i != 2 {
			a.do(a.m.Cancel(start, id, Elsewhere))
		}
	}
	carry(start, append(bens, a)...)
	bens[0].expect("the others stop, nothing is missed", "incoming anna", "ended elsewhere ring peer 0s")
}

func TestPeersAreBounded(t *testing.T) {
	a := newSide(t, "anna", newDevice(t, "anna"), 1, Options{})
	b := newSide(t, "ben", newDevice(t, "ben"), 2, Options{})
	cert := b.dev.Certificate()
	p := b.peer()
	for i := range 3 * maxPeers {
		p.Node = nodeNamed(string(rune(i + 1)))
		a.m.Know(p, cert)
		if i%3 == 0 {
			a.m.Forget(start, p)
		}
	}
	if n := len(a.m.peers); n > maxPeers+maxGone {
		t.Errorf("%d peers", n)
	}
	if n := len(a.m.gone); n > maxGone {
		t.Errorf("%d gone peers", n)
	}
}

func TestEndedCallsAreBounded(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	for range 2 * maxEnded {
		a.place(start, b)
		a.do(a.m.HangUp(start, a.m.calls[0].id))
		a.wire = nil
	}
	if n := len(a.m.ended); n != maxEnded {
		t.Errorf("%d ended calls remembered", n)
	}
}
