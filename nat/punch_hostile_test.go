// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

var bystander = netip.MustParseAddrPort("192.0.2.66:53")

// randomBehaviour is what a hostile peer may claim: anything.
func randomBehaviour(rng *rand.Rand) Behaviour {
	b := Behaviour{
		Mapping: Dependence(rng.IntN(7)), Filtering: Dependence(rng.IntN(7)), Ports: PortRule(rng.IntN(6)),
		Step: rng.IntN(200) - 100, Arbitrary: Tri(rng.IntN(4)), Chosen: Tri(rng.IntN(4)), IPv6: IPv6(rng.IntN(5)),
		Unreplied: time.Duration(rng.Int64() >> rng.IntN(60)), Confidence: rng.NormFloat64(),
		Public: []netip.Addr{bystander.Addr(), punchPeer.Addr()},
	}
	for i := range b.Block {
		b.Block[i] = uint16(rng.Uint32())
	}
	return b
}

// ledger counts what leaves a node, by address and over time.
type ledger struct {
	byAddr map[netip.Addr][]time.Duration
	flows  map[sock.Path]bool
	opened []time.Duration // new flows
}

func newLedger() *ledger {
	return &ledger{byAddr: map[netip.Addr][]time.Duration{}, flows: map[sock.Path]bool{}}
}

func (l *ledger) note(at time.Duration, path sock.Path) {
	l.byAddr[path.Remote.Addr()] = append(l.byAddr[path.Remote.Addr()], at)
	if !l.flows[path] {
		l.flows[path] = true
		l.opened = append(l.opened, at)
	}
}

// check holds the budgets, counted independently of Budget.
func (l *ledger) check(t *testing.T, most int) {
	t.Helper()
	window := func(what string, list []time.Duration, d time.Duration, most int) {
		for i := most; i < len(list); i++ {
			if list[i]-list[i-most] < d {
				t.Fatalf("%s: %d in %v", what, most+1, list[i]-list[i-most])
			}
		}
	}
	for a, list := range l.byAddr {
		if a == punchPeer.Addr() {
			window("packets to the peer", list, packetsWindow, most)
		} else {
			window("packets to "+a.String(), list, packetsWindow, packetsStranger)
		}
	}
	// Answers to the peer's own requests come on top: they can't wait.
	window("new flows", l.opened, time.Second, flowsPerSecond+maxReplies)
	window("new flows", l.opened, 3*time.Second, flowBurst+3*30+maxReplies)
}

// A peer's offer names a victim as its own address, and claims whatever makes
// the other side send most. Nobody attests it.
func TestVictimNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	budget := NewBudget(epoch)
	now, total, near := epoch, 0, 0
	mine, theirs := creds()
	for range 300 { // one offer after the other, replayed ones among them
		plan := MakePlan(randomBehaviour(rng), randomBehaviour(rng), PlanOptions{Friendly: true, LowTTL: true, Share: rng.Float64()})
		r := &punchRig{t: t, now: now, budget: budget, local: 100, mine: mine, theirs: theirs}
		r.p = NewPuncher(now, PunchConfig{Mine: mine, Theirs: theirs, Plan: plan, Local: 7, Remote: bystander}, budget, rng)
		r.p.SetRelayed(now, true)
		r.keep = true
		r.run(time.Second)
		now = r.now
		for _, shot := range r.sent {
			if shot.s.TTL > 0 && plan.Method == Simultaneous {
				near++
			} else {
				total++
			}
		}
	}
	if total > packetsStranger || near > packetsStranger {
		t.Errorf("%d packets to the victim in 5 min, and %d that died on the way", total, near)
	}
}

// A peer that may be searched, for a while: what it claims never makes us send
// elsewhere or more, on all punches together.
func TestClaimsStayInBudget(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 9))
	for round := range 40 {
		budget, l := NewBudget(epoch), newLedger()
		now := epoch
		mine, theirs := creds()
		for range 10 {
			us := randomBehaviour(rng)
			plan := MakePlan(us, randomBehaviour(rng), PlanOptions{Friendly: true, Share: 0.25})
			r := &punchRig{t: t, now: now, budget: budget, local: 100, mine: mine, theirs: theirs, keep: true}
			r.p = NewPuncher(now, PunchConfig{
				Mine: mine, Theirs: theirs, Plan: plan, Local: 7, Remote: punchPeer, Trust: Attested,
			}, budget, rng)
			r.run(20 * time.Second)
			now = r.now
			for _, s := range r.sent {
				l.note(s.at, s.s.Path)
			}
			if n := int(r.budget.Use().MostLive); n > maxLive {
				t.Fatalf("%d mappings", n)
			}
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
		l.check(t, packetsAttested+packetsReplies)
	}
}

// Genuine requests replayed from forged addresses: each address gets three
// packets and all together a few dozen.
func TestForgedSources(t *testing.T) {
	r := newPunchRig(t, "sym-full", "eim-apdf", PlanOptions{}, Attested)
	r.run(time.Second)
	before := len(r.sent)
	l := newLedger()
	for i := range 20_000 {
		from := bystander
		if i%2 == 1 {
			from = netip.AddrPortFrom(octets(192, 0, byte(i>>9), byte(i>>1)), uint16(i))
		}
		r.ask(sock.Path{Local: 100 + i%256, Remote: from})
	}
	for _, s := range r.sent[before:] {
		l.note(s.at, s.s.Path)
	}
	l.check(t, packetsAttested+packetsReplies)
	if n := len(r.sent) - before; n > maxReplies+1 {
		t.Errorf("%d packets in return for forged requests", n)
	}
	if s := r.p.Status(); s.Strangers != 20_000 || s.Hits != 0 {
		t.Errorf("status %+v", s)
	}
	if len(r.budget.addrs) > maxAddresses {
		t.Errorf("%d addresses", len(r.budget.addrs))
	}
}

// FuzzPuncher does everything that a driver and a hostile network can do, in
// any order, and counts what leaves.
func FuzzPuncher(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 40 {
		script := make([]byte, 15*(n+1))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1000 {
			return
		}
		fuzzPuncher(t, script)
	})
}

func fuzzPuncher(t *testing.T, script []byte) {
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	rng := rand.New(rand.NewPCG(uint64(next()), uint64(next())))
	trust := Trust(next() % 3)
	us := randomBehaviour(rng)
	plan := MakePlan(us, randomBehaviour(rng), PlanOptions{Friendly: true, LowTTL: next()&1 == 0, Standing: next() % 8})
	r := planRig(t, plan, trust)
	l, rolling := newLedger(), plan.Method == Cross
	open, ended := 0, false
	path := func() sock.Path {
		from := punchPeer
		switch n := next() % 8; n {
		case 0:
			from = bystander
		case 1, 2:
			from = netip.AddrPortFrom(punchPeer.Addr(), uint16(next()*8))
		}
		return sock.Path{Local: 100 + next()%8, Remote: from}
	}
	for len(script) > 0 {
		switch next() % 9 {
		case 0, 1:
			r.ask(path())
		case 2: // an answer to one of ours, here or elsewhere
			if len(r.sent) > 0 {
				s := r.sent[next()*next()%len(r.sent)]
				at := s.s.Path
				if next()%4 == 0 {
					at = path()
				}
				r.answer(at, s.m.tx)
			}
		case 3:
			r.p.SocketDown(r.now, 100+next()%8)
		case 4:
			r.p.SetRelayed(r.now, next()%4 != 0)
		case 5:
			r.now = r.now.Add(time.Duration(next()*next()) * time.Millisecond)
			r.p.Advance(r.now)
		case 6:
			if next()%16 == 0 {
				r.p.SendFailed(r.now, path(), SendError(next()%4))
			}
		case 7:
			if next()%16 == 0 {
				r.p.Stop(r.now)
			}
			r.p.SocketsOpened(r.now, []int{100 + next()%8})
		case 8:
			r.run(time.Duration(next()*4) * time.Millisecond)
		}
		r.drain()
		if at := r.p.Deadline(); r.p.Ended() != at.IsZero() {
			t.Fatalf("ended %v, deadline %v", r.p.Ended(), at)
		}
	}
	r.p.SetRelayed(r.now, false) // half an hour of a rolling search proves no more
	r.run(time.Hour)
	for _, s := range r.sent {
		if !rolling || !s.m.request {
			l.note(s.at, s.s.Path)
		}
		if s.m.request && s.s.Path.Remote.Addr() != punchPeer.Addr() && s.m.tx[11]&triggered == 0 {
			t.Fatalf("shot at %v", s.s.Path)
		}
	}
	most := trust.packets()
	if trust == Attested {
		most += packetsReplies
	}
	l.check(t, most)
	for _, e := range r.got {
		if ended {
			if _, ok := e.(CloseSockets); !ok {
				t.Fatalf("%T after the end", e)
			}
		}
		switch e := e.(type) {
		case OpenSockets:
			open += e.N
		case Ended:
			ended = true
		}
	}
	if !ended || open > maxExtra || len(r.p.hits) > maxHits {
		t.Fatalf("ended %v, %d sockets, %d hits", ended, open, len(r.p.hits))
	}
	live := plan.Live
	if got := r.budget.Use().MostLive; got > live {
		t.Fatalf("%d mappings, the share is %d", got, live)
	}
}
