// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"slices"
	"testing"
	"time"
)

func TestEndsAtNearest(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Store, false, 1)
	if e := g.in(2, g.encode(tail, fingerprint(&trace, &g.peers[0].id))); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	g.want(2, ackOf(trace))
	g.route(1)
	e := g.in(1, refusal(trace, refuseSeen))
	if len(e) != 1 || e[0].(Delivered).Kind != Store {
		t.Fatalf("events %v", e)
	}
	g.m.Reply(g.now, e[0].(Delivered).Route, g.secret, []byte("kept"))
	g.drain()
	g.want(2, g.reply(trace, 1, g.secret, "kept"))
	// Another copy shall end elsewhere, but there is nobody else.
	g.in(0, g.encode(tail))
	if _, why, _, err := readRefuse(g.got(0)); err != nil || why != refuseStuck {
		t.Errorf("reason %d", why)
	}
	g.quiet()
}

func TestCopiesPart(t *testing.T) {
	g := newRig(t, 12)
	g.key = g.m.c.id
	tail, trace := g.message(Fetch, false, 1)
	if e := g.in(11, g.encode(tail)); len(e) != 1 {
		t.Fatalf("events %v", e)
	}
	g.want(11, ackOf(trace))
	var to []int
	for i := 10; i > 7; i-- {
		g.in(i, g.encode(tail))
		g.want(i, ackOf(trace))
		for k, p := range g.peers {
			for _, b := range p.got {
				m, err := readRoute(b)
				if err != nil || int(m.seen.n) != 3+len(to) {
					t.Errorf("visited %d, %v", m.seen.n, err)
				}
				to = append(to, k)
			}
			p.got = nil
		}
	}
	if len(to) != 3 {
		t.Fatalf("passed on to %v", to)
	}
	for i, k := range to {
		g.in(k, ackOf(trace))
		g.in(k, g.reply(trace, 1, g.secret, "same"))
		if r, err := readReply(g.got(10 - i)); err != nil || string(r.body) != "same" {
			t.Errorf("reply %+v", r)
		}
		g.quiet()
	}
	// A copy that nobody takes goes back; it doesn't end here a second time.
	g.in(7, g.encode(tail))
	g.want(7, ackOf(trace))
	for {
		list, _ := g.copies()
		if len(list) == 0 {
			t.Fatal("neither passed on nor sent back")
		}
		if e := g.in(list[0], refusal(trace, refuseBusy)); len(e) > 0 {
			t.Fatalf("events %v", e)
		}
		if p := g.peers[7]; len(p.got) > 0 {
			if _, why, _, err := readRefuse(p.got[0]); err != nil || why != refuseStuck {
				t.Errorf("sent back % x", p.got)
			}
			break
		}
	}
}

func TestNearEnough(t *testing.T) {
	for nth, want := range []int{nearEnough - 1: 0, nearEnough: 1} {
		for _, copies := range []uint8{0, 1} {
			g := newRig(t, nth+1)
			tail, _ := g.message(Fetch, false, 1)
			var v visited
			e := g.in(nth, appendRoute(nil, copies, 1, &v, tail))
			if ended := len(e) == 1; ended != (copies > 0 && want == 0 || nth == 0) {
				t.Errorf("%d nearer, copy %d: ended %v", nth, copies, ended)
			}
		}
	}
}

func TestAbsent(t *testing.T) {
	g := newRig(t, 4)
	far := g.peers[2] // farther from the key than the machine
	g.key = g.peers[0].id
	g.key[31] ^= 1
	g.m.LinkDown(g.now, far.id)
	g.drain()
	for g.key = g.m.c.id; prefixLen(&g.key, &g.m.c.id) == 256; {
		g.key[31] ^= 1 // nearest to the machine
	}
	tail, trace := g.message(Ring, true, 1)
	g.in(3, g.encode(tail))
	g.want(3, refusal(trace, refuseAlone))
	g.in(3, g.encode(tail)) // asked again, it says it again
	g.want(3, refusal(trace, refuseAlone))
	g.m.c.alarm = g.now.Add(time.Minute)
	tail, trace = g.message(Ring, true, 2)
	g.in(3, g.encode(tail))
	g.want(3, ackOf(trace))
	if list, _ := g.copies(); len(list) != 1 {
		t.Errorf("passed on to %v", list)
	}

	// Two who say so end a leg, unless somebody was silent.
	for _, c := range []struct {
		silent bool
		say    []reason
		want   reason // 0: one more is asked
	}{
		{false, []reason{refuseAlone}, 0},
		{false, []reason{refuseAlone, refuseAlone}, refuseAbsent},
		{false, []reason{refuseAbsent}, refuseAbsent},
		{false, []reason{refuseStuck, refuseAlone, refuseAlone}, 0},
		{true, []reason{refuseAlone, refuseAlone}, 0},
		{true, []reason{refuseAbsent}, 0},
	} {
		g = newRig(t, 6)
		tail, trace = g.message(Ring, true, 1)
		g.in(5, g.encode(tail))
		g.want(5, ackOf(trace))
		next := 0
		if c.silent {
			g.route(0)
			g.pass(time.Second / 5)
			next = 1
		}
		for _, why := range c.say {
			g.route(next)
			g.in(next, refusal(trace, why))
			next++
		}
		if c.want == 0 {
			g.route(next)
		} else if _, why, _, err := readRefuse(g.got(5)); err != nil || why != c.want {
			t.Errorf("%+v: said %d", c, why)
		}
		g.quiet()
	}
}

func TestAbsentHere(t *testing.T) {
	g := newRig(t, 2)
	tail, trace := g.message(Ring, true, 1)
	g.in(1, g.encode(tail))
	g.want(1, ackOf(trace))
	g.route(0)
	g.in(0, refusal(trace, refuseAlone))
	if _, why, _, err := readRefuse(g.got(1)); err != nil || why != refuseAbsent {
		t.Errorf("said %d", why)
	}
}

func TestNoWayThroughLeaf(t *testing.T) {
	g := newRig(t, 3)
	g.m.SetSelf(g.now, Open, true)
	g.drain()
	tail, trace := g.message(Ring, true, 1)
	g.in(2, g.encode(tail))
	g.want(2, refusal(trace, refuseBusy))
	g.key = g.m.c.id
	tail, trace = g.message(Ring, true, 1)
	if e := g.in(2, g.encode(tail)); len(e) != 1 {
		t.Errorf("events %v", e)
	}
	g.want(2, ackOf(trace))
	if _, e := g.send(Request{To: g.key, Kind: Store}); len(e) != 0 {
		t.Errorf("events %v", e)
	}

	g = newRig(t, 3)
	g.m.c.table.find(g.peers[0].id).card.Leaf = true
	tail, _ = g.message(Ring, true, 1)
	g.in(2, g.encode(tail))
	g.route(1)
	g.key = g.peers[0].id
	tail, _ = g.message(Ring, true, 2)
	g.peers[2].got = nil
	g.in(2, g.encode(tail))
	g.route(0)
}

func TestCopiesStayNear(t *testing.T) {
	g := newRig(t, 14)
	g.key = g.m.c.id
	tail, trace := g.message(Store, false, 1)
	g.in(13, g.encode(tail))
	var near [siblings]*neighbour
	g.m.c.table.nearest(near[:0], g.key, siblings, nil)
	var to []int
	g.peers[13].got = nil
	for list := []int(nil); len(g.peers[12].got) < 2; { // until it is sent back
		if list == nil {
			g.in(12, g.encode(tail))
		}
		list = list[:0]
		for k, p := range g.peers {
			if len(p.got) > 0 && p.got[0][0] == typeRoute {
				list, p.got = append(list, k), nil
			}
		}
		if len(list) != 1 {
			t.Fatalf("passed on to %v", list)
		}
		to = append(to, list[0])
		g.in(list[0], refusal(trace, refuseSeen))
	}
	for _, k := range to {
		if i := slices.IndexFunc(near[:], func(n *neighbour) bool { return n.id == g.peers[k].id }); i < 0 {
			t.Errorf("a copy went to %d", k)
		}
	}
	if len(to) < siblings-2 { // 12 and 13 may be among the eight
		t.Errorf("passed on to %v", to)
	}
}

func TestTaken(t *testing.T) {
	g := newRig(t, 2)
	g.key, g.lock = g.m.c.id, [32]byte{}
	tail, trace := g.message(Store, false, 1)
	e := g.in(1, g.encode(tail))
	g.want(1, ackOf(trace))
	g.pass(takenAfter - time.Millisecond)
	g.quiet()
	g.pass(time.Millisecond)
	g.want(1, g.reply(trace, 0, nil, ""))
	g.m.Reply(g.now, e[0].(Delivered).Route, nil, []byte("late"))
	g.drain()
	g.want(1, g.reply(trace, 1, nil, "late"))

	tail, trace = g.message(Store, false, 2)
	e = g.in(1, g.encode(tail))
	g.want(1, ackOf(trace))
	g.m.Reply(g.now, e[0].(Delivered).Route, nil, []byte("quick"))
	g.drain()
	g.want(1, g.reply(trace, 1, nil, "quick"))
	g.pass(life)
	g.quiet()
}
