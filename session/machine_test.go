// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
)

func after(d time.Duration) time.Time { return start.Add(d) }

func TestCallAnswerTalkHangUp(t *testing.T) {
	l := sides(t, Options{Capabilities: CapDTX | CapFEC}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	a.expect("nothing happens before the other side speaks")

	carry(after(time.Second), a, b)
	b.expect("an INVITE rings", "incoming anna")
	a.expect("RINGING is heard", "ringing")

	b.do(b.m.Answer(after(3*time.Second), id))
	kb := b.seen[0].(Answered)
	b.expect("the callee may send media with its ANSWER", "answered")
	carry(after(4*time.Second), a, b)
	ka := a.seen[0].(Answered)
	a.expect("the caller may as it has the ANSWER", "answered")

	if ka.Keys.Send != kb.Keys.Receive || ka.Keys.Receive != kb.Keys.Send || ka.Keys.Send == ka.Keys.Receive {
		t.Error("the two sides' keys do not mirror each other")
	}
	if ka.Params.LocalSSRC != kb.Params.RemoteSSRC || ka.Params.RemoteSSRC != kb.Params.LocalSSRC || ka.Params.LocalSSRC == ka.Params.RemoteSSRC {
		t.Errorf("SSRCs do not mirror: %+v and %+v", ka.Params, kb.Params)
	}
	if ka.Params.Codec != media.Opus() || ka.Params.Capabilities != CapDTX|CapFEC || ka.Params.Capabilities != kb.Params.Capabilities {
		t.Errorf("negotiated %+v and %+v", ka.Params, kb.Params)
	}

	a.m.MediaHeard(after(5*time.Second), id)
	b.m.MediaHeard(after(5*time.Second), id)
	a.do(a.m.HangUp(after(13*time.Second), id))
	carry(after(14*time.Second), a, b)
	a.expect("hanging up ends the call here", "ended hangup talk us 9s")
	b.expect("and there", "ended hangup talk peer 11s")
	if !a.m.Deadline().IsZero() || !b.m.Deadline().IsZero() {
		t.Error("a deadline is left over")
	}
	if err := a.m.HangUp(after(15*time.Second), id); !errors.Is(err, ErrNoCall) {
		t.Errorf("hanging up twice: %v", err)
	}
}

// Each row: what happens after Anna has called Ben and it rings.
func TestEndings(t *testing.T) {
	type bed struct {
		a, b *side
		id   CallID
	}
	for _, c := range []struct {
		rule string
		run  func(bed)
		a, b []string
	}{
		{"the callee rejects", func(x bed) { x.b.do(x.b.m.Reject(start, x.id, Rejected)) },
			[]string{"ended rejected ring peer 0s"}, []string{"ended rejected ring us 0s"}},
		{"the callee is denied by policy", func(x bed) { x.b.do(x.b.m.Reject(start, x.id, Denied)) },
			[]string{"ended denied ring peer 0s"}, []string{"ended denied ring us 0s"}},
		{"hanging up what rings here rejects it", func(x bed) { x.b.do(x.b.m.HangUp(start, x.id)) },
			[]string{"ended rejected ring peer 0s"}, []string{"ended rejected ring us 0s"}},
		{"a reason that cannot be given becomes a plain one", func(x bed) { x.b.do(x.b.m.Reject(start, x.id, Offline)) },
			[]string{"ended rejected ring peer 0s"}, []string{"ended rejected ring us 0s"}},
		{"the caller cancels", func(x bed) { x.a.do(x.a.m.HangUp(start, x.id)) },
			[]string{"ended cancelled ring us 0s"}, []string{"ended cancelled ring peer 0s", "missed anna"}},
		{"another device answered: not missed", func(x bed) { x.a.do(x.a.m.Cancel(start, x.id, Elsewhere)) },
			[]string{"ended elsewhere ring us 0s"}, []string{"ended elsewhere ring peer 0s"}},
		{"nobody answers for 45 s", func(x bed) {
			x.b.advance(after(45*time.Second - 1))
			x.b.wire = nil
			x.b.advance(after(45 * time.Second))
		}, []string{"ended no-answer ring peer 0s"}, []string{"ended no-answer ring us 0s", "missed anna"}},
		{"the caller gives up after 60 s", func(x bed) {
			x.a.advance(after(60*time.Second - 1))
			x.a.advance(after(60 * time.Second))
		}, []string{"ended no-answer ring us 0s"}, []string{"ended no-answer ring peer 0s", "missed anna"}},
		{"the callee answers and the caller cancels at once", func(x bed) {
			x.a.do(x.a.m.HangUp(start, x.id))
			x.b.do(x.b.m.Answer(start, x.id))
		}, []string{"ended cancelled ring us 0s"}, []string{"answered", "ended cancelled answer peer 0s"}},
		{"the callee rejects and the caller cancels at once", func(x bed) {
			x.b.do(x.b.m.Reject(start, x.id, Rejected))
			x.a.do(x.a.m.HangUp(start, x.id))
			x.a.wire, x.b.wire = nil, nil // each would find no call: see TestLate
		}, []string{"ended cancelled ring us 0s"}, []string{"ended rejected ring us 0s"}},
		{"both hang up at once", func(x bed) {
			x.b.do(x.b.m.Answer(start, x.id))
			carry(start, x.a, x.b)
			x.a.do(x.a.m.HangUp(start, x.id))
			x.b.do(x.b.m.HangUp(start, x.id))
			x.a.wire, x.b.wire = nil, nil
		}, []string{"answered", "ended hangup answer us 0s"}, []string{"answered", "ended hangup answer us 0s"}},
		{"no media for 30 s after the answer", func(x bed) {
			x.b.do(x.b.m.Answer(start, x.id))
			carry(start, x.a, x.b)
			x.a.advance(after(30 * time.Second))
		}, []string{"answered", "ended failed answer us 30s"}, []string{"answered", "ended failed answer peer 0s"}},
		{"media keeps a call alive; 90 s without fail it", func(x bed) {
			x.b.do(x.b.m.Answer(start, x.id))
			carry(start, x.a, x.b)
			for i := 1; i <= 50; i++ {
				x.a.m.MediaHeard(after(time.Duration(i)*time.Second), x.id)
				x.a.advance(after(time.Duration(i) * time.Second))
			}
			x.a.advance(after(140*time.Second - 1))
			x.a.advance(after(140 * time.Second))
		}, []string{"answered", "ended failed talk us 2m20s"}, []string{"answered", "ended failed answer peer 0s"}},
		{"the link is lost while it rings", func(x bed) {
			x.a.m.Forget(start, x.b.peer())
			x.b.m.Forget(start, x.a.peer())
			x.a.drain()
			x.b.drain()
		}, []string{"ended offline ring peer 0s"}, []string{"ended offline ring peer 0s", "missed anna"}},
		{"a lost link gives an answered call 30 s", func(x bed) {
			x.b.do(x.b.m.Answer(start, x.id))
			carry(start, x.a, x.b)
			x.a.m.Forget(after(20*time.Second), x.b.peer())
			x.a.advance(after(50*time.Second - 1))
			x.a.advance(after(50 * time.Second))
		}, []string{"answered", "ended failed answer us 50s"}, []string{"answered"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			l := sides(t, Options{}, "anna", "ben")
			x := bed{a: l[0], b: l[1]}
			x.id = x.a.place(start, x.b)
			carry(start, x.a, x.b)
			x.a.expect("before", "ringing")
			x.b.expect("before", "incoming anna")
			c.run(x)
			carry(start, x.a, x.b)
			x.a.expect(c.rule, c.a...)
			x.b.expect(c.rule, c.b...)
		})
	}
}

func TestOfflineWithoutRinging(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	a.place(start, b)
	if d := a.m.Deadline(); !d.Equal(after(8 * time.Second)) {
		t.Fatalf("deadline %v", d.Sub(start))
	}
	invite := a.wire[0].Body
	a.wire = nil
	a.advance(after(8*time.Second - 1))
	a.expect("not yet")
	a.advance(after(time.Hour)) // a laptop slept: still offline, not no-answer
	a.expect("8 s without RINGING", "ended offline ring us 0s")
	// The INVITE was only slow: Ben rings until he hears that it is over.
	if err := b.receive(after(9*time.Second), a, invite); err != nil {
		t.Fatal(err)
	}
	b.expect("a slow INVITE rings", "incoming anna")
	carry(after(9*time.Second), a, b)
	b.expect("and is taken back", "ended cancelled ring peer 0s", "missed anna")
}

func TestRingingRepeats(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	a.place(start, b)
	carry(start, a, b)
	a.expect("first RINGING", "ringing")
	for i := 1; i <= 8; i++ {
		now := after(time.Duration(i) * ringEvery)
		if d := b.m.Deadline(); !d.Equal(now) {
			t.Fatalf("RINGING %d due at %v", i, d.Sub(start))
		}
		b.advance(now)
		if len(b.wire) != 1 || typeOf(b.wire[0].Body) != typeRinging {
			t.Fatalf("at %d s Ben sends %d messages", 5*i, len(b.wire))
		}
		carry(now, a, b)
		a.expect("later RINGING is no news")
	}
}

func TestCommandsAtTheWrongTime(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b := l[0], l[1]
	id := a.place(start, b)
	carry(start, l...)
	for what, err := range map[string]error{
		"answering an own call":   a.m.Answer(start, id),
		"rejecting an own call":   a.m.Reject(start, id, Rejected),
		"cancelling another's":    b.m.Cancel(start, id, Cancelled),
		"answering no call":       b.m.Answer(start, CallID{1}),
		"hanging up no call":      b.m.HangUp(start, CallID{1}),
		"rejecting no call":       b.m.Reject(start, CallID{1}, Busy),
		"cancelling no call":      b.m.Cancel(start, CallID{1}, Elsewhere),
		"a finer point: twice ok": nil,
	} {
		if err != nil && !errors.Is(err, ErrNoCall) || err == nil && what != "a finer point: twice ok" {
			t.Errorf("%s: %v", what, err)
		}
	}
	a.m.Forget(start, l[2].peer())
	if _, err := a.m.Place(start, l[2].peer()); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("calling a peer without a link: %v", err)
	}
	if _, err := a.m.Place(start, Peer{}); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("calling nobody: %v", err)
	}
	if err := a.receive(start, l[2], []byte{3}); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("message without a link: %v", err)
	}
	a.m.MediaHeard(start, CallID{9}) // no call: nothing to keep alive
}

// What crosses the end of a call, or a lost link, is told again.
func TestLate(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	invite := a.wire[0].Body
	a.wire = nil
	a.do(a.m.HangUp(start, id))
	cancel := a.wire[0].Body
	a.wire = nil

	// CANCEL overtakes its INVITE.
	if err := b.receive(start, a, cancel); !errors.Is(err, ErrNoCall) {
		t.Fatalf("CANCEL of an unknown call: %v", err)
	}
	if err := b.receive(start, a, invite); err != nil {
		t.Fatal(err)
	}
	b.expect("the INVITE rings", "incoming anna")
	ringing := b.wire[0].Body
	for range maxEchoes + 5 {
		a.receive(start, b, ringing)
	}
	if len(a.wire) != maxEchoes {
		t.Errorf("%d repeats of CANCEL, want %d", len(a.wire), maxEchoes)
	}
	if err := b.receive(start, a, a.wire[0].Body); err != nil {
		t.Fatal(err)
	}
	b.expect("until CANCEL comes again", "ended cancelled ring peer 0s", "missed anna")
}

// An INVITE that could not be carried ends what nobody has heard of, and nothing
// else: the peer stays somebody to call and to be called by.
func TestUnreached(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "cleo")
	a, b := l[0], l[1]
	a.place(start, b)
	invite := a.wire[0].Body
	a.wire = nil
	a.m.Unreached(start, l[2].peer())
	a.drain()
	a.expect("somebody else is not concerned")
	a.m.Unreached(start, b.peer())
	a.drain()
	a.expect("the call ends", "ended offline ring us 0s")
	a.wire = nil

	// It has come through all the same, late: Ben hears that it is over.
	if err := b.receive(start, a, invite); err != nil {
		t.Fatal(err)
	}
	b.expect("it rings", "incoming anna")
	carry(start, l...)
	b.expect("until that is known", "ended cancelled ring peer 0s", "missed anna")

	id := a.place(start, b)
	carry(start, l...)
	a.expect("another call rings", "ringing")
	a.m.Unreached(start, b.peer())
	b.take()
	b.do(b.m.Answer(start, id))
	carry(start, l...)
	a.expect("and goes on", "answered")
	a.m.Unreached(start, b.peer())
	a.drain()
	a.expect("also when it is answered")
}

// A HANGUP that is lost, as it may be where no link stands, is told again when the
// other side has heard nothing for a while and asks.
func TestSilenceAsks(t *testing.T) {
	a, b, id, _, _ := connected(t)
	a.m.MediaHeard(after(time.Second), id)
	b.m.MediaHeard(after(time.Second), id)
	a.do(a.m.HangUp(after(2*time.Second), id))
	a.wire = nil
	a.take()
	b.advance(after(time.Second + askAfter - 1))
	if len(b.wire) != 0 {
		t.Fatal("asked too early")
	}
	b.advance(after(time.Second + askAfter))
	b.wire = nil // lost as well
	b.advance(after(time.Second + 2*askAfter))
	carry(after(time.Second+2*askAfter), a, b)
	b.expect("it has hung up", "ended hangup talk peer 11s")

	// One that only can't be heard says that it is there; the call goes on.
	a, b, id, _, _ = connected(t)
	a.m.MediaHeard(start, id)
	b.m.MediaHeard(start, id)
	questions := 0
	for s := range 89 {
		for _, x := range []*side{a, b} {
			x.advance(after(time.Duration(s) * time.Second))
			questions += len(x.wire)
		}
		carry(after(time.Duration(s)*time.Second), a, b)
	}
	a.expect("for as long as a lid may be shut")
	if questions == 0 || questions > 4*mostAsks {
		t.Errorf("%d questions and answers in 89 s", questions)
	}
}

// A leg of a room whose caller gives up since nothing comes back has failed there:
// who has answered it has left nothing and calls back.
func TestWithdrawnLeg(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	r, err := NewGroupRoster(start, a.dev, "choir")
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.With(start, a.dev, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	id, err := a.m.PlaceAs(start, b.peer(), Wish{Group: &GroupCall{Roster: r}})
	if err != nil {
		t.Fatal(err)
	}
	a.drain()
	if err := b.receive(start, a, a.wire[0].Body); err != nil {
		t.Fatal(err)
	}
	b.do(b.m.Answer(start, id))
	a.wire, b.wire = nil, nil // RINGING and ANSWER are lost
	b.take()
	a.advance(after(a.m.o.OfflineAfter))
	a.expect("nothing was heard", "ended offline ring us 0s")
	carry(after(a.m.o.OfflineAfter), a, b)
	b.expect("the leg has failed", fmt.Sprintf("ended failed answer peer %v", a.m.o.OfflineAfter))
}

func TestLinkReplaced(t *testing.T) {
	a, b, id, _, _ := connected(t)
	// Anna hangs up while the link is dead; the next link tells Ben.
	a.m.Forget(after(time.Second), b.peer())
	b.m.Forget(after(time.Second), a.peer())
	a.do(a.m.HangUp(after(2*time.Second), id))
	if len(a.wire) != 0 {
		t.Fatal("message to a peer without a link")
	}
	a.take()
	a.m.Know(b.peer(), b.dev.Certificate())
	a.drain()
	b.m.Know(a.peer(), a.dev.Certificate())
	carry(after(3*time.Second), a, b)
	b.expect("told on the next link", "ended hangup answer peer 3s")

	a.m.Know(b.peer(), b.dev.Certificate()) // a renewed certificate is no new link
	a.drain()
	if len(a.wire) != 0 {
		t.Error("told twice")
	}
}

// The last message was sent, and the link died under it.
func TestEndLostWithTheLink(t *testing.T) {
	a, b, id, _, _ := connected(t)
	a.do(a.m.HangUp(after(time.Second), id))
	a.wire = nil
	for _, s := range []time.Duration{2 * time.Second, 3 * time.Second} {
		a.m.Forget(after(s), b.peer())
		b.m.Forget(after(s), a.peer())
		introduce(a, b)
		a.drain()
	}
	carry(after(4*time.Second), a, b)
	b.expect("told on the next link", "ended hangup answer peer 4s")
	a.m.Forget(after(endedLife+time.Second), b.peer())
	introduce(a, b)
	a.drain()
	if len(a.wire) != 0 {
		t.Error("told after the call was forgotten")
	}
}

func TestLeave(t *testing.T) {
	a, b, _, _, _ := connected(t)
	a.m.Leave(after(time.Second), b.peer())
	a.drain()
	a.expect("a node that says goodbye hangs up", "ended hangup answer peer 1s")
	if !a.m.Deadline().IsZero() {
		t.Error("a deadline is left over")
	}
	a.place(start, newKnown(t, a, "carl"))
	a.m.Leave(start, a.m.calls[0].peer)
	a.drain()
	a.expect("what rings there ends as with any lost link", "ended offline ring peer 0s")
}

// newKnown is one more side that s knows.
func newKnown(t *testing.T, s *side, name string) *side {
	n := newSide(t, name, newDevice(t, name), 50, Options{})
	introduce(s, n)
	return n
}

func TestRedialAfterLostLink(t *testing.T) {
	for _, by := range []string{"anna", "ben"} {
		a, b, _, _, _ := connected(t)
		if by == "ben" {
			a, b = b, a
		}
		a.m.Forget(after(time.Second), b.peer())
		b.m.Forget(after(time.Second), a.peer())
		introduce(a, b)
		id := a.place(after(2*time.Second), b)
		a.expect("the old call is given up", "ended failed answer us 2s")
		// Its HANGUP and the new INVITE may change places.
		hangup, invite := a.wire[0].Body, a.wire[1].Body
		a.wire = nil
		if err := b.receive(after(2*time.Second), a, invite); err != nil {
			t.Fatal(err)
		}
		b.expect("a new INVITE proves that the old call is over", "ended failed answer peer 2s", "incoming "+a.name)
		if err := b.receive(after(2*time.Second), a, hangup); !errors.Is(err, ErrNoCall) {
			t.Fatal(err)
		}
		carry(after(2*time.Second), a, b)
		b.do(b.m.Answer(after(3*time.Second), id))
		b.expect("and the new one can be answered", "answered")
	}
}

func TestSecondInviteInACallIsBusy(t *testing.T) {
	a, b, _, _, _ := connected(t)
	_, msg, err := newInvite(start, a.dev, a.node, "anna", b.dev.Certificate(), b.node, CallID{1}, Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.receive(start, a, msg); err != nil {
		t.Fatal(err)
	}
	b.expect("one call with one peer")
	if len(b.wire) != 1 || typeOf(b.wire[0].Body) != typeReject {
		t.Fatalf("%d messages", len(b.wire))
	}
}

func TestNoCommonCodec(t *testing.T) {
	a := newSide(t, "anna", newDevice(t, "anna"), 1, Options{Codecs: []media.Codec{{PayloadType: 8, ClockRate: 8000, Channels: 1, Name: "PCMA"}}})
	b := newSide(t, "ben", newDevice(t, "ben"), 2, Options{})
	introduce(a, b)
	a.place(start, b)
	carry(start, a, b)
	if e := a.seen[0].(Ended); e.Reason != Incompatible || e.Reason.Detail() == "" {
		t.Errorf("ended with %d %q", e.Reason, e.Reason.Detail())
	}
	a.expect("no common codec reads as failed", "ended failed ring peer 0s")
	b.expect("and does not ring")
}

func TestSSRCInUse(t *testing.T) {
	l := sides(t, Options{MaxCalls: 2}, "anna", "ben", "carl")
	a, b, c := l[0], l[1], l[2]
	id := a.place(start, b)
	carry(start, l...)
	b.do(b.m.Answer(start, id))
	ssrc := b.m.find(id).params.RemoteSSRC
	_, msg, err := newInvite(start, c.dev, c.node, "carl", b.dev.Certificate(), b.node, CallID{1}, Offer{Codecs: []media.Codec{media.Opus()}, SSRC: ssrc})
	if err != nil {
		t.Fatal(err)
	}
	b.take()
	b.wire = nil
	if err := b.receive(start, c, msg); err != nil {
		t.Fatal(err)
	}
	b.expect("an SSRC that another call hears is refused")
	if typeOf(b.wire[0].Body) != typeReject {
		t.Error("no REJECT")
	}
}

func TestKnowPanicsOnAnotherCertificate(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	l[0].m.Know(l[1].peer(), l[2].dev.Certificate())
}

// Same seeds, same events and, apart from what is secret, the same bytes.
func TestDeterministic(t *testing.T) {
	da, db := newDevice(t, "anna"), newDevice(t, "ben")
	run := func() (trace []string, ids []byte) {
		a, b := newSide(t, "anna", da, 1, Options{}), newSide(t, "ben", db, 2, Options{})
		introduce(a, b)
		for range 3 {
			id := a.place(start, b)
			ids = append(ids, id[:]...)
			carry(start, a, b)
			b.do(b.m.Answer(start, id))
			carry(start, a, b)
			b.do(b.m.HangUp(start, id))
			carry(start, a, b)
		}
		return append(a.trace, b.trace...), ids
	}
	t1, i1 := run()
	t2, i2 := run()
	if !bytes.Equal(i1, i2) || len(t1) != len(t2) {
		t.Fatal("two runs differ")
	}
	for i := range t1 {
		if t1[i] != t2[i] {
			t.Errorf("event %d: %q and %q", i, t1[i], t2[i])
		}
	}
}

func TestCallIDsDoNotRepeat(t *testing.T) {
	// A generator that repeats itself: the machine must draw again.
	m := NewMachine(newDevice(t, "anna"), identity.NodeID{1}, "", rand.New(&stuck{}), Options{})
	m.calls = append(m.calls, &call{id: m.newCallID(), params: Params{LocalSSRC: m.newSSRC(0)}})
	if id := m.newCallID(); m.find(id) != nil {
		t.Error("call ID used twice")
	}
	if s := m.newSSRC(0); s == m.calls[0].params.LocalSSRC {
		t.Error("SSRC used twice")
	}
}

// stuck gives each value eight times.
type stuck struct{ n uint64 }

func (s *stuck) Uint64() uint64 {
	s.n++
	return (s.n/8 + 1) * 0x0101010101010101
}
