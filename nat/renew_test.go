// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// A path whose end is known is left for the one that was made for it, which the
// peer is told; nothing is sent again, and nothing leads back.
func TestRetire(t *testing.T) {
	for _, drop := range []bool{false, true} {
		r := newRig(t, true, Options{})
		r.up(map[sock.Path]time.Duration{pathA: 20 * ms, pathB: 40 * ms}, pathA, pathB)
		r.expect("first", r.active(), name(pathA))
		if r.p.Retire(r.now, pathA, pathC, drop) {
			t.Error("left for a path that isn't there")
		}
		r.expect("stays", r.active(), name(pathA))
		if !r.p.Retire(r.now, pathA, pathB, drop) {
			t.Error("not left")
		}
		r.run(time.Second)
		r.expect("moved", r.events(), "A>B:renewed")
		for _, e := range r.told {
			if s, ok := e.(Switched); ok && s.Replay {
				t.Error("a replay on a path that works")
			}
		}
		r.forget()
		r.run(time.Minute)
		r.expect("for good", r.active(), name(pathB))
		here := false
		for _, q := range r.p.Snapshot() {
			here = here || q.Path == pathA
		}
		if here == drop {
			t.Errorf("drop %v: the old path is there: %v", drop, here)
		}
		// Alone it must do again.
		if !drop {
			r.reply = func(p sock.Path) time.Duration {
				if p == pathA {
					return 20 * ms
				}
				return -1
			}
			r.run(2 * time.Minute)
			r.expect("back", r.active(), name(pathA))
		}
	}
}

// A peer whose requests come from another port of its address has a new mapping:
// the old path is asked at once, not at its next keepalive.
func TestPeerMoved(t *testing.T) {
	r := newRig(t, true, Options{Keepalive: 60 * time.Second})
	r.up(map[sock.Path]time.Duration{pathB: 20 * ms}, pathB)
	r.run(20 * time.Second)
	r.reply = func(sock.Path) time.Duration { return -1 }
	r.alive(20*ms, pathC) // the same socket and address, another port
	r.receive(pathC, r.request(false))
	r.run(time.Second)
	r.expect("follows", r.active(), name(pathC))
}

// With spares a search goes on after the first hit, which is handed over at once,
// and ends won all the same when no other is found.
func TestPunchSpares(t *testing.T) {
	k := planKinds()
	plan := MakePlan(k["eim-apdf"], k["sym-block"], PlanOptions{Friendly: true})
	for _, more := range []int{0, 1} {
		r := planRig(t, plan, Attested)
		r.p.c.Spares = 1
		r.run(50 * ms)
		shots := r.sent
		hit := func(s sentShot) { r.answer(s.s.Path, s.m.tx) }
		hit(shots[3])
		before := len(r.sent)
		if len(punchEvents[Hit](r)) != 1 {
			t.Fatal("the first hit waits")
		}
		r.run(50 * ms)
		if len(r.sent) == before {
			t.Error("the search has ended")
		}
		if more > 0 {
			hit(shots[5])
			before = len(r.sent)
			r.run(50 * ms)
			if len(r.sent) != before {
				t.Error("the search goes on after the second")
			}
		}
		r.run(time.Minute)
		ends := punchEvents[Ended](r)
		if len(ends) != 1 || ends[0].Why != Won || ends[0].Status.Hits != 1+more {
			t.Errorf("%d more: %+v", more, ends)
		}
	}
}

// A new hole beside a call is looked for slowly, isn't charged to the address, and
// is another one than those that are there.
func TestPunchSlow(t *testing.T) {
	k := planKinds()
	plan := MakePlan(k["eim-apdf"], k["sym-full"], PlanOptions{Friendly: true})
	mine, theirs := creds()
	r := &punchRig{t: t, now: epoch, budget: NewBudget(epoch), local: 100, keep: true, mine: mine, theirs: theirs}
	known := sock.Path{Local: 7, Remote: netip.AddrPortFrom(punchPeer.Addr(), 0)}
	config := PunchConfig{Mine: mine, Theirs: theirs, Plan: plan, Local: 7, Remote: punchPeer, Trust: Attested, Slow: true}
	r.p = NewPuncher(epoch, config, r.budget, rand.New(rand.NewPCG(1, 1)))
	r.run(time.Second)
	if n := len(r.sent); n < 28 || n > 32 {
		t.Errorf("%d shots in a second", n)
	}
	known.Remote = r.sent[4].s.Path.Remote
	r.p.c.Known = []sock.Path{known}
	r.answer(known, r.sent[4].m.tx)
	if len(punchEvents[Hit](r)) != 0 {
		t.Error("a path that works already is a hit")
	}
	r.run(SlowFor)
	if e := punchEvents[Ended](r); len(e) != 1 || e[0].Why != Silence {
		t.Errorf("after %v: %+v", SlowFor, e)
	}
	if why, _ := r.budget.take(r.now, ask{to: punchPeer, trust: Stranger}); why != NotRefused {
		t.Errorf("the address was charged: %v", why)
	}
	// For a stranger slow is nothing to be had by: three packets are three.
	config.Trust = Stranger
	r.sent, r.p = nil, NewPuncher(r.now, config, r.budget, rand.New(rand.NewPCG(1, 1)))
	r.run(SlowFor)
	if len(r.sent) > packetsStranger {
		t.Errorf("%d packets to a stranger", len(r.sent))
	}
}
