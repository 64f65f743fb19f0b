// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math"
	"testing"
	"time"
)

func TestScore(t *testing.T) {
	var s deliveryScore
	if v := s.value(); v != priorGood/priorAll {
		t.Errorf("without history %v", v)
	}
	for range 3 {
		s.add(true, 1, false)
	}
	if v := s.value(); v > priorGood/priorAll/2 {
		t.Errorf("after three losses %v", v)
	}
	for range 200 {
		s.add(true, 1, true)
	}
	if v := s.value(); v < 0.95 {
		t.Errorf("after 200 deliveries %v", v)
	}
	for n := 0; s.value() > 0.5; n++ { // it begins to drop
		if s.add(true, 1, false); n > scoreWindow {
			t.Fatal("losses don't show")
		}
	}
	for range 1000 {
		s.add(true, 1, true)
	}
	if s.judged != math.MaxUint8 || s.locked.all > scoreWindow+1 {
		t.Errorf("%+v", s)
	}
	// Answering what has no lock doesn't wash away lost rings.
	s = deliveryScore{}
	for range 10 {
		s.add(true, 1, false)
	}
	before := s.value()
	for range 100 {
		s.add(false, 1, true)
	}
	if s.value() != before {
		t.Errorf("%v, before %v", s.value(), before)
	}
}

func TestWorth(t *testing.T) {
	var s deliveryScore
	if s.worth() != startWorth {
		t.Errorf("%v", s.worth())
	}
	for range 100 {
		s.brought(false)
	}
	if v := s.worth(); v < 0 || v > 0.01 {
		t.Errorf("nothing of it arrives: %v", v)
	}
	for range 100 {
		s.brought(true)
	}
	if v := s.worth(); v > 1 || v < 0.99 {
		t.Errorf("all of it arrives: %v", v)
	}
}

func TestTimeout(t *testing.T) {
	n := &neighbour{}
	if n.timeout(0) != 480*time.Millisecond {
		t.Errorf("unknown: %v", n.timeout(0))
	}
	n.rtt = 100 * time.Millisecond
	if n.timeout(0) != 180*time.Millisecond {
		t.Errorf("100 ms: %v", n.timeout(0))
	}
	for range 100 { // a node slower than its link
		n.score.acked(400 * time.Millisecond)
	}
	if d := n.timeout(0); d < 620*time.Millisecond || d > 640*time.Millisecond {
		t.Errorf("slow: %v", d)
	}
	n.score.acked(time.Hour)
	if n.timeout(0) != maxTimeout {
		t.Errorf("slower: %v", n.timeout(0))
	}
	// Where most are slow, one that is gets its time, within a bound.
	for typical, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: maxTimeout, 400 * time.Millisecond: 2400 * time.Millisecond, time.Minute: slowTimeout,
	} {
		if d := n.timeout(typical); d != want {
			t.Errorf("slow as others that take %v: %v, want %v", typical, d, want)
		}
	}
}

// Of two neighbours in one bucket of the key the one that delivers, then the
// near one; who loses nearly everything only when nobody else makes progress.
func TestChoice(t *testing.T) {
	g := newRig(t, 6)
	n := func(i int) *neighbour { return g.m.c.table.find(g.peers[i].id) }
	bucket := prefixLen(&g.key, &g.peers[0].id)
	for i := 1; i < 3; i++ { // 0, 1 and 2 into one bucket of the key
		x := n(i)
		g.m.c.table.remove(x)
		x.id = g.peers[0].id
		x.id[31] ^= byte(i)
		g.peers[i].id = x.id
		g.m.c.table.add(x)
	}
	if prefixLen(&g.key, &g.peers[2].id) != bucket {
		t.Fatal("not in one bucket")
	}
	k := 0
	next := func(want int) {
		t.Helper()
		k++
		g.m.standard = standard{}
		tail, trace := g.message(Ring, true, k)
		g.in(5, g.encode(tail))
		for i := range 5 {
			if got := len(g.peers[i].got) == 1; got != (i == want) {
				t.Errorf("neighbour %d: got it %v", i, got)
			}
			g.peers[i].got = nil
		}
		g.in(want, ackOf(trace))
		g.in(want, refusal(trace, refuseSeen))
		for _, p := range g.peers {
			p.got = nil
		}
	}
	n(1).rtt = 20 * time.Millisecond
	next(1)
	for range 3 {
		n(1).score.add(true, 1, false)
	}
	n(2).rtt = 50 * time.Millisecond
	next(2)
	// Scores against the median.
	for i := range 5 {
		n(i).score = deliveryScore{}
		for range 30 {
			n(i).score.add(true, 1, i > 2)
		}
	}
	if n(3).score.value() < 0.9 {
		t.Fatal("score")
	}
	n(5).score = n(3).score
	next(3)
	if g.m.bad(n(3)) || !g.m.bad(n(0)) {
		t.Error("bad")
	}
	fresh := &neighbour{}
	for range demoteAfter - 1 { // too few outcomes to judge by
		fresh.score.add(true, 1, false)
	}
	if g.m.standard.demoted(fresh) {
		t.Error("demoted too early")
	}
	if fresh.score.add(true, 1, false); !g.m.standard.demoted(fresh) {
		t.Error("not demoted")
	}
	n(3).card.Leaf, n(4).card.Leaf = true, true
	next(1) // no way but a bad one: the quickest of them
	n(0).score.judged = badAfter - 1
	if g.m.bad(n(0)) {
		t.Error("bad too early")
	}
}

// Nobody is called bad in a network where everything is lost, or nothing known.
func TestNoMedian(t *testing.T) {
	g := newRig(t, 10)
	for i := range 3 {
		for range 30 {
			g.m.c.table.find(g.peers[i].id).score.add(true, 1, i > 0)
		}
	}
	g.m.standard.renew(1, g.m.c.table.list, &g.m.c.id)
	for _, n := range g.m.c.table.list {
		if g.m.bad(n) || g.m.standard.demoted(n) {
			t.Error("too little is known")
		}
	}
	for i := range 10 {
		for range 30 {
			g.m.c.table.find(g.peers[i].id).score.add(true, 1, false)
		}
	}
	g.m.c.table.find(g.peers[0].id).score = g.m.c.table.find(g.peers[9].id).score
	g.m.standard.renew(time.Hour, g.m.c.table.list, &g.m.c.id)
	for _, n := range g.m.c.table.list {
		if g.m.bad(n) {
			t.Error("all are alike")
		}
	}
}

// Messages of a source whose messages never arrive hardly count against others.
func TestBlackening(t *testing.T) {
	g := newRig(t, 3)
	victim, source := g.m.c.table.find(g.peers[0].id), g.m.c.table.find(g.peers[2].id)
	for i := range 200 {
		source.score.in = tokens{}
		tail, trace := g.message(Ring, true, i)
		g.in(2, g.encode(tail))
		g.in(0, ackOf(trace))
		g.pass(life)
	}
	blackened := victim.score.value()
	other := g.m.c.table.find(g.peers[1].id)
	for i := range 30 {
		tail, trace := g.message(Ring, true, 1000+i)
		g.in(1, g.encode(tail))
		g.in(0, ackOf(trace))
		g.in(0, g.reply(trace, 1, g.secret, ""))
		g.pass(life)
	}
	if s := source.score.worth(); s > 0.01 {
		t.Errorf("the source's worth is %v", s)
	}
	if other.score.worth() < 0.8 || victim.score.value() < 0.8 {
		t.Errorf("worth %v; score %v, blackened %v", other.score.worth(), victim.score.value(), blackened)
	}
}

// Outcomes are counted once: silence against who had it, refusals a little and
// only when the message could be delivered.
func TestJudge(t *testing.T) {
	g := newRig(t, 5)
	score := func(i int) tally { return g.m.c.table.find(g.peers[i].id).score.locked }
	tail, trace := g.message(Ring, true, 1)
	g.in(4, g.encode(tail))
	g.in(0, ackOf(trace))
	g.in(0, refusal(trace, refuseStuck))
	g.in(1, ackOf(trace)) // and nothing more
	g.pass(life)
	if score(0) != (tally{}) || score(1) != (tally{0, startWorth}) {
		t.Errorf("%v %v", score(0), score(1))
	}
	tail, trace = g.message(Ring, true, 2)
	g.in(3, g.encode(tail))
	g.in(0, ackOf(trace))
	g.in(0, refusal(trace, refuseStuck))
	g.in(2, ackOf(trace)) // 1 was never asked; it does not come before 2 with its score
	g.in(1, ackOf(trace))
	g.in(1, g.reply(trace, 1, g.secret, ""))
	g.in(2, g.reply(trace, 1, g.secret, ""))
	g.pass(life)
	if s := score(0); s.good != 0 || s.all != startWorth*refusalWeight {
		t.Errorf("%v", s)
	}
}
