// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/media"
)

var opus = Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 77}

// quiet checks that a message was dropped with want and changed nothing.
func quiet(t *testing.T, what string, s *side, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	if len(s.seen) != 0 || len(s.wire) != 0 {
		t.Errorf("%s: %d events, %d messages", what, len(s.seen), len(s.wire))
		s.seen, s.wire = nil, nil
	}
}

func invitationFor(t *testing.T, now time.Time, from *side, to identity.Certificate, node identity.NodeID, id CallID) []byte {
	t.Helper()
	_, msg, err := newInvite(now, from.dev, from.node, from.name, to, node, id, opus)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// newInviteWithKey makes an INVITE whose hybrid key is replaced.
func newInviteWithKey(from, to *side, id CallID, key []byte) (CallID, []byte, error) {
	msg, err := rewriteInvite(from, to, id, func(tag uint8, v []byte) []byte {
		if tag == 9 {
			return key
		}
		return v
	})
	return id, msg, err
}

// rewriteInvite makes an INVITE, changes its fields and signs and seals it
// again: what a hostile caller with good keys can do. nil leaves a field out.
func rewriteInvite(from, to *side, id CallID, change func(tag uint8, v []byte) []byte) ([]byte, error) {
	_, msg, err := newInvite(start, from.dev, from.node, from.name, to.dev.Certificate(), to.node, id, opus)
	if err != nil {
		return nil, err
	}
	plain, err := to.dev.Unseal([]byte(contextInvite), msg[1:])
	if err != nil {
		return nil, err
	}
	b := rewrite(plain, change)
	b = append(b, identity.Sign(from.dev.Key(), contextInvite, b)...)
	sealed, err := identity.Seal(to.dev.Certificate().Sealing, []byte(contextInvite), b)
	return append([]byte{byte(typeInvite)}, sealed...), err
}

func rewrite(plain []byte, change func(tag uint8, v []byte) []byte) []byte {
	b := []byte{plain[0]}
	wire.Fields(plain[1:len(plain)-64], func(tag uint8, v []byte) error {
		if v = change(tag, v); v != nil {
			b = wire.AppendField(b, tag, v)
		}
		return nil
	})
	return b
}

// Mallory is a peer both others have proved, with a link to each.
func TestPassedOnInvite(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "mallory")
	a, b, m := l[0], l[1], l[2]

	// Anna calls Ben; Mallory gets hold of the bytes and brings them to Ben.
	a.place(start, b)
	stolen := a.wire[0].Body
	quiet(t, "another's INVITE over an own link", b, b.receive(start, m, stolen), ErrForged)

	// Anna calls Mallory; Mallory opens the INVITE and seals it for Ben.
	a.do(a.m.HangUp(start, a.m.calls[0].id))
	a.place(start, m)
	plain, err := m.dev.Unseal([]byte(contextInvite), a.wire[len(a.wire)-1].Body[1:])
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := identity.Seal(b.dev.Certificate().Sealing, []byte(contextInvite), plain)
	if err != nil {
		t.Fatal(err)
	}
	passed := append([]byte{byte(typeInvite)}, sealed...)
	quiet(t, "sealed again, over Mallory's link", b, b.receive(start, m, passed), ErrForged)
	quiet(t, "sealed again, over Anna's link", b, b.receive(start, a, passed), ErrForged)

	// The same with Mallory's signature over Anna's certificate.
	forged, err := rewriteInvite(m, b, CallID{3}, func(tag uint8, v []byte) []byte {
		switch tag {
		case 2:
			return a.dev.Certificate().Raw()
		case 5:
			return a.node[:]
		}
		return v
	})
	if err != nil {
		t.Fatal(err)
	}
	quiet(t, "another's certificate", b, b.receive(start, m, forged), ErrForged)
	quiet(t, "another's certificate over that link", b, b.receive(start, a, forged), ErrForged)
	if n := b.m.Counters().Forged; n != 5 {
		t.Errorf("%d counted as forged, want 5", n)
	}
}

// An INVITE works for one device on one node, from one node.
func TestInviteForAnother(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b, c := l[0], l[1], l[2]
	id := byte(0)
	for what, msg := range map[string]func() ([]byte, error){
		"another identity": func() ([]byte, error) {
			return rewriteInvite(a, b, CallID{id}, func(tag uint8, v []byte) []byte {
				if tag == 3 {
					o := c.dev.ID()
					return o[:]
				}
				return v
			})
		},
		"another device": func() ([]byte, error) {
			return rewriteInvite(a, b, CallID{id}, func(tag uint8, v []byte) []byte {
				if tag == 4 {
					return c.dev.Certificate().Device
				}
				return v
			})
		},
		"another node of the caller": func() ([]byte, error) {
			return rewriteInvite(a, b, CallID{id}, func(tag uint8, v []byte) []byte {
				if tag == 5 {
					return c.node[:]
				}
				return v
			})
		},
		"another node of ours": func() ([]byte, error) {
			return rewriteInvite(a, b, CallID{id}, func(tag uint8, v []byte) []byte {
				if tag == 6 {
					return c.node[:]
				}
				return v
			})
		},
	} {
		id++
		m, err := msg()
		if err != nil {
			t.Fatal(err)
		}
		b.m.peers[a.peer()].invites = allowance{}
		quiet(t, what, b, b.receive(start, a, m), ErrForged)
	}
	// The same content for this device and these nodes is fine.
	m, err := rewriteInvite(a, b, CallID{9}, func(_ uint8, v []byte) []byte { return v })
	if err != nil {
		t.Fatal(err)
	}
	if err := b.receive(start, a, m); err != nil {
		t.Fatal(err)
	}
	b.expect("the control", "incoming anna")
}

// A hostile caller leaves fields out or gives them other lengths.
func TestInviteFields(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	for tag := uint8(1); tag <= 12; tag++ {
		for what, change := range map[string]func([]byte) []byte{
			"missing": func([]byte) []byte { return nil },
			"empty":   func([]byte) []byte { return []byte{} },
			"longer":  func(v []byte) []byte { return append(bytes.Clone(v), make([]byte, 70)...) },
		} {
			if tag == 11 && what == "empty" {
				continue // a caller without a name
			}
			m, err := rewriteInvite(a, b, CallID{tag}, func(at uint8, v []byte) []byte {
				if at == tag {
					return change(v)
				}
				return v
			})
			if err != nil {
				t.Fatal(err)
			}
			b.m.peers[a.peer()].invites = allowance{}
			want := ErrMessage
			if tag == 2 && what != "missing" {
				want = ErrForged
			}
			quiet(t, what, b, b.receive(start, a, m), want)
		}
	}
	m, err := rewriteInvite(a, b, CallID{40}, func(at uint8, v []byte) []byte { return v })
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := b.dev.Unseal([]byte(contextInvite), m[1:])
	for what, change := range map[string]func(p []byte) []byte{
		"version":        func(p []byte) []byte { p[0] = 2; return p },
		"only signature": func(p []byte) []byte { return p[:64] },
		"cut off":        func(p []byte) []byte { return p[:len(p)-1] },
		"empty":          func([]byte) []byte { return nil },
	} {
		sealed, err := identity.Seal(b.dev.Certificate().Sealing, []byte(contextInvite), change(bytes.Clone(plain)))
		if err != nil {
			t.Fatal(err)
		}
		b.m.peers[a.peer()].invites = allowance{}
		quiet(t, what, b, b.receive(start, a, append([]byte{2}, sealed...)), ErrMessage)
	}
}

func TestInviteFromAFutureVersion(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	_, msg, err := newInvite(start, a.dev, a.node, "anna", b.dev.Certificate(), b.node, CallID{1}, opus)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := b.dev.Unseal([]byte(contextInvite), msg[1:])
	p := wire.AppendField(bytes.Clone(plain[:len(plain)-64]), 200, []byte("news"))
	p = append(p, identity.Sign(a.dev.Key(), contextInvite, p)...)
	sealed, _ := identity.Seal(b.dev.Certificate().Sealing, []byte(contextInvite), p)
	if err := b.receive(start, a, append([]byte{2}, sealed...)); err != nil {
		t.Fatal(err)
	}
	b.expect("unknown fields are skipped", "incoming anna")
}

func TestInviteExpiry(t *testing.T) {
	for _, c := range []struct {
		sent time.Duration // when the INVITE was made, by the caller's clock
		want error
	}{
		{0, nil},
		{-inviteLife, nil},
		{-inviteLife - clockSkew, nil},
		{-inviteLife - clockSkew - time.Second, ErrExpired},
		{clockSkew, nil},
		{clockSkew + time.Second, ErrExpired},
		{20 * time.Hour, ErrExpired},
	} {
		l := sides(t, Options{}, "anna", "ben")
		a, b := l[0], l[1]
		msg := invitationFor(t, start.Add(c.sent), a, b.dev.Certificate(), b.node, CallID{1})
		err := b.receive(start, a, msg)
		if !errors.Is(err, c.want) {
			t.Errorf("made %v: %v", c.sent, err)
		}
		if (len(b.seen) == 0) != (c.want != nil) || len(b.wire) != 1 {
			t.Errorf("made %v: %d events, %d messages", c.sent, len(b.seen), len(b.wire))
		}
		if want := typeReject; c.want != nil && typeOf(b.wire[0].Body) != want {
			t.Error("a caller with a wrong clock is not told")
		}
	}
}

func TestExpiredInviteIsTold(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	a.place(start, b)
	b.receive(after(3*time.Hour), a, a.wire[0].Body)
	a.wire = nil
	carry(start, a, b)
	a.expect("a wrong clock", "ended expired ring peer 0s")
}

// Every bit of a message counts.
func TestFlippedBits(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	flip := func(to, from *side, msg []byte, reset func()) {
		t.Helper()
		for i := range msg {
			bad := bytes.Clone(msg)
			bad[i] ^= 1 << (i % 8)
			reset()
			before := len(to.m.calls)
			err := to.receive(start, from, bad)
			if err == nil || len(to.seen) != 0 || len(to.wire) != 0 || len(to.m.calls) != before {
				t.Fatalf("type %d, byte %d: %v, %d events, %d messages", msg[0], i, err, len(to.seen), len(to.wire))
			}
		}
	}
	invite := a.wire[0].Body
	flip(b, a, invite, func() { b.m.peers[a.peer()].invites = allowance{} })
	b.m.peers[a.peer()].invites = allowance{}
	carry(start, a, b)
	a.take()
	b.advance(after(ringEvery))
	ringing := b.wire[0].Body
	b.wire = nil
	b.take()
	flip(a, b, ringing, func() {})
	b.do(b.m.Answer(start, id))
	answer := b.wire[0].Body
	flip(a, b, answer, func() { a.m.calls[0].badAnswers = 0 })
	a.m.calls[0].badAnswers = 0
	if err := a.receive(start, b, answer); err != nil {
		t.Fatal("the control: ", err)
	}
	a.take()
	b.take()
	b.wire = nil
	update := a.wire[0].Body
	a.wire = nil
	flip(b, a, update, func() {})
	if err := b.receive(start, a, update); err != nil {
		t.Fatal("the control: ", err)
	}
	b.wire = nil
	b.do(b.m.HangUp(start, id))
	hangup := b.wire[0].Body
	flip(a, b, hangup, func() {})
	if err := a.receive(start, b, hangup); err != nil {
		t.Fatal("the control: ", err)
	}
}

func TestAnswerToAnother(t *testing.T) {
	l := sides(t, Options{MaxCalls: 8}, "anna", "ben", "mallory")
	a, b, m := l[0], l[1], l[2]
	id := a.place(start, b)
	inviteB := a.wire[0].Body
	idm := a.place(start, m)
	carry(start, l...)
	a.take()
	b.do(b.m.Answer(start, id))
	answer := b.wire[0].Body
	b.wire = nil

	quiet(t, "Ben's ANSWER over Mallory's link", a, a.receive(start, m, answer), ErrNoCall)
	moved := bytes.Clone(answer)
	copy(moved[1:], idm[:])
	quiet(t, "Ben's ANSWER to Mallory's call", a, a.receive(start, m, moved), ErrForged)

	// Mallory learns Ben's INVITE (she cannot) and answers it as herself.
	inv, err := openInvite(start, b.dev, b.node, a.peer(), inviteB)
	if err != nil {
		t.Fatal(err)
	}
	msg, _, err := newAnswer(m.dev, inv, opus)
	if err != nil {
		t.Fatal(err)
	}
	quiet(t, "Mallory's ANSWER to Ben's INVITE", a, a.receive(start, b, msg), ErrForged)
	// She knows the INVITE and Ben's certificate; only his signature is missing.
	forged := m.signedAs(t, b, inv)
	quiet(t, "Mallory's ANSWER under Ben's certificate", a, a.receive(start, b, forged), ErrForged)
	msg, _, err = newAnswer(b.dev, &invite{id: inv.id, caller: inv.caller, kem: inv.kem, sealed: []byte("other")}, opus)
	if err != nil {
		t.Fatal(err)
	}
	quiet(t, "ANSWER to other bytes", a, a.receive(start, b, msg), ErrForged)
	msg, _, err = newAnswer(b.dev, inv, Offer{SSRC: 9, Codecs: []media.Codec{{PayloadType: 0, ClockRate: 8000, Channels: 1, Name: "PCMU"}}})
	if err != nil {
		t.Fatal(err)
	}
	quiet(t, "ANSWER with a codec nobody offered", a, a.receive(start, b, msg), ErrMessage)
	for range 2 * maxBadAnswers {
		a.receive(start, b, msg)
	}
	quiet(t, "a flood of wrong ANSWERs", a, a.receive(start, b, answer), ErrFlood)
}

// signedAs makes an ANSWER to inv with named's certificate and s's signature.
func (s *side) signedAs(t *testing.T, named *side, inv *invite) []byte {
	t.Helper()
	reader := newDevice(t, "reader") // stands in for the caller, to see the plain form
	open := *inv
	open.caller = reader.Certificate()
	msg, _, err := newAnswer(named.dev, &open, opus)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := reader.Unseal([]byte(contextAnswer), msg[17:])
	if err != nil {
		t.Fatal(err)
	}
	b := plain[:len(plain)-64]
	b = append(b, identity.Sign(s.dev.Key(), contextAnswer, b)...)
	sealed, err := identity.Seal(inv.caller.Sealing, []byte(contextAnswer), b)
	if err != nil {
		t.Fatal(err)
	}
	return append(msg[:17:17], sealed...)
}

func TestAnswerTwice(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	carry(start, l...)
	b.do(b.m.Answer(start, id))
	answer := b.wire[0].Body
	carry(start, l...)
	a.take()
	quiet(t, "ANSWER again", a, a.receive(start, b, answer), ErrReplay)
}

// Control messages: right key, wrong sender or sequence.
func TestControlRules(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "mallory")
	a, b, m := l[0], l[1], l[2]
	id := a.place(start, b)
	carry(start, a, b)
	a.take()
	b.take()
	ca, cb := a.m.find(id), b.m.find(id)
	say := func(c *call, kind messageType, seq uint32, r Reason) []byte {
		return appendControl(nil, control{kind: kind, id: id, reason: r, seq: seq}, &c.sendKey)
	}
	quiet(t, "a third party", a, a.receive(start, m, say(cb, typeReject, 9, Busy)), ErrNoCall)
	quiet(t, "own message reflected", a, a.receive(start, b, say(ca, typeCancel, 9, Cancelled)), ErrForged)
	quiet(t, "CANCEL by the callee", a, a.receive(start, b, say(cb, typeCancel, 9, Cancelled)), ErrMessage)
	quiet(t, "REJECT by the caller", b, b.receive(start, a, say(ca, typeReject, 9, Busy)), ErrMessage)
	quiet(t, "RINGING by the caller", b, b.receive(start, a, say(ca, typeRinging, 9, 0)), ErrMessage)
	quiet(t, "sequence used", a, a.receive(start, b, say(cb, typeRinging, 1, 0)), ErrReplay)
	quiet(t, "sequence zero", a, a.receive(start, b, say(cb, typeRinging, 0, 0)), ErrReplay)
	quiet(t, "cut off", a, a.receive(start, b, say(cb, typeRinging, 5, 0)[:40]), ErrMessage)
	quiet(t, "too long", a, a.receive(start, b, append(say(cb, typeRinging, 5, 0), bytes.Repeat([]byte{0}, 256)...)), ErrMessage)
	quiet(t, "unknown type", a, a.receive(start, b, []byte{99, 1, 2, 3}), ErrMessage)
	quiet(t, "empty", a, a.receive(start, b, nil), ErrMessage)
	quiet(t, "a proof", a, a.receive(start, b, Refusal()), ErrMessage)
	// A genuine message with a field of a later version, but over the budget.
	long := say(cb, typeReject, 5, Busy)
	long = wire.AppendField(long[:len(long)-macSize], 9, bytes.Repeat([]byte{1}, maxControl))
	mac := controlMAC(&cb.sendKey, long)
	quiet(t, "over the budget", a, a.receive(start, b, append(long, mac[:]...)), ErrMessage)
	if err := a.receive(start, b, say(cb, typeReject, 6, Offline)); err != nil {
		t.Fatal(err)
	}
	a.expect("a peer cannot claim that we found nobody", "ended rejected ring peer 0s")
}

// A driver that does not drain: what waits stops growing.
func TestBacklog(t *testing.T) {
	l := sides(t, Options{MaxCalls: 8}, "anna", "ben")
	a, b := l[0], l[1]
	var last error
	for range 10 * maxBacklog {
		// An expired INVITE is answered each time.
		b.m.peers[a.peer()].invites = allowance{}
		last = b.m.Receive(after(3*time.Hour), a.peer(), invitationFor(t, start, a, b.dev.Certificate(), b.node, CallID{1}))
	}
	if !errors.Is(last, ErrFlood) || len(b.m.out) > maxBacklog {
		t.Errorf("backlog of %d: %v", len(b.m.out), last)
	}
}
