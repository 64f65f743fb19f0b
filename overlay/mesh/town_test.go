// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// town is a small world of machines: links are delays, punches are coins. It
// stands in for the driver, and does everything in one order.
type town struct {
	t     testing.TB
	rng   *rand.Rand
	start time.Time
	now   time.Time
	seq   int
	queue dueList
	all   []*resident
	byID  map[ID]*resident
	trace func(format string, args ...any) // nil = none
	caps  bool
	harsh bool // hostile residents don't answer
}

type resident struct {
	m     *Machine
	card  Card
	id    ID
	addr  netip.AddrPort
	x, y  float64 // where it is; milliseconds
	slow  time.Duration
	alive bool
	mute  bool // takes messages and does nothing
	timer time.Time
	links map[ID]*tie

	delivered, answered, lost int
	surplus, wanted, relayed  int
}

// tie is a link between two residents.
type tie struct {
	a, b    *resident
	carrier *resident
	cut     bool
}

type due struct {
	at  time.Time
	seq int
	f   func()
}

type dueList []due

func (d dueList) Len() int { return len(d) }
func (d dueList) Less(i, j int) bool {
	return d[i].at.Before(d[j].at) || d[i].at.Equal(d[j].at) && d[i].seq < d[j].seq
}
func (d dueList) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dueList) Push(x any)   { *d = append(*d, x.(due)) }
func (d *dueList) Pop() any {
	o := *d
	x := o[len(o)-1]
	*d = o[:len(o)-1]
	return x
}

// size is the number of nodes in a town: all that a test can show only in the
// long run, two in five otherwise.
func size(n int) int {
	if os.Getenv("P2POS_LONG") != "" {
		return n
	}
	return max(min(n, 40), n*2/5)
}

func newTown(t testing.TB, seed uint64) *town {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &town{t: t, rng: rand.New(rand.NewPCG(seed, 7)), start: start, now: start, byID: map[ID]*resident{}, caps: true}
}

func (w *town) in(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, due{w.now.Add(d), w.seq, f})
}

// run lets time pass.
func (w *town) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		x := heap.Pop(&w.queue).(due)
		w.now = x.at
		x.f()
	}
	w.now = end
}

// mix are shares of Open, Easy, Hard, the rest being Hard.
type mix struct{ open, easy float64 }

func (x mix) class(rng *rand.Rand) Class {
	switch u := rng.Float64(); {
	case u < x.open:
		return Open
	case u < x.open+x.easy:
		return Easy
	}
	return Hard
}

func testCard(n uint64, class Class) Card {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], n)
	return Card{Key: sha256.Sum256(seed[:]), Class: class}
}

// settler adds a node without links.
func (w *town) settler(class Class) *resident {
	n := uint64(len(w.all)) + 1
	card := testCard(w.rng.Uint64(), class)
	r := &resident{
		card: card, id: card.ID(), alive: true, links: map[ID]*tie{},
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(n >> 8), byte(n), 9}), 4000),
		// Four regions, 12 ms across, 60 ms apart.
		x: float64(w.rng.IntN(2))*60 + w.rng.Float64()*12, y: float64(w.rng.IntN(2))*60 + w.rng.Float64()*12, slow: time.Duration(2+w.rng.IntN(15)) * time.Millisecond,
	}
	r.m = New(w.now, Config{Self: card, NoCaps: !w.caps}, rand.New(rand.NewPCG(w.rng.Uint64(), n)))
	w.all = append(w.all, r)
	w.byID[r.id] = r
	return r
}

// oneWay is the delay between two residents.
func (w *town) oneWay(a, b *resident) time.Duration {
	return a.slow + b.slow + time.Duration(math.Hypot(a.x-b.x, a.y-b.y)*float64(time.Millisecond))
}

func (w *town) rtt(t *tie) time.Duration {
	if t.carrier != nil {
		return 2 * (w.oneWay(t.a, t.carrier) + w.oneWay(t.carrier, t.b))
	}
	return 2 * w.oneWay(t.a, t.b)
}

// punch says whether two residents can come to a direct link: always the same
// for a pair, with the shares of the simulation behind the design.
func punch(a, b *resident) bool {
	share := 0.95
	switch {
	case a.card.Class == Open || b.card.Class == Open:
		share = 0.99
	case a.card.Class == Hard && b.card.Class == Hard:
		share = 0
	case a.card.Class == Hard || b.card.Class == Hard:
		share = 0.70
	}
	x := binary.BigEndian.Uint64(a.id[:]) ^ binary.BigEndian.Uint64(b.id[:])
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11)/(1<<53) < share
}

// link makes a link now. a has asked for it.
func (w *town) link(a, b, via, carrier *resident, anchor bool) {
	if !a.alive || !b.alive {
		return
	}
	if old := a.links[b.id]; old != nil {
		if old.carrier == nil || carrier != nil {
			return
		}
		old.cut = true
	}
	t := &tie{a: a, b: b, carrier: carrier}
	a.links[b.id], b.links[a.id] = t, t
	rtt := w.rtt(t)
	for _, s := range [2]struct{ me, other *resident }{{a, b}, {b, a}} {
		l := Link{Card: s.other.card, Addr: s.other.addr, RTT: rtt, Ours: s.me == a, Anchor: anchor}
		if via != nil {
			l.Via = via.id
		}
		if carrier != nil {
			l.Relayed, l.Carrier, l.Addr = true, carrier.id, netip.AddrPort{}
		}
		w.log("up %s-%s %v", s.me.id.Short(), s.other.id.Short(), carrier != nil)
		s.me.m.LinkUp(w.now, l)
		w.drain(s.me)
	}
}

// cut ends a link; both ends hear of it after a while.
func (w *town) cutTie(t *tie, after time.Duration) {
	if t.cut {
		return
	}
	t.cut = true
	for _, s := range [2]struct{ me, other *resident }{{t.a, t.b}, {t.b, t.a}} {
		w.in(after, func() {
			if s.me.alive && s.me.links[s.other.id] == t {
				delete(s.me.links, s.other.id)
				w.log("down %s-%s", s.me.id.Short(), s.other.id.Short())
				s.me.m.LinkDown(w.now, s.other.id)
				w.drain(s.me)
			}
		})
	}
	if c := t.carrier; c != nil {
		w.in(after, func() {
			if c.alive {
				c.m.CarryDown(w.now, t.a.id, t.b.id)
				w.drain(c)
			}
		})
	}
}

// kill ends a node without notice: others find out within keepalive time.
func (w *town) kill(r *resident) {
	r.alive = false
	for _, o := range w.all {
		for _, id := range w.ids(o) {
			t := o.links[id]
			if t.a == r || t.b == r || t.carrier == r {
				w.cutTie(t, 3*time.Second+time.Duration(w.rng.IntN(5000))*time.Millisecond)
			}
		}
	}
}

func (w *town) ids(r *resident) []ID {
	list := make([]ID, 0, len(r.links))
	for id := range r.links {
		list = append(list, id)
	}
	slices.SortFunc(list, ID.Compare)
	return list
}

func (w *town) log(format string, args ...any) {
	if w.trace != nil {
		w.trace("%7.3f "+format, append([]any{w.now.Sub(w.start).Seconds()}, args...)...)
	}
}

// drain does what a driver does.
func (w *town) drain(r *resident) {
	for more := true; more; {
		more = false
		for o, ok := r.m.Poll(); ok; o, ok = r.m.Poll() {
			w.carryMessage(r, o.To, slices.Clone(o.Body))
		}
		for e, ok := r.m.NextEvent(); ok; e, ok = r.m.NextEvent() {
			w.event(r, e)
			more = true
		}
	}
	w.schedule(r)
}

func (w *town) schedule(r *resident) {
	d := r.m.Deadline()
	if d.IsZero() || !r.timer.IsZero() && !r.timer.After(d) && r.timer.After(w.now) {
		return
	}
	if d.Before(w.now) {
		d = w.now
	}
	r.timer = d
	w.in(d.Sub(w.now), func() {
		if r.alive && !w.now.Before(r.timer) {
			r.timer = time.Time{}
			r.m.Advance(w.now)
			w.drain(r)
		}
	})
}

func (w *town) carryMessage(from *resident, to ID, body []byte) {
	t := from.links[to]
	if t == nil {
		return
	}
	other := w.byID[to]
	w.log("%s>%s %x", from.id.Short(), to.Short(), body[:min(len(body), 24)])
	w.in(w.rtt(t)/2, func() {
		if t.cut || !other.alive || other.mute || t.carrier != nil && !t.carrier.alive {
			return
		}
		if err := other.m.Receive(w.now, from.id, body); err != nil {
			w.t.Fatalf("%s sends to %s: %v", from.id.Short(), to.Short(), err)
		}
		w.drain(other)
	})
}

func (w *town) event(r *resident, e Event) {
	switch e := e.(type) {
	case Wanted:
		r.wanted++
		r.m.Introduce(w.now, e.Request, []byte(fmt.Sprintf("offer of %s", r.id.Short())))
	case Asked:
		if e.Relay && e.Seen.IsValid() && e.Seen != w.byID[e.From.ID()].addr {
			w.t.Fatalf("introducer invents an address")
		}
		r.m.Accept(w.now, e.Request, []byte(fmt.Sprintf("answer of %s", r.id.Short())))
	case Agreed:
		w.agreed(r, e)
	case Surplus:
		r.surplus++
		if t := r.links[e.Node]; t != nil {
			w.cutTie(t, w.rtt(t)/2)
		}
	case Carry:
		r.relayed++
	case Delivered:
		r.delivered++
		r.m.Reply(w.now, e.Route, nil, []byte("here"))
	case Answered:
		r.answered++
	case Undelivered:
		r.lost++
	}
}

// agreed punches, or links through the introducer.
func (w *town) agreed(r *resident, e Agreed) {
	o, via := w.byID[e.Node], w.byID[e.Via]
	if e.Relay {
		w.in(2*w.oneWay(r, via), func() {
			if via.alive && r.links[via.id] != nil && o.links[via.id] != nil {
				w.link(r, o, via, via, false)
			}
		})
		return
	}
	ok := punch(r, o)
	wait := 4 * w.oneWay(r, o)
	if !ok {
		wait = 2 * time.Second
	}
	w.in(wait, func() {
		if ok {
			w.link(r, o, via, nil, false)
			return
		}
		for _, s := range [2]struct{ me, other *resident }{{r, o}, {o, r}} {
			if s.me.alive {
				s.me.m.Failed(w.now, s.other.id)
				w.drain(s.me)
			}
		}
	})
}

// populate lets n nodes join one after the other, each by a random one that
// is there.
func (w *town) populate(n int, x mix, gap time.Duration) {
	for i := range n {
		class := x.class(w.rng)
		if i == 0 { // two hard ones can't begin a network
			if class = Easy; x.open > 0 {
				class = Open
			}
		}
		w.join(w.settler(class))
		w.run(gap)
	}
}

// join dials any node that it can reach, again and again while it has no link.
func (w *town) join(r *resident) {
	w.in(5*time.Second, func() {
		if r.alive {
			w.join(r)
		}
	})
	if len(r.links) > 0 {
		return
	}
	for range 100 {
		o := w.all[w.rng.IntN(len(w.all))]
		if o != r && o.alive && !o.mute && punch(r, o) && (len(o.links) > 0 || o == w.all[0]) {
			w.link(r, o, nil, nil, false)
			return
		}
	}
}

func (w *town) living() (list []*resident) {
	for _, r := range w.all {
		if r.alive {
			list = append(list, r)
		}
	}
	return list
}

// greedy follows links to the nearest node until there is none nearer.
func (w *town) greedy(a, b *resident) (hops int, ok bool) {
	for cur := a; ; hops++ {
		if cur == b {
			return hops, true
		}
		var room [1]*neighbour
		next := cur.m.c.table.nearest(room[:0], b.id, 1, func(n *neighbour) bool { return n.leaf() && n.id != b.id || !w.byID[n.id].alive })
		if len(next) == 0 || !nearer(&b.id, &next[0].id, &cur.id) {
			return hops, false
		}
		cur = w.byID[next[0].id]
	}
}

// reach returns the share of pairs that find each other by greedy routing
// alone, and the mean number of hops.
func (w *town) reach(pairs int) (share, hops float64) {
	list := w.living()
	found, sum := 0, 0
	for range pairs {
		a, b := list[w.rng.IntN(len(list))], list[w.rng.IntN(len(list))]
		if h, ok := w.greedy(a, b); ok {
			found++
			sum += h
		}
	}
	return float64(found) / float64(pairs), float64(sum) / float64(max(found, 1))
}

// siblingShare returns how many of the true eight nearest living nodes a node
// has links with, on average.
func (w *town) siblingShare() float64 {
	list := w.living()
	have, all := 0, 0
	for _, r := range list {
		if r.card.Leaf {
			continue
		}
		near := slices.DeleteFunc(slices.Clone(list), func(o *resident) bool { return o == r || o.card.Leaf })
		slices.SortFunc(near, func(a, b *resident) int {
			if nearer(&r.id, &a.id, &b.id) {
				return -1
			}
			return 1
		})
		for _, o := range near[:min(siblings, len(near))] {
			all++
			if r.links[o.id] != nil && !r.links[o.id].cut {
				have++
			}
		}
	}
	return float64(have) / float64(max(1, all))
}

// census prints what the town looks like.
func (w *town) census() string {
	var links, nodes [Blocked + 1]int
	var relayed, carried, spare, guests, asked, wanted, linked, failed, refused, silent, declined, shed int
	most := 0
	for _, r := range w.living() {
		s := r.m.Status()
		nodes[r.card.Class]++
		links[r.card.Class] += s.Links
		most = max(most, s.Links)
		relayed += s.Relayed
		carried = max(carried, s.Carried)
		spare += s.Spare
		guests += s.Guests
		asked += int(s.Introducer.Asked)
		wanted += int(s.Suitor.Wanted)
		linked += int(s.Suitor.Linked)
		failed += int(s.Suitor.Failed)
		refused += int(s.Suitor.Refused)
		silent += int(s.Suitor.Silent)
		declined += int(s.Suitor.Declined)
		shed += int(s.Suitor.Shed + s.Introducer.Shed)
	}
	n := len(w.living())
	per := func(c Class) float64 { return float64(links[c]) / float64(max(1, nodes[c])) }
	sum := links[Open] + links[Easy] + links[Hard]
	return fmt.Sprintf("%d nodes, links %.1f (open %.1f easy %.1f hard %.1f, most %d), relayed %.1f%%, carried ≤ %d, spare %.2f, guests %.2f, siblings %.2f%%; a node: wanted %.1f linked %.1f refused %.1f failed %.1f silent %.1f declined %.1f shed %.1f introduced %.1f",
		n, float64(sum)/float64(n), per(Open), per(Easy), per(Hard), most, 100*float64(relayed)/float64(max(1, sum)), carried,
		float64(spare)/float64(n), float64(guests)/float64(n), 100*w.siblingShare(),
		float64(wanted)/float64(n), float64(linked)/float64(n), float64(refused)/float64(n), float64(failed)/float64(n), float64(silent)/float64(n), float64(declined)/float64(n), float64(shed)/float64(n), float64(asked)/float64(n))
}
