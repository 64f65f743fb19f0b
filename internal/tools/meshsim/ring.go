// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/mesh"
)

// ring is a sealed message to a node whose fate is followed.
type ring struct {
	from, to *node
	sent     time.Duration
	arrived  time.Duration // 0 = not
	hops     int
	answered bool
	then     func() // on arrival
}

// ringBody is the length of what is routed. An INVITE has 3 KB, which changes
// nothing here: links have no bandwidth.
const ringBody = 48

// ring routes a message to a node. The body holds the secret that the lock is
// made of, as only the target could open it.
func (w *world) ring(from, to *node, copies int) *ring {
	w.lastRing++
	r := &ring{from: from, to: to, sent: w.now}
	w.rings[w.lastRing] = r
	var b [ringBody]byte
	binary.BigEndian.PutUint64(b[:], w.lastRing)
	binary.BigEndian.PutUint64(b[8:], w.rng.Uint64())
	key := w.lastRing
	q := mesh.Request{To: to.id, Exact: true, Kind: mesh.Ring, Body: b[:], Lock: sha256.Sum256(b[:32]), Copies: copies}
	w.ask(from, q, question{ring: r})
	w.after(ringLife, func() { delete(w.rings, key) })
	return r
}

// ringLife is how long a ring is followed: a little longer than the router
// remembers it.
const ringLife = 12 * time.Second

// ask routes a message and remembers what it was for. It is remembered before
// the events are drained: a message may end where it began.
func (w *world) ask(x *node, q mesh.Request, what question) {
	if x.asked == nil {
		x.asked = make(map[uint32]question)
	}
	request := x.m.Send(w.time(), q)
	x.asked[request] = what
	w.after(ringLife, func() { delete(x.asked, request) })
	w.drain(x)
}

// delivered hands a message to whom it is for, and replies.
func (w *world) delivered(x *node, e mesh.Delivered) {
	if e.Kind != mesh.Ring {
		w.serve(x, e)
		return
	}
	r := w.rings[binary.BigEndian.Uint64(e.Body)]
	if r == nil || r.to != x {
		return
	}
	if r.arrived == 0 {
		r.arrived, r.hops = w.now, e.Hops
		w.mark(0xf5, uint64(x.i), uint64(e.Hops))
		if r.then != nil {
			r.then()
		}
	}
	x.m.Reply(w.time(), e.Route, e.Body[:32], []byte("ringing"))
}

func (w *world) answered(x *node, e mesh.Answered) {
	q := x.asked[e.Request]
	switch {
	case q.ring != nil:
		q.ring.answered = true
	default:
		w.directoryAnswer(x, q, e)
	}
}

func (w *world) undelivered(x *node, request uint32) {
	if q := x.asked[request]; q.lookup != nil {
		q.lookup.undelivered(w, q.ref)
	}
}

// fate sums up messages.
type fate struct {
	n, ok, in3, in8 int
	hops            []int
	times           []time.Duration // of those that arrived
}

func (f *fate) add(sent, arrived time.Duration, hops int) {
	f.n++
	if arrived == 0 {
		return
	}
	d := arrived - sent
	f.ok++
	f.in3 += btoi(d <= 3*time.Second)
	f.in8 += btoi(d <= 8*time.Second)
	f.hops = append(f.hops, hops)
	f.times = append(f.times, d)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func share(part, all int) float64 {
	if all == 0 {
		return 0
	}
	return 100 * float64(part) / float64(all)
}

// rate is the percentage that arrived at all, rate3 and rate8 within so many
// seconds.
func (f *fate) rate() float64  { return share(f.ok, f.n) }
func (f *fate) rate3() float64 { return share(f.in3, f.n) }
func (f *fate) rate8() float64 { return share(f.in8, f.n) }

// ms returns a percentile of the times in milliseconds.
func (f *fate) ms(percent float64) float64 {
	slices.Sort(f.times)
	return at(f.times, percent) / 1e6
}

func (f *fate) hop(percent float64) float64 {
	slices.Sort(f.hops)
	return at(f.hops, percent)
}

func (f *fate) meanHops() float64 { return mean(f.hops) }

// traffic sends count rings between random pairs, evenly over d, and follows
// them to their end. What was for or from a node that died meanwhile doesn't
// count.
func (w *world) traffic(count int, d time.Duration, copies int) *fate {
	list := w.send(count, d, copies, w.pair)
	w.run(d + ringLife)
	return tally(*list)
}

// send is traffic without the wait.
func (w *world) send(count int, d time.Duration, copies int, pair func() (a, b *node)) *[]*ring {
	list := new([]*ring)
	for i := range count {
		w.after(d*time.Duration(i)/time.Duration(count), func() {
			a, b := pair()
			*list = append(*list, w.ring(a, b, copies))
		})
	}
	return list
}

func tally(list []*ring) *fate {
	f := &fate{}
	for _, r := range list {
		if r.arrived > 0 || r.from.alive && r.to.alive {
			f.add(r.sent, r.arrived, r.hops)
		}
	}
	return f
}

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// at returns a percentile of a sorted list.
func at[T number](list []T, percent float64) float64 {
	if len(list) == 0 {
		return 0
	}
	return float64(list[min(len(list)-1, int(float64(len(list))*percent/100))])
}

func mean[T number](list []T) float64 {
	if len(list) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range list {
		sum += float64(v)
	}
	return sum / float64(len(list))
}
