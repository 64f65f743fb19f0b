// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// standard is the usual mix of NATs, allNAT the same without public nodes.
func standardMix() mix { return mix{open: .10, easy: .45} }
func allNAT() mix      { return mix{easy: .50} }

// Everybody finds everybody, at each size: by greedy steps over the links
// alone, without the router's detours and copies.
func TestEverybodyFindsEverybody(t *testing.T) {
	for _, c := range []struct {
		n     int
		mix   mix
		caps  bool
		reach float64
	}{
		{2, standardMix(), true, 1}, {3, standardMix(), true, 1}, {10, standardMix(), true, 1}, {30, standardMix(), true, 1},
		{100, standardMix(), true, .995}, {300, standardMix(), true, .995}, {30, allNAT(), true, 1}, {200, allNAT(), true, .99}, {60, standardMix(), false, .995},
	} {
		w := newTown(t, 11)
		w.caps = c.caps
		w.populate(size(c.n), c.mix, time.Second)
		w.run(4 * time.Minute)
		share, hops := w.reach(3000)
		t.Logf("%.2f%% in %.2f hops; %s", 100*share, hops, w.census())
		if share < c.reach {
			t.Errorf("%d nodes: only %.2f%% found", c.n, 100*share)
		}
		if near := w.siblingShare(); near < .985 {
			t.Errorf("%d nodes: only %.2f%% of sibling links stand", c.n, 100*near)
		}
		w.checkAll()
	}
}

// checkAll holds all machines to their limits, and the links to both ends'
// tables.
func (w *town) checkAll() {
	w.t.Helper()
	for _, r := range w.living() {
		checkBounds(w.t, r.m)
		if a, b := len(r.links), len(r.m.c.table.list); a != b {
			w.t.Errorf("%d links, %d in the table", a, b)
		}
		s := r.m.Status()
		if s.Links > maxLinks || r.card.Class == Hard && s.Links > maxHardLinks {
			w.t.Errorf("%d links, class %d", s.Links, r.card.Class)
		}
		if s.Carried > maxCarriedLinks {
			w.t.Errorf("carries %d", s.Carried)
		}
	}
}

// No class of node carries more than others.
func TestLinksByClass(t *testing.T) {
	w := newTown(t, 12)
	w.populate(size(250), standardMix(), time.Second)
	w.run(4 * time.Minute)
	var links, nodes [Blocked + 1]float64
	for _, r := range w.all {
		links[r.card.Class] += float64(r.m.Status().Links)
		nodes[r.card.Class]++
	}
	least, most := 1e9, 0.0
	for _, c := range []Class{Open, Easy, Hard} {
		mean := links[c] / nodes[c]
		least, most = min(least, mean), max(most, mean)
	}
	if t.Logf("%s", w.census()); most > 1.5*least {
		t.Errorf("between %.1f and %.1f links by class", least, most)
	}
}

// A node that joins a standing network is usable within two seconds, and has
// its place and most of its links within three minutes.
func TestJoin(t *testing.T) {
	w := newTown(t, 13)
	w.populate(size(200), standardMix(), time.Second)
	w.run(2 * time.Minute)
	for i := range 8 {
		r := w.settler([]Class{Easy, Hard}[i%2])
		w.join(r)
		w.run(2 * time.Second)
		if n := len(r.links); n < 3 {
			t.Errorf("%d links after two seconds", n)
		}
		if n := len(r.links); n > usable+maxTries+attemptBurst {
			t.Errorf("%d links after two seconds: not paced", n)
		}
		w.run(20 * time.Second)
		found := 0
		for range 50 {
			if _, ok := w.greedy(w.all[w.rng.IntN(size(200))], r); ok {
				found++
			}
		}
		if found < 48 {
			t.Errorf("found by %d of 50 after 20 s", found)
		}
		w.run(160 * time.Second)
		if s := r.m.Status(); s.Siblings < siblings || s.Links < 14 {
			t.Errorf("after three minutes: %+v", s)
		}
	}
}

const attemptBurst = 8

// While many join through one node, each waits a while once it is usable, and
// the node in the middle keeps its links.
func TestJoinStorm(t *testing.T) {
	w := newTown(t, 14)
	w.populate(size(60), standardMix(), time.Second)
	w.run(3 * time.Minute)
	door := w.all[slices.IndexFunc(w.all, func(r *resident) bool { return r.card.Class == Open })]
	var old []ID
	for id := range door.links {
		old = append(old, id)
	}
	start := len(w.all)
	waits := map[time.Duration]bool{}
	for range size(180) {
		r := w.settler(standardMix().class(w.rng))
		w.link(r, door, nil, nil, false)
		w.in(5*time.Second, func() { w.join(r) }) // whom the door has no room for
		w.run(250 * time.Millisecond)
	}
	w.run(10 * time.Second)
	for _, r := range w.all[start:] {
		if q := r.m.fill.quiet; q > 0 {
			waits[q.Round(time.Second)] = true
		}
	}
	if len(waits) < 10 {
		t.Errorf("%d different waits", len(waits))
	}
	for _, id := range old {
		if n := door.m.c.table.find(id); n == nil {
			if o := w.byID[id]; !o.m.shedsFor(door) {
				t.Errorf("the door lost an old link")
			}
		}
	}
	w.run(4 * time.Minute)
	if share, _ := w.reach(2000); share < .99 {
		t.Errorf("%.2f%% found after the storm; %s", 100*share, w.census())
	}
	w.checkAll()
}

// shedsFor reports whether a machine had reason to hand a link back itself: it
// found enough others.
func (m *Machine) shedsFor(*resident) bool { return m.c.table.full >= siblings }

// When a third or half of all nodes die at once, the others notice, hurry, and
// are whole again within a minute of the last loss.
func TestMassFailure(t *testing.T) {
	for _, share := range []float64{.3, .5} {
		w := newTown(t, 15)
		w.populate(size(200), standardMix(), 500*time.Millisecond)
		w.run(5 * time.Minute)
		before, _ := w.reach(1000)
		for _, r := range w.all {
			if w.rng.Float64() < share {
				w.kill(r)
			}
		}
		w.run(9 * time.Second)
		alarmed := 0
		for _, r := range w.living() {
			if r.m.Status().MassFailure {
				alarmed++
			}
		}
		// Of 30 links 30 % are lost by half of the nodes, as chance has it.
		if least := map[float64]int{.3: 2, .5: 8}[share]; alarmed*10 < len(w.living())*least {
			t.Errorf("%d of %d noticed", alarmed, len(w.living()))
		}
		w.run(60 * time.Second)
		found, _ := w.reach(3000)
		near := w.siblingShare()
		t.Logf("%.0f%% died: %.2f%% before, %.2f%% after a minute, siblings %.2f%%; %s", 100*share, 100*before, 100*found, 100*near, w.census())
		if found < .99 || near < .97 {
			t.Errorf("after %.0f%% died: %.2f%% found, %.2f%% of sibling links", 100*share, 100*found, 100*near)
		}
		w.run(2 * time.Minute)
		if near := w.siblingShare(); near < .985 {
			t.Errorf("%.2f%% of sibling links in the end", 100*near)
		}
		if m := w.living()[0].m; m.Status().MassFailure {
			t.Error("alarm without an end")
		}
		w.checkAll()
	}
}

// The alarm is for a third of the links within ten seconds, not for churn.
func TestLosses(t *testing.T) {
	alarm := func(links, lost int, gap time.Duration) (hit bool) {
		var l losses
		for i := range lost {
			hit = l.add(time.Minute+time.Duration(i)*gap, links-i-1) || hit
		}
		return hit
	}
	for _, c := range []struct {
		links, lost int
		gap         time.Duration
		want        bool
	}{
		{60, 18, 500 * time.Millisecond, true}, {60, 17, 500 * time.Millisecond, false}, {60, 30, time.Second, false},
		{110, 33, 0, true}, {110, 110, 0, true}, {110, 32, 0, false}, {5, 3, 0, false}, {5, 4, 0, true}, {12, 4, 0, true},
	} {
		if got := alarm(c.links, c.lost, c.gap); got != c.want {
			t.Errorf("%d of %d links, one in %v: %v", c.lost, c.links, c.gap, got)
		}
	}
}

// After a mass failure questions go out at once, and links are made at four
// times the pace, for a minute.
func TestHurry(t *testing.T) {
	b, k := settled(t, Config{})
	for i := range 4 {
		for range wanted {
			b.up(Link{Card: k.in(i), Ours: true})
		}
	}
	b.pass(roundTime)
	b.out = nil
	list := b.m.Neighbours()
	for i, n := range list {
		if i%2 == 0 {
			b.m.LinkDown(b.now, n.ID)
			b.drain()
		}
	}
	b.pass(10 * time.Millisecond)
	asked := 0
	for _, n := range list {
		asked += len(b.sent(n.ID, typeFind))
	}
	if asked < maxQuestions || !b.m.Status().MassFailure {
		t.Errorf("asked %d times, %+v", asked, b.m.Status())
	}
	if at := b.m.c.since(b.now); b.m.fill.pace(at) != hurryRate() || b.m.fill.pace(at+hurryTime) != attemptRate() {
		t.Error("no hurry, or without end")
	}
}

// A quarter of an hour of churn with ten minutes' median session.
func TestChurn(t *testing.T) {
	w := newTown(t, 16)
	w.populate(size(120), standardMix(), 500*time.Millisecond)
	w.run(3 * time.Minute)
	worst := 1.0
	for range 60 {
		list := w.living()
		for range size(120) / 60 { // ln 2 / 600 s · 120 nodes · 15 s = 2.1
			w.kill(list[w.rng.IntN(len(list))])
			list = w.living()
			w.join(w.settler(standardMix().class(w.rng)))
		}
		w.run(15 * time.Second)
		share, _ := w.reach(300)
		worst = min(worst, share)
	}
	share, _ := w.reach(3000)
	t.Logf("worst %.2f%%, at the end %.2f%%; %s", 100*worst, 100*share, w.census())
	if worst < .93 || share < .95 { // links to nodes that died a moment ago, and newcomers, counted in
		t.Errorf("%.2f%% at worst, %.2f%% at the end", 100*worst, 100*share)
	}
	w.checkAll()
}

// Sybils of one /24 with IDs of their choice, dialling and being introduced,
// get two of a bucket and ten of the table; of many networks they get what
// inbound links may have, and never half of a far bucket.
func TestSybils(t *testing.T) {
	for _, nets := range []int{1, 64} {
		w := newTown(t, 17)
		w.populate(size(100), standardMix(), time.Second)
		w.run(3 * time.Minute)
		victim := w.all[5]
		honest := len(victim.m.Neighbours())
		sybil := map[ID]bool{}
		for i := range size(250) {
			s := w.settler(Open)
			for prefixLenOf(s.id, victim.id) < i%7 { // as near as pleases
				delete(w.byID, s.id)
				s.card = testCard(w.rng.Uint64(), Open)
				s.id = s.card.ID()
			}
			w.byID[s.id] = s
			s.m = New(w.now, Config{Self: s.card}, w.rng)
			s.addr = address(5000+i%nets, i)
			sybil[s.id] = true
			w.link(s, victim, nil, nil, false)
			w.run(200 * time.Millisecond)
		}
		w.run(3 * time.Minute)
		in, byBucket := 0, map[int]int{}
		for _, n := range victim.m.Neighbours() {
			if sybil[n.ID] && !n.Spare {
				in++
				byBucket[n.Bucket]++
			}
		}
		t.Logf("%d nets: %d sybils of %d links, before %d, by bucket %v", nets, in, len(victim.m.Neighbours()), honest, byBucket)
		if kept := len(victim.m.Neighbours()) - in; kept < honest*2/3 {
			t.Errorf("%d of %d honest links left", kept, honest)
		}
		for b, n := range byBucket {
			if b < 4 && n > bucketCap/2 { // where they can't be its siblings
				t.Errorf("%d of the places of bucket %d", n, b)
			}
		}
		if nets == 1 {
			if in > perPrefixInTable {
				t.Errorf("%d of one /24", in)
			}
			for b, n := range byBucket {
				if n > perPrefixInBucket {
					t.Errorf("%d of one /24 in bucket %d", n, b)
				}
			}
		}
	}
}

// Sleeping nodes keep four links and are still found.
func TestLeavesInTown(t *testing.T) {
	w := newTown(t, 18)
	w.populate(80, standardMix(), time.Second)
	w.run(2 * time.Minute)
	var asleep []*resident
	for _, r := range w.all[:30] {
		asleep = append(asleep, r)
		r.card.Leaf = true
		r.m.SetSelf(w.now, r.card.Class, true)
		w.drain(r)
		w.run(time.Second)
	}
	w.run(3 * time.Minute)
	found := 0
	for _, r := range asleep {
		if n := len(r.links); n < 2 || n > leafLinks {
			t.Errorf("a sleeping node has %d links", n)
		}
		for range 20 {
			if _, ok := w.greedy(w.all[30+w.rng.IntN(50)], r); ok {
				found++
			}
		}
	}
	if found < 20*len(asleep)*97/100 {
		t.Errorf("%d of %d found sleeping nodes", found, 20*len(asleep))
	}
	for _, r := range asleep {
		r.card.Leaf = false
		r.m.SetSelf(w.now, r.card.Class, false)
		w.drain(r)
	}
	w.run(4 * time.Minute)
	if share, _ := w.reach(2000); share < .99 {
		t.Errorf("%.2f%% found once awake; %s", 100*share, w.census())
	}
}

// Messages of the router cross the network that filled itself.
func TestRoutedInTown(t *testing.T) {
	w := newTown(t, 19)
	w.populate(size(150), standardMix(), time.Second)
	w.run(4 * time.Minute)
	const messages = 300
	for range messages {
		a, b := w.all[w.rng.IntN(len(w.all))], w.all[w.rng.IntN(len(w.all))]
		a.m.Send(w.now, Request{To: b.id, Exact: true, Kind: Ring, Body: []byte("ring")})
		w.drain(a)
		w.run(100 * time.Millisecond)
	}
	w.run(20 * time.Second)
	delivered, answered, lost := 0, 0, 0
	for _, r := range w.all {
		delivered += r.delivered
		answered += r.answered
		lost += r.lost
	}
	if delivered < messages || answered < messages || lost > 0 {
		t.Errorf("of %d rings %d delivered, %d answered, %d lost", messages, delivered, answered, lost)
	}
}

// Links to far buckets come to be faster than those to anybody would be.
func TestProximity(t *testing.T) {
	w := newTown(t, 20)
	w.populate(size(200), standardMix(), 500*time.Millisecond)
	w.run(12 * time.Minute)
	var far, anybody time.Duration
	for _, r := range w.all {
		for _, x := range r.m.Neighbours() {
			if x.Bucket < 3 && !x.Relayed && !x.Sibling && x.Ours {
				far += x.RTT
				anybody += 2 * w.oneWay(r, w.all[w.rng.IntN(len(w.all))])
			}
		}
	}
	most := time.Duration(85)
	if size(200) < 200 { // fewer to choose from
		most = 95
	}
	if t.Logf("%.0f%% of the time", 100*float64(far)/float64(anybody)); far > anybody*most/100 {
		t.Errorf("links take %.0f%% of the time of links to anybody", 100*float64(far)/float64(anybody))
	}
}

// TestTrace holds a small town to a recorded course of events: the same seed
// gives the same trace. Run with -update after a change of the rules.
func TestTrace(t *testing.T) {
	course := func() string {
		var b strings.Builder
		w := newTown(t, 21)
		w.trace = func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
		w.populate(6, standardMix(), time.Second)
		w.run(20 * time.Second)
		w.kill(w.all[2])
		w.run(70 * time.Second)
		return b.String()
	}
	got := course()
	if again := course(); again != got {
		t.Fatal("two runs of one seed differ")
	}
	const file = "testdata/town.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d:\n got %s\nwant %s", i+1, a[i], b[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(a), len(b))
	}

	// A larger one, by its hash.
	sum := func() string {
		h := sha256.New()
		w := newTown(t, 22)
		w.trace = func(format string, args ...any) { fmt.Fprintf(h, format+"\n", args...) }
		w.populate(60, standardMix(), 300*time.Millisecond)
		w.run(3 * time.Minute)
		return hex.EncodeToString(h.Sum(nil))
	}
	if a, b := sum(), sum(); a != b {
		t.Error("two runs of one seed differ")
	}
}

var update = flag.Bool("update", false, "write testdata anew")

// BenchmarkTown prints what a network of a thousand nodes looks like.
func BenchmarkTown(b *testing.B) {
	for b.Loop() {
		w := newTown(b, 1)
		w.populate(1000, standardMix(), 300*time.Millisecond)
		w.run(4 * time.Minute)
		share, hops := w.reach(3000)
		b.ReportMetric(100*share, "%found")
		b.ReportMetric(hops, "hops")
		b.Log(w.census())
	}
}

// Where nobody near comes or goes one node is asked in a round; who loses a
// sibling asks several at once.
func TestStill(t *testing.T) {
	b, _ := settled(t, Config{})
	asked := func(d time.Duration) (n int) {
		b.out = nil
		b.pass(d)
		for _, o := range b.out {
			var m message
			if o.Body[0] != typeFind {
				continue
			}
			if _, err := m.parse(o.Body); err != nil {
				t.Fatal(err)
			}
			n += btoi(m.bits == 0)
		}
		return n
	}
	b.pass(joinTime + 2*roundTime)
	if n := asked(10 * roundTime); n < 8 || n > 12 {
		t.Errorf("%d nodes asked in ten minutes of quiet", n)
	}
	b.m.LinkDown(b.now, b.m.c.table.list[0].id)
	if n := asked(time.Second); n != nearWidth+wanderers {
		t.Errorf("%d nodes asked when a sibling is lost", n)
	}
	b.m.LinkDown(b.now, b.m.c.table.list[0].id)
	if n := asked(time.Second); n > 1 { // the next nearest takes its place
		t.Errorf("%d nodes asked when the next is lost", n)
	}
}
