// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// The system refuses, the interface vanishes: no packet more.
func TestPuncherSendFails(t *testing.T) {
	for _, c := range []struct {
		err  SendError
		fail int
		why  End
	}{{SendRefused, 1, Refused}, {SendNoRoute, 1, SocketLost}, {SendJammed, maxJams + 1, Refused}} {
		r := newPunchRig(t, "eim-apdf", "sym-block", PlanOptions{}, Attested)
		r.run(100 * time.Millisecond)
		for i := range c.fail {
			before := len(r.sent)
			r.p.SendFailed(r.now, r.sent[i].s.Path, c.err)
			if c.err == SendJammed && i < maxJams {
				r.run(jamWait - time.Millisecond)
				if len(r.sent) != before {
					t.Fatalf("%d packets into a full buffer", len(r.sent)-before)
				}
				r.run(5 * time.Millisecond)
			}
		}
		n := len(r.sent)
		r.run(time.Minute)
		if e := punchEvents[Ended](r); len(r.sent) != n || len(e) != 1 || e[0].Why != c.why || e[0].Status.Failed != c.fail {
			t.Errorf("%v: %d packets more, ended %v", c.err, len(r.sent)-n, e)
		}
	}
	r := newPunchRig(t, "sym-full", "eim-apdf", PlanOptions{}, Attested)
	r.run(100 * time.Millisecond)
	for l := 100; l < 200; l++ {
		r.p.SocketDown(r.now, l)
	}
	r.sent = nil
	r.run(10 * time.Second)
	for _, s := range r.sent {
		if s.s.Path.Local < 200 {
			t.Fatal("a lost socket is used")
		}
	}
	if len(r.sent) < 156*2 {
		t.Errorf("%d packets from what is left", len(r.sent))
	}
	r = newPunchRig(t, "sym-full", "eim-apdf", PlanOptions{}, Attested)
	r.run(100 * time.Millisecond)
	r.p.SocketDown(r.now, 7)
	r.drain()
	if e := punchEvents[Ended](r); len(e) != 1 || e[0].Why != SocketLost {
		t.Errorf("without the shared socket: %v", e)
	}
}

// Fewer sockets than asked for, none at all, too many, and too late.
func TestPuncherSockets(t *testing.T) {
	k := planKinds()
	plan := MakePlan(k["sym-chosen"], k["eim-apdf"], PlanOptions{})
	for _, c := range []struct {
		give   []int
		shots  int
		closed int
	}{
		{[]int{1, 2, 3, 4}, 24, 4}, {[]int{1, -1, -1, 4}, 12, 2}, {[]int{-1, -1, -1, -1}, 0, 0},
		{nil, 0, 0}, {[]int{1}, 6, 1}, {[]int{1, 2, 3, 4, 5, 6}, 24, 6},
	} {
		r := planRig(t, plan, Attested)
		r.p.Advance(r.now)
		e, ok := r.p.NextEvent()
		o, _ := e.(OpenSockets)
		if !ok || o.N != choices || len(o.Ports) != choices {
			t.Fatalf("asks for %+v", e)
		}
		for _, port := range o.Ports {
			if port < 20000 || port > 20511 {
				t.Errorf("binds %d", port)
			}
		}
		r.p.SocketsOpened(r.now, c.give)
		r.run(10 * time.Second)
		r.p.SocketsOpened(r.now, []int{50})
		r.drain()
		closed := 0
		for _, e := range punchEvents[CloseSockets](r) {
			closed += len(e.Locals)
		}
		if len(r.sent) != c.shots || closed != c.closed+1 {
			t.Errorf("given %v: %d shots and %d closed, want %d and %d", c.give, len(r.sent), closed, c.shots, c.closed+1)
		}
	}
	r := planRig(t, Plan{Method: Straight}, Attested)
	if r.drain(); !r.p.Ended() || len(punchEvents[Ended](r)) != 1 {
		t.Error("nothing to do, and not ended")
	}
}

// After a sleep the machine catches up with a few shots, not with all.
func TestPuncherLate(t *testing.T) {
	r := newPunchRig(t, "eim-apdf", "sym-block", PlanOptions{}, Attested)
	r.run(10 * time.Millisecond)
	n := len(r.sent)
	r.now = r.now.Add(time.Second)
	r.p.Advance(r.now)
	r.drain()
	for i := 0; i < 20 && !r.p.Deadline().After(r.now); i++ {
		r.p.Advance(r.now)
		r.drain()
	}
	if late := len(r.sent) - n; late < 20 || late > int(maxLag/burstEvery)+1 {
		t.Errorf("%d shots at once", late)
	}
}

// Both sides' trace of a punch follows from the seeds.
func TestPuncherSameTrace(t *testing.T) {
	trace := func(seed uint64) uint64 {
		h := fnv.New64a()
		for _, row := range punchRows()[6:12] {
			p := newPunchWorld(t, seed, row.sites, 0.05, [2]PlanOptions{row.o, row.o}, Attested)
			p.run(row.within)
			for _, n := range []*puncherNode{p.a, p.b} {
				fmt.Fprintf(h, "%+v %+v %d %v\n", n.punch.Status(), n.budget.Use(), n.sent, n.got)
			}
		}
		return h.Sum64()
	}
	if trace(5) != trace(5) {
		t.Error("same seed, another trace")
	}
	if trace(5) == trace(7) {
		t.Error("another seed, the same trace")
	}
}

// A step costs no allocation: neither a shot nor a stranger's request, nor an
// answer.
func TestPuncherAllocates(t *testing.T) {
	r := newPunchRig(t, "eim-apdf", "sym-full", PlanOptions{}, Attested)
	r.keep = false
	step := func(r *punchRig) {
		r.now = r.p.Deadline()
		r.p.Advance(r.now)
		for _, ok := r.p.Poll(); ok; _, ok = r.p.Poll() {
		}
	}
	step(r)
	if n := testing.AllocsPerRun(1000, func() { step(r) }); n != 0 {
		t.Errorf("%v allocations a shot", n)
	}
	r = newPunchRig(t, "sym-block", "eim-apdf", PlanOptions{}, Attested)
	r.run(20 * time.Millisecond)
	b := appendRequest(nil, testTx, r.mine.Tag, false, key(r.mine))
	path := sock.Path{Local: 103, Remote: punchPeer}
	if n := testing.AllocsPerRun(40, func() { r.p.Receive(r.now, path, b); r.p.Poll(); r.p.Poll() }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
