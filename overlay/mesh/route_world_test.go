// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A routeWorld is a network whose links stand already: symmetric Kademlia
// tables of four links a bucket and eight siblings, near ones preferred, with
// the delays of five regions. Messages arrive in order of time; nothing else
// happens. Same seed, same run.
type routeWorld struct {
	tb    testing.TB
	rng   *rand.Rand
	start time.Time
	now   time.Duration
	nodes []*routeNode
	byID  map[ID]*routeNode
	queue worldQueue
	seq   int
	moved int           // messages of routing that arrived
	cost  time.Duration // of each step, on the one processor that all nodes share; 0 = none
	free  time.Duration // when that has nothing more to do

	rings  []*ring
	byBody map[[32]byte]*ring
	passed int
	held   map[giving][]ID // who answered a Store or Fetch: origin and request
	given  map[giving]int  // when not nil: how often honest nodes gave a message to a neighbour
}

type giving struct {
	from, to int
	trace    Trace
}

type routeNode struct {
	*Machine
	id       ID
	i        int
	region   int
	access   time.Duration
	links    map[int]bool
	dead     bool
	bad      badness
	wake     time.Duration
	requests map[uint32]*ring
	looped   map[Trace]bool
	stored   map[ID]bool
}

// badness is what a node does to others' messages.
type badness int

const (
	honest  badness = iota
	sink            // acknowledges and drops
	mute            // drops without a word
	refuser         // refuses everything
	liar            // answers in the target's place, with a wrong secret
	forger          // passes on with another body
	keeper          // passes on, but keeps replies
	looper          // passes on to everybody, over and over, the visited set and hops set back
)

// ring is a message whose fate is followed.
type ring struct {
	from, to  *routeNode
	sent      time.Duration
	arrived   time.Duration // 0 = not
	hops      int
	answered  time.Duration
	replies   int
	deliverys int
	lost      bool // Undelivered
}

type worldEvent struct {
	at       time.Duration
	seq      int
	to, from *routeNode
	body     []byte // nil = a wake
	do       func()
}

type worldQueue []worldEvent

func (q worldQueue) Len() int      { return len(q) }
func (q worldQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *worldQueue) Push(v any)   { *q = append(*q, v.(worldEvent)) }
func (q worldQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q *worldQueue) Pop() any {
	s := *q
	v := s[len(s)-1]
	*q = s[:len(s)-1]
	return v
}

func newRouteWorld(tb testing.TB, seed uint64, n int) *routeWorld {
	w := &routeWorld{
		tb: tb, rng: rand.New(rand.NewPCG(seed, 4)), start: time.Unix(1e9, 0),
		byID: make(map[ID]*routeNode), byBody: make(map[[32]byte]*ring), held: make(map[giving][]ID), now: time.Hour,
	}
	for i := range n {
		var c Card
		for j := range c.Key {
			c.Key[j] = byte(w.rng.Uint32())
		}
		c.Class = Open
		x := &routeNode{
			i: i, id: c.ID(), region: w.rng.IntN(5), links: make(map[int]bool), requests: make(map[uint32]*ring), looped: make(map[Trace]bool), stored: make(map[ID]bool),
			access:  time.Duration(12 * math.Exp(0.6*w.rng.NormFloat64()) * float64(time.Millisecond)),
			Machine: New(w.start, Config{Self: c, NoCaps: true, Links: 1 << 10}, rand.New(rand.NewPCG(seed, uint64(i)))),
		}
		w.nodes = append(w.nodes, x)
		w.byID[x.id] = x
	}
	w.wire()
	return w
}

// wire makes the links.
func (w *routeWorld) wire() {
	link := func(a, b *routeNode) { a.links[b.i], b.links[a.i] = true, true }
	full := make(map[[2]int]int) // node and bucket: links
	for _, a := range w.nodes {
		near := make([]*routeNode, 0, 9)
		for _, b := range w.nodes {
			i := len(near)
			for b != a && i > 0 && nearer(&a.id, &b.id, &near[i-1].id) {
				i--
			}
			if b != a && i < 8 {
				near = slices.Insert(near, i, b)[:min(len(near)+1, 8)]
			}
		}
		for _, b := range near {
			link(a, b)
		}
	}
	for _, i := range w.rng.Perm(len(w.nodes)) {
		a := w.nodes[i]
		buckets := make(map[int][]*routeNode)
		for _, b := range w.nodes {
			if b != a {
				k := prefixLen(&a.id, &b.id)
				buckets[k] = append(buckets[k], b)
			}
		}
		for k := range 40 {
			list := buckets[k]
			w.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			list = list[:min(len(list), 40)] // candidates that a node hears of
			slices.SortStableFunc(list, func(x, y *routeNode) int { return int(w.delay(a, x) - w.delay(a, y)) })
			for _, b := range list {
				if full[[2]int{a.i, k}] >= 4 {
					break
				}
				if full[[2]int{b.i, k}] < 6 && !a.links[b.i] {
					link(a, b)
					full[[2]int{a.i, k}]++
					full[[2]int{b.i, k}]++
				}
			}
		}
	}
	for _, a := range w.nodes {
		for _, i := range slices.Sorted(maps.Keys(a.links)) {
			if b := w.nodes[i]; true {
				a.LinkUp(w.time(), Link{Card: b.c.self, RTT: 2 * w.delay(a, b), Ours: true})
			}
		}
		w.drain(a)
	}
}

func (w *routeWorld) time() time.Time { return w.start.Add(w.now) }

// delay is one way, symmetric.
func (w *routeWorld) delay(a, b *routeNode) time.Duration {
	table := [5][5]int{
		{12, 45, 55, 90, 110}, {45, 12, 80, 70, 130}, {55, 80, 15, 120, 90}, {90, 70, 120, 15, 60}, {110, 130, 90, 60, 15},
	}
	return time.Duration(table[a.region][b.region])*time.Millisecond + a.access + b.access
}

func (w *routeWorld) push(e worldEvent) {
	w.seq++
	e.seq = w.seq
	heap.Push(&w.queue, e)
}

func (w *routeWorld) after(d time.Duration, do func()) { w.push(worldEvent{at: w.now + d, do: do}) }

// run lets d pass.
func (w *routeWorld) run(d time.Duration) {
	end := w.now + d
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(worldEvent)
		if w.now = max(e.at, w.free); w.cost > 0 {
			w.free = w.now + w.cost
		}
		switch {
		case e.do != nil:
			e.do()
		case e.to.dead:
		case e.body == nil:
			if e.at != e.to.wake {
				continue
			}
			e.to.wake = 0
			e.to.Advance(w.time())
			w.drain(e.to)
		default:
			if e.body[0] >= routerTypes && e.body[0] < endOfTypes {
				w.moved++
			}
			w.arrive(e)
		}
	}
	w.now = max(w.now, end)
}

func (w *routeWorld) arrive(e worldEvent) {
	if e.to.bad == keeper && e.body[0] == typeReturn {
		return
	}
	if e.to.bad != honest && e.to.bad != keeper && e.body[0] == typeRoute {
		m, err := readRoute(e.body)
		if err != nil {
			w.tb.Fatal(err)
		}
		var h head
		h.set(m.tail)
		trace := traceOf(m.tail)
		if h.key != e.to.id {
			answer := func(b []byte) { w.post(e.to, e.from, b) }
			switch e.to.bad {
			case sink:
				answer(appendAck(nil, &trace))
			case refuser:
				answer(appendRefuse(nil, &trace, reason(1+w.rng.IntN(5)), nil))
			case liar:
				answer(appendAck(nil, &trace))
				r := replyMsg{trace: trace, number: 1, hops: 1, secret: h.salt[:], body: []byte("lie")}
				answer(r.append(nil))
			case forger:
				answer(appendAck(nil, &trace))
				b := bytes.Clone(e.body)
				b[len(b)-1]++
				b[2]++
				w.post(e.to, w.linkTowards(e.to, &h.key), b)
			case looper:
				answer(appendAck(nil, &trace))
				if e.to.looped[trace] { // or loopers alone fill the world
					return
				}
				e.to.looped[trace] = true
				for _, i := range slices.Sorted(maps.Keys(e.to.links)) {
					for k := range 3 {
						b := appendRoute(nil, m.copy, 1, &visited{}, m.tail)
						w.after(time.Duration(k)*time.Second, func() { w.post(e.to, w.nodes[i], b) })
					}
				}
			}
			return
		}
	}
	if err := e.to.Receive(w.time(), e.from.id, e.body); err != nil {
		w.tb.Fatalf("%s from an honest node: %v", e.to.id.Short(), err)
	}
	w.drain(e.to)
}

// linkTowards returns the neighbour of x nearest to a key.
func (w *routeWorld) linkTowards(x *routeNode, key *ID) (best *routeNode) {
	for _, i := range slices.Sorted(maps.Keys(x.links)) {
		if n := w.nodes[i]; best == nil || nearer(key, &n.id, &best.id) {
			best = n
		}
	}
	return best
}

func (w *routeWorld) post(from, to *routeNode, b []byte) {
	if w.given != nil && from.bad == honest && b[0] == typeRoute {
		m, _ := readRoute(b)
		w.given[giving{from.i, to.i, traceOf(m.tail)}]++
	}
	w.push(worldEvent{at: w.now + w.delay(from, to), from: from, to: to, body: b})
}

func (w *routeWorld) drain(x *routeNode) {
	for {
		if o, ok := x.Poll(); ok {
			if to := w.byID[o.To]; x.links[to.i] {
				w.post(x, to, o.Body)
			} else if !to.dead {
				w.tb.Fatalf("%s sends to %s without a link", x.id.Short(), to.id.Short())
			}
			continue
		}
		e, ok := x.NextEvent()
		if !ok {
			break
		}
		w.event(x, e)
	}
	if d := x.Deadline(); !d.IsZero() {
		if at := max(w.now, d.Sub(w.start)); x.wake == 0 || at < x.wake || x.wake < w.now {
			x.wake = at
			w.push(worldEvent{at: at, to: x})
		}
	}
}

func (w *routeWorld) event(x *routeNode, e Event) {
	switch e := e.(type) {
	case Delivered:
		if e.Kind == Store {
			x.stored[e.To] = true
		}
		if e.Kind != Ring {
			answer := "nothing"
			if x.stored[e.To] {
				answer = "held by " + string(x.id[:])
			}
			x.Reply(w.time(), e.Route, nil, []byte(answer))
			return
		}
		q := w.byBody[[32]byte(e.Body)]
		if q == nil || q.to != x {
			return // forged
		}
		q.deliverys++
		if q.arrived == 0 {
			q.arrived, q.hops = w.now-q.sent, e.Hops
		}
		x.Reply(w.time(), e.Route, e.Body[:32], []byte("ringing"))
	case Answered:
		if id, ok := bytes.CutPrefix(e.Body, []byte("held by ")); ok {
			k := giving{from: x.i, to: int(e.Request)}
			w.held[k] = append(w.held[k], ID(id))
		}
		if q := x.requests[e.Request]; q != nil {
			if q.replies == 0 {
				q.answered = e.After
			}
			q.replies++
		}
	case Undelivered:
		if q := x.requests[e.Request]; q != nil {
			q.lost = true
		}
	case Passed:
		w.passed++
	}
}

// ring sends an exact, locked message.
func (w *routeWorld) ring(from, to *routeNode) *ring {
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(w.rng.Uint32())
	}
	q := &ring{from: from, to: to, sent: w.now}
	w.byBody[secret] = q
	w.rings = append(w.rings, q)
	id := from.Send(w.time(), Request{To: to.id, Exact: true, Kind: Ring, Body: secret[:], Lock: sha256.Sum256(secret[:])})
	from.requests[id] = q
	w.drain(from)
	return q
}

// some returns a random node that is alive and honest.
func (w *routeWorld) some() *routeNode {
	for {
		if x := w.nodes[w.rng.IntN(len(w.nodes))]; !x.dead && x.bad == honest {
			return x
		}
	}
}

// traffic sends count rings between random pairs, evenly spread over d.
func (w *routeWorld) traffic(count int, d time.Duration) []*ring {
	first := len(w.rings)
	for i := range count {
		w.after(d*time.Duration(i)/time.Duration(count), func() {
			from, to := w.some(), w.some()
			for from == to {
				to = w.some()
			}
			w.ring(from, to)
		})
	}
	w.run(d + 15*time.Second)
	return w.rings[first:]
}

// fate sums up rings.
type fate struct {
	n, ok, in3s, answered int
	hops                  float64
	p50, p99              time.Duration
}

func fateOf(rings []*ring) (f fate) {
	var times []time.Duration
	for _, q := range rings {
		f.n++
		if q.answered > 0 {
			f.answered++
		}
		if q.arrived == 0 {
			continue
		}
		f.ok++
		f.hops += float64(q.hops)
		times = append(times, q.arrived)
		if q.arrived <= 3*time.Second {
			f.in3s++
		}
	}
	slices.Sort(times)
	if f.ok > 0 {
		f.hops /= float64(f.ok)
		f.p50, f.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return f
}

func (f fate) share() float64 { return 100 * float64(f.ok) / float64(f.n) }

func (f fate) log(tb testing.TB, what string) {
	tb.Helper()
	tb.Logf("%-36s %5d rings: %6.2f%% arrived (%6.2f%% in 3 s), %6.2f%% answered; %.2f hops, %d/%d ms p50/p99", what, f.n, f.share(),
		100*float64(f.in3s)/float64(f.n), 100*float64(f.answered)/float64(f.n), f.hops, f.p50.Milliseconds(), f.p99.Milliseconds())
}

// kill makes a share of the nodes silent; nobody is told.
func (w *routeWorld) kill(share float64) {
	for _, i := range w.rng.Perm(len(w.nodes))[:int(share*float64(len(w.nodes)))] {
		w.nodes[i].dead = true
	}
}

func (w *routeWorld) corrupt(share float64, b badness) {
	for _, i := range w.rng.Perm(len(w.nodes))[:int(share*float64(len(w.nodes)))] {
		w.nodes[i].bad = b
	}
}
