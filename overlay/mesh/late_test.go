// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"testing"
	"time"
)

// Nodes that share a processor with too little time don't drown in messages:
// what each costs stays what it is on an idle one, and nothing is lost.
func TestStarved(t *testing.T) {
	count := size(240)
	run := func(cost time.Duration) (moved int, f fate) {
		w := newRouteWorld(t, 3, 150)
		w.cost = cost
		w.traffic(count/4, 10*time.Second) // what acknowledgements take is learned
		before := w.moved
		f = fateOf(w.traffic(count, time.Duration(count)*time.Second/40))
		w.run(time.Minute)
		return w.moved - before, f
	}
	free, f := run(0)
	f.log(t, "idle")
	busy, b := run(1200 * time.Microsecond)
	b.log(t, "busy")
	t.Logf("%d messages on an idle machine, %d on a busy one", free, busy)
	if busy > 2*free {
		t.Errorf("%d messages on an idle machine, %d on a busy one", free, busy)
	}
	if b.answered < b.n {
		t.Errorf("%d of %d answered", b.answered, b.n)
	}
}

// A timer that this node itself fires late is put off once by as much: what
// should have come may wait before it.
func TestLateTimer(t *testing.T) {
	g := newRig(t, 9)
	g.send(g.ring())
	if list, _ := g.copies(); len(list) != 3 {
		t.Fatalf("copies to %v", list)
	}
	g.now = g.m.Deadline().Add(300 * time.Millisecond) // the loop was busy
	g.m.Advance(g.now)
	g.drain()
	if list, _ := g.copies(); len(list) > 0 {
		t.Errorf("copies to %v as soon as it wakes", list)
	}
	if !g.m.Deadline().After(g.now) {
		t.Error("it does not wait")
	}
	g.pass(400 * time.Millisecond)
	if list, _ := g.copies(); len(list) == 0 {
		t.Error("and does nothing about those who are silent")
	}
	for _, c := range []struct{ after, want time.Duration }{{0, 300 * time.Millisecond}, {2 * time.Second, 75 * time.Millisecond}, {time.Minute, 0}} {
		l := lateness{worst: 300 * time.Millisecond, at: time.Hour}
		if got := l.by(time.Hour + c.after); got != c.want {
			t.Errorf("late by %v %v later, want %v", got, c.after, c.want)
		}
	}
}

// Timeouts follow what acknowledgements take and how much that varies, and double
// after one that did not come, until one does.
func TestTimeoutAdapts(t *testing.T) {
	n := &neighbour{rtt: 100 * time.Millisecond}
	near := func(what string, want time.Duration) {
		t.Helper()
		if d := n.timeout(0) - want; d < -time.Millisecond || d > time.Millisecond {
			t.Errorf("%s: %v, want %v", what, n.timeout(0), want)
		}
	}
	near("nothing known", 180*time.Millisecond)
	for range 60 {
		n.score.acked(100 * time.Millisecond)
	}
	near("steady", 180*time.Millisecond)
	for range 100 {
		n.score.acked(50 * time.Millisecond)
		n.score.acked(350 * time.Millisecond)
	}
	if d := n.timeout(0); d < 600*time.Millisecond || d > maxTimeout {
		t.Errorf("unsteady: %v", d)
	}
	n.score = deliveryScore{}
	for want := range maxDoubts + 1 {
		near("silent", 180*time.Millisecond<<want)
		n.score.silent(time.Minute)
	}
	near("silent for long", 180*time.Millisecond<<maxDoubts)
	if !n.score.doubtful(time.Minute+doubtLife/2) || n.score.doubtful(time.Minute+doubtLife+time.Second) {
		t.Error("in doubt for another time")
	}
	n.score.acked(100 * time.Millisecond)
	if n.score.doubtful(time.Minute) || n.score.doubts != 0 {
		t.Error("in doubt after an acknowledgement")
	}
}
