// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"fmt"
	"testing"
	"time"
)

// In a network without faults every ring arrives and is answered, at every
// size, by as many hops as a Kademlia table of four a bucket allows.
func TestSteady(t *testing.T) {
	sizes := map[int]float64{2: 1, 10: 1, 64: 1.9, size(500): 2.5}
	if size(500) == 500 {
		sizes[1000] = 3
	}
	for n, hops := range sizes {
		w := newRouteWorld(t, 1, n)
		f := fateOf(w.traffic(300, 30*time.Second))
		f.log(t, fmt.Sprintf("n=%d", n))
		t.Logf("%d messages a ring", w.moved/f.n)
		if f.ok != f.n || f.answered != f.n || f.in3s != f.n {
			t.Errorf("n=%d: %+v", n, f)
		}
		if f.hops > hops {
			t.Errorf("n=%d: %.2f hops", n, f.hops)
		}
		for _, q := range w.rings {
			if q.deliverys != 1 || q.replies != 1 || q.lost {
				t.Errorf("n=%d: delivered %d times, answered %d times, lost %v", n, q.deliverys, q.replies, q.lost)
			}
		}
	}
}

// Same seed, same run.
func TestRouteDeterminism(t *testing.T) {
	run := func() string {
		w := newRouteWorld(t, 5, 100)
		w.corrupt(0.2, sink)
		w.kill(0.2)
		f := fateOf(w.traffic(200, 10*time.Second))
		return fmt.Sprint(w.moved, f, w.passed, w.seq)
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// Nobody was told that the others died: every link to them still stands.
func TestHalfDead(t *testing.T) {
	shares := []float64{0.5}
	if size(500) == 500 {
		shares = append(shares, 0.3)
	}
	for _, share := range shares {
		w := newRouteWorld(t, 2, size(1000))
		w.kill(share)
		f := fateOf(w.traffic(500, 5*time.Second))
		f.log(t, fmt.Sprintf("%.0f%% dead without notice", 100*share))
		if f.share() < 99.9 || f.in3s*100 < f.n*99 {
			t.Errorf("%.0f%% dead: %+v", 100*share, f)
		}
	}
}

// Rings among nodes that acknowledge and drop, before anything is known of
// them: copies alone.
func TestBlackHoles(t *testing.T) {
	for _, c := range []struct {
		bad         badness
		share, want float64
	}{
		{sink, 0.1, 99.9}, {sink, 0.2, 99.5}, {sink, 0.3, 95},
		{mute, 0.3, 99.9}, {refuser, 0.3, 99.9}, {liar, 0.2, 99.5}, {forger, 0.2, 99.5}, {keeper, 0.2, 99.5}, {looper, 0.1, 99.5},
	} {
		w := newRouteWorld(t, 3, size(500))
		w.corrupt(c.share, c.bad)
		rings := size(500)
		if c.bad == looper {
			rings = 20 // each is passed on some thousand times
		}
		f := fateOf(w.traffic(rings, 10*time.Second))
		f.log(t, fmt.Sprintf("%.0f%% %s, by copies", 100*c.share, c.bad))
		if f.share() < c.want || 100*float64(f.answered) < c.want*float64(f.n) {
			t.Errorf("%.0f%% %s: %.2f%% arrived, %d of %d answered", 100*c.share, c.bad, f.share(), f.answered, f.n)
		}
		for _, q := range w.rings {
			if q.deliverys > 1 {
				t.Errorf("%s: delivered %d times", c.bad, q.deliverys)
			}
		}
	}
}

func (b badness) String() string {
	return [...]string{"honest", "sinks", "mutes", "refusers", "liars", "forgers", "keepers", "loopers"}[b]
}

// After ten minutes at a ring a node and minute the scores have found them.
func TestScoresFindBlackHoles(t *testing.T) {
	for share, want := range map[float64]float64{0.2: 99.9, 0.3: 99.0} {
		w := newRouteWorld(t, 3, size(500))
		w.corrupt(share, sink)
		before := fateOf(w.traffic(10*size(500), 10*time.Minute))
		f := fateOf(w.traffic(1000, 30*time.Second))
		f.log(t, fmt.Sprintf("%.0f%% sinks, with scores", 100*share))
		if f.share() < want {
			t.Errorf("%.0f%%: %.2f%% arrived", 100*share, f.share())
		}
		var bad, good, badOut, goodOut int
		for _, x := range w.nodes {
			for _, n := range x.c.table.list {
				switch out := x.bad == honest && x.standard.demoted(n); {
				case x.bad != honest:
				case w.byID[n.id].bad == honest:
					good, goodOut = good+1, goodOut+btoi(out)
				default:
					bad, badOut = bad+1, badOut+btoi(out)
				}
			}
		}
		t.Logf("demoted: %d of %d links to sinks, %d of %d others; p99 %v, over the ten minutes %v", badOut, bad, goodOut, good, f.p99, before.p99)
		if badOut*3 < bad || goodOut*50 > good {
			t.Error("the scores don't tell them apart")
		}
	}
}

// However visited sets and hop counts are forged, and whatever is sent again,
// an honest node gives a message to a neighbour once, and to a bounded number.
func TestNoLoops(t *testing.T) {
	w := newRouteWorld(t, 7, size(200))
	w.corrupt(0.2, looper)
	w.given = make(map[giving]int)
	w.traffic(20, 5*time.Second)
	nowhere := &routeNode{id: ID{1, 2, 3}} // DFS to the bitter end
	for range 5 {
		w.ring(w.some(), nowhere)
		w.run(8 * time.Second)
	}
	all := make(map[giving]int)
	for k, n := range w.given {
		if n > 1 {
			t.Errorf("given %d times to one neighbour", n)
		}
		k.to = 0
		all[k]++
	}
	for _, n := range all {
		if n > ownTries {
			t.Errorf("given to %d neighbours", n)
		}
	}
	for len(w.queue) > 0 && w.now < 3*time.Hour { // what is left is the table's
		w.run(time.Minute)
	}
	for _, x := range w.nodes {
		if len(x.trails) != 0 || x.held != 0 {
			t.Errorf("%d messages left", len(x.trails))
		}
	}
}

// A target that doesn't exist is known to be lost soon, costs little, and
// nobody is blamed for it.
func TestNobodyThere(t *testing.T) {
	w := newRouteWorld(t, 8, 500)
	for i := range 20 {
		q := w.ring(w.some(), &routeNode{id: ID{byte(i), 2, 3}})
		before := w.moved
		if w.run(5 * time.Second); !q.lost {
			t.Errorf("not lost after 5 s")
		}
		if n := w.moved - before; n > 400 {
			t.Errorf("%d messages", n)
		}
	}
	t.Logf("%d messages each", w.moved/20)
	for _, x := range w.nodes {
		for _, n := range x.c.table.list {
			if n.score.judged != 0 {
				t.Fatal("somebody is blamed for it")
			}
		}
	}
}

// ask sends a message to the nodes nearest to a key and returns who holds what
// is stored there, by their order of distance.
func (w *routeWorld) ask(k Kind, key ID, copies int) (ranks []int) {
	x := w.some()
	r := x.Send(w.time(), Request{To: key, Kind: k, Copies: copies, Body: []byte("x")})
	w.drain(x)
	w.run(5 * time.Second)
	for _, id := range w.held[giving{from: x.i, to: int(r)}] {
		n := 0
		for _, o := range w.nodes {
			n += btoi(nearer(&key, &o.id, &id))
		}
		ranks = append(ranks, n)
	}
	return ranks
}

func (w *routeWorld) someKey() (key ID) {
	for i := range key {
		key[i] = byte(w.rng.Uint32())
	}
	return key
}

// Copies of a message to the nearest nodes end at different ones of them, and
// a question finds what was stored: also when one node in four drops what it
// gets.
func TestNearestOfAll(t *testing.T) {
	for _, c := range []struct {
		sinks         float64
		stored, found int
	}{{0, 390, 50}, {0.25, 150, 49}} {
		w := newRouteWorld(t, 9, size(500))
		w.corrupt(c.sinks, sink)
		stored, found := 0, 0
		for range 50 {
			key := w.someKey()
			for _, r := range w.ask(Store, key, 8) {
				stored += btoi(r < 8)
			}
			// Who finds nothing asks again with more copies.
			found += btoi(len(w.ask(Fetch, key, 0)) > 0 || len(w.ask(Fetch, key, 8)) > 0)
		}
		t.Logf("%.0f%% sinks: %d of 400 copies at the eight nearest; %d of 50 found", 100*c.sinks, stored, found)
		if stored < c.stored || found < c.found {
			t.Error("too few")
		}
	}
}
