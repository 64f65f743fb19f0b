// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func transferEvents(s *side) (asked []TransferAsked, said []TransferSaid) {
	for _, e := range s.take() {
		switch e := e.(type) {
		case TransferAsked:
			asked = append(asked, e)
		case TransferSaid:
			said = append(said, e)
		}
	}
	return asked, said
}

// transferBed is Ben and Anna in a call, and Carl whom Ben knows.
func transferBed(t *testing.T) (a, b, c *side, id CallID, pass Pass) {
	t.Helper()
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b, c = l[0], l[1], l[2]
	id = talking(t, a, b)
	pass, err := b.m.NewPass(start, id, c.dev.ID(), c.dev.Reach(), []place{{c.dev.Certificate(), bytes.Repeat([]byte{3}, 32)}})
	if err != nil {
		t.Fatal(err)
	}
	a.take()
	b.take()
	return a, b, c, id, pass
}

// Ben transfers Anna to Carl; Carl sees who did, and Ben's call ends.
func TestTransfer(t *testing.T) {
	a, b, c, id, pass := transferBed(t)
	b.do(b.m.Transfer(start, id, pass))
	if err := b.m.Transfer(start, id, pass); !errors.Is(err, ErrBusy) {
		t.Errorf("two at a time: %v", err)
	}
	carry(start, a, b, c)
	asked, _ := transferEvents(a)
	if len(asked) != 1 || asked[0].By != b.peer() || asked[0].Pass.Callee != c.dev.ID() || len(asked[0].Pass.places) != 1 {
		t.Fatalf("asked %+v", asked)
	}
	p := asked[0].Pass
	a.do(a.m.TransferSay(start, id, asked[0].Number, TransferTrying, 0))
	second, err := a.m.PlaceAs(start, c.peer(), Wish{Pass: &p})
	if err != nil {
		t.Fatal(err)
	}
	a.drain()
	// What the hub does on the way: the INVITE is wrapped with the pass.
	ring := newPassed(start, &p, a.dev.ID(), a.node, c.node, a.wire[len(a.wire)-1].Body)
	cert, _, invite, err := OpenRing(start, c.dev, []identity.Secret{{9}, c.dev.Reach()}, a.node, c.node, ring)
	if err != nil || cert.Identity != a.dev.ID() || !bytes.Equal(invite, a.wire[len(a.wire)-1].Body) {
		t.Fatalf("the ring: %v", err)
	}
	carry(start, a, b, c)
	for _, e := range c.take() {
		if e, ok := e.(Incoming); ok && e.By != b.dev.ID() {
			t.Errorf("transferred by %v", e.By)
		}
	}
	a.do(a.m.TransferSay(start, id, asked[0].Number, TransferRings, 0))
	carry(start, a, b, c)
	if _, said := transferEvents(b); len(said) != 2 || said[0].State != TransferTrying || said[1].State != TransferRings {
		t.Errorf("said %+v", said)
	}
	c.do(c.m.Answer(start, second))
	carry(start, a, b, c)
	a.take()
	a.do(a.m.Transferred(start, id))
	carry(start, a, b, c)
	a.expect("the old call ends", "ended transferred answer us 0s")
	b.expect("on both sides", "ended transferred answer peer 0s")
	if len(a.m.calls) != 1 || len(b.m.calls) != 0 || len(c.m.calls) != 1 {
		t.Error("calls are left over")
	}
}

// A transfer that fails leaves the call, and another one may be tried; after too
// many none.
func TestTransferFails(t *testing.T) {
	a, b, c, id, pass := transferBed(t)
	for i := range maxTransfers {
		b.do(b.m.Transfer(start, id, pass))
		carry(start, a, b, c)
		asked, _ := transferEvents(a)
		if len(asked) != 1 || asked[0].Number != uint8(i+1) {
			t.Fatalf("asked %+v", asked)
		}
		a.do(a.m.TransferSay(start, id, asked[0].Number, TransferFailed, Busy))
		carry(start, a, b, c)
		if _, said := transferEvents(b); len(said) != 1 || said[0].State != TransferFailed || said[0].Reason != Busy {
			t.Fatalf("said %+v", said)
		}
	}
	if err := b.m.Transfer(start, id, pass); !errors.Is(err, ErrBusy) {
		t.Errorf("a ninth: %v", err)
	}
	if a.m.find(id) == nil || b.m.find(id) == nil {
		t.Error("the call has ended")
	}
}

// Who is transferred to himself, to the transferrer or to nowhere says so at once.
func TestTransferToNobody(t *testing.T) {
	a, b, c, id, _ := transferBed(t)
	for _, callee := range []*side{a, b} {
		p, err := b.m.NewPass(start, id, callee.dev.ID(), identity.Secret{1}, []place{{callee.dev.Certificate(), bytes.Repeat([]byte{3}, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		b.do(b.m.Transfer(start, id, p))
		carry(start, a, b, c)
		if asked, _ := transferEvents(a); len(asked) != 0 {
			t.Errorf("%s is asked", callee.name)
		}
		if _, said := transferEvents(b); len(said) != 1 || said[0].State != TransferFailed {
			t.Errorf("said %+v", said)
		}
	}
	if _, err := a.m.NewPass(start, CallID{9}, c.dev.ID(), identity.Secret{1}, nil); !errors.Is(err, ErrNoCall) {
		t.Errorf("a pass without a call: %v", err)
	}
}

// A pass is for one caller, one callee, one time, and once.
func TestPassForged(t *testing.T) {
	a, b, c, _, pass := transferBed(t)
	d := newSide(t, "dora", newDevice(t, "dora"), 9, Options{})
	introduce(a, b, c, d)
	invite := func(from *side, p Pass, id CallID) []byte {
		t.Helper()
		w := Wish{Pass: &p}
		_, msg, err := newInvite(start, from.dev, from.node, from.name, c.dev.Certificate(), c.node, id, opus, w.fields()...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	edit := func(f func(token []byte)) Pass {
		p := pass
		p.token = bytes.Clone(pass.token)
		f(p.token)
		return p
	}
	other := newPass(start, b.dev, a.dev.ID(), b.dev.ID(), c.dev.Reach(), nil) // for another callee
	for name, e := range map[string]struct {
		from *side
		p    Pass
		at   time.Time
		want error
	}{
		"another caller":  {d, pass, start, ErrForged},
		"another callee":  {a, other, start, ErrForged},
		"another time":    {a, edit(func(b []byte) { b[7]++ }), start, ErrForged},
		"another person":  {a, edit(func(b []byte) { copy(b[80:], d.dev.Certificate().Raw()) }), start, ErrForged},
		"cut":             {a, edit(func(b []byte) {}).cut(70), start, ErrMessage},
		"two hours later": {a, pass, after(2 * time.Hour), ErrExpired},
	} {
		c.m.peers[e.from.peer()].invites = allowance{}
		if err := c.receive(e.at, e.from, invite(e.from, e.p, CallID{7})); !errors.Is(err, e.want) {
			t.Errorf("%s: %v, want %v", name, err, e.want)
		}
		c.expect(name)
	}
	c.m.peers[a.peer()].invites = allowance{}
	if err := c.receive(start, a, invite(a, pass, CallID{8})); err != nil {
		t.Fatal(err)
	}
	c.expect("the genuine one rings", "incoming anna")
	c.do(c.m.HangUp(start, CallID{8}))
	c.take()
	if err := c.receive(start, a, invite(a, pass, CallID{9})); !errors.Is(err, ErrReplay) {
		t.Errorf("a second time: %v", err)
	}
	c.expect("once")

	// The ring around it.
	good := newPassed(start, &pass, a.dev.ID(), a.node, c.node, invite(a, pass, CallID{10}))
	open := func(b []byte) error {
		_, _, _, err := OpenRing(start, c.dev, []identity.Secret{c.dev.Reach()}, a.node, c.node, b)
		return err
	}
	if err := open(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if open(bad) == nil {
			t.Fatalf("byte %d does not count", i)
		}
	}
	plain := invitationFor(t, start, a, c.dev.Certificate(), c.node, CallID{11})
	if err := open(newPassed(start, &pass, a.dev.ID(), a.node, c.node, plain)); !errors.Is(err, ErrForged) {
		t.Errorf("an INVITE that says nothing of a transfer: %v", err)
	}
	if open(good[:40]) == nil || open(append(good, make([]byte, maxPassedRing)...)) == nil {
		t.Error("a length that cannot be")
	}
}

func (p Pass) cut(n int) Pass {
	p.token = p.token[:n]
	return p
}

func TestUsedPassesAreBounded(t *testing.T) {
	m := newSide(t, "anna", newDevice(t, "anna"), 1, Options{}).m
	for i := range 3 * maxPassed {
		inv := &invite{token: make([]byte, 80), passed: start}
		inv.token[16], inv.token[17] = byte(i), byte(i>>8)
		if !m.usePass(start, inv) {
			t.Fatal("a fresh pass is used")
		}
	}
	if len(m.passed) != maxPassed {
		t.Errorf("%d passes", len(m.passed))
	}
	m.usePass(after(2*time.Hour), &invite{token: make([]byte, 80), passed: after(2 * time.Hour)})
	if len(m.passed) != 1 {
		t.Errorf("%d passes after their time", len(m.passed))
	}
}

// FuzzTransfer: what is read is written again as it was.
func FuzzTransfer(f *testing.F) {
	dev := fixedDevice(f, "ben")
	p := newPass(start, fixedDevice(f, "anna"), identity.ID{1}, dev.ID(), identity.Secret{2}, []place{{dev.Certificate(), bytes.Repeat([]byte{3}, 32)}})
	f.Add(p.word(1).append(nil))
	f.Add(p.word(8).append(nil)[:138])
	f.Add(make([]byte, 130))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, ok := parseTransfer(b)
		if !ok {
			return
		}
		again, ok := parseTransfer(w.append(nil))
		if !ok || !reflect.DeepEqual(again, w) {
			t.Fatalf("%+v became %+v", w, again)
		}
		w.pass(start, dev.Certificate())
	})
}
