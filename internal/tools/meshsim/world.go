// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// setup says what a world is made of.
type setup struct {
	n    int
	mix  mix
	odds odds
	seed uint64
	// planted worlds begin with tables that are filled already by the rules of
	// plant.go; others grow, every node joining by itself.
	planted bool
	churn   time.Duration // median session; 0 = nobody leaves
}

// world is a network of mesh machines in one thread: links are delays,
// punches are coins, everything happens in one order.
type world struct {
	setup
	rng   *rand.Rand
	start time.Time
	now   time.Duration
	queue queue
	trace uint64 // hash of all that happened
	moved uint64 // events

	nodes []*node // all that ever were
	alive []*node // in no meaningful order, see node.place
	index map[mesh.ID]*node
	spare [][]byte // message buffers to be used again

	rings    map[uint64]*ring
	lastRing uint64
	bodies   map[uint64][]byte // see envelope
	lastBody uint64
	devices  []*identity.Device
	owners   []*owner
	join     joinStats
	excluded map[*node]bool // not chosen by some
	spoken   [talks]uint64  // bytes on the wire, by what they were for
	watching func(at *node, e mesh.Passed)
}

// epoch is when all worlds begin; five minutes past an hour, since records
// change with the hour.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC) }

func newWorld(s setup, devices []*identity.Device) *world {
	return &world{
		setup: s, start: epoch(), rng: rand.New(rand.NewPCG(s.seed, 0x6d657368)), devices: devices,
		index: make(map[mesh.ID]*node, s.n), rings: make(map[uint64]*ring), bodies: make(map[uint64][]byte),
		excluded: make(map[*node]bool),
	}
}

func (w *world) time() time.Time { return w.start.Add(w.now) }

// after does something later.
func (w *world) after(d time.Duration, do func()) { w.queue.push(w.now+d, event{do: do}) }

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for {
		at, e, ok := w.queue.pop(end)
		if !ok {
			break
		}
		w.now = at
		w.moved++
		switch {
		case e.do != nil:
			e.do()
		case e.from != nil:
			w.arrive(&e)
		case e.to.alive && e.to.wake == at:
			e.to.wake = 0
			e.to.m.Advance(w.time())
			w.drain(e.to)
		}
	}
	w.now = end
}

// mark adds to the trace.
func (w *world) mark(what, a, b uint64) {
	w.trace = mixBits(w.trace^uint64(w.now)) + mixBits(what<<56^a<<28^b)
}

// arrive brings a message to its end.
func (w *world) arrive(e *event) {
	t := e.tie
	if !t.cut && e.to.alive && (t.carrier == nil || t.carrier.alive) {
		w.mark(uint64(e.body[0]), uint64(e.from.i)<<12|uint64(len(e.body)), uint64(e.to.i))
		e.to.heard(e.body)
		if !w.hostile(e) {
			if err := e.to.m.Receive(w.time(), e.from.id, e.body); err != nil {
				panic(err) // nobody here sends garbage
			}
			w.drain(e.to)
		}
	}
	if len(w.spare) < 1<<16 {
		w.spare = append(w.spare, e.body[:0])
	}
}

// post sends a message over a link.
func (w *world) post(from, to *node, t *tie, body []byte) {
	var b []byte
	if n := len(w.spare); n > 0 {
		b, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	from.said(body)
	w.spoken[talkOf(body[0])] += wireBytes(len(body))
	if c := t.carrier; c != nil {
		c.carriedBytes += 2 * wireBytes(len(body))
	}
	w.queue.push(w.now+t.oneWay, event{to: to, from: from, tie: t, body: append(b, body...)})
}

// drain does what a node's driver does.
func (w *world) drain(x *node) {
	for more := true; more; {
		more = false
		for o, ok := x.m.Poll(); ok; o, ok = x.m.Poll() {
			if to := w.index[o.To]; to != nil {
				if t := x.tieTo(to); t != nil {
					w.post(x, to, t, o.Body)
				}
			}
		}
		for e, ok := x.m.NextEvent(); ok; e, ok = x.m.NextEvent() {
			w.event(x, e)
			more = true
		}
	}
	if d := x.m.Deadline(); !d.IsZero() {
		at := max(w.now, d.Sub(w.start))
		if x.wake == 0 || at < x.wake {
			x.wake = max(at, 1)
			w.queue.push(x.wake, event{to: x})
		}
	}
}

func (w *world) event(x *node, e mesh.Event) {
	switch e := e.(type) {
	case mesh.Wanted:
		x.m.Introduce(w.time(), e.Request, offer())
	case mesh.Asked:
		x.m.Accept(w.time(), e.Request, offer())
	case mesh.Agreed:
		w.agreed(x, e)
	case mesh.Surplus:
		if t := x.tieTo(w.index[e.Node]); t != nil {
			w.cut(t, 0, x)
		}
	case mesh.Carry:
		w.carry(x, e)
	case mesh.Passed:
		if w.watching != nil {
			w.watching(x, e)
		}
	case mesh.Delivered:
		w.delivered(x, e)
	case mesh.Answered:
		w.answered(x, e)
	case mesh.Undelivered:
		w.undelivered(x, e.Request)
	}
}

// offer stands for a sealed offer: 400 bytes are a node's usual candidates.
func offer() []byte { return make([]byte, 400) }

// joinTime is after how long a node counts as joined: see newcomers for what
// is before.
const joinTime = 30 * time.Second

// some returns a random living node that is honest and has joined.
func (w *world) some() *node {
	for {
		x := w.alive[w.rng.IntN(len(w.alive))]
		if x.evil == nil && !w.excluded[x] && w.now-x.born >= joinTime {
			return x
		}
	}
}

// pair returns two different ones.
func (w *world) pair() (a, b *node) {
	a, b = w.some(), w.some()
	for a == b {
		b = w.some()
	}
	return a, b
}

// envelope stores a body whose bytes are not the same in every run, because
// they hold fresh nonces, and returns one of the same length that is: routes
// depend on a message's hash. The body waits for whoever takes delivery.
func (w *world) envelope(body []byte) []byte {
	w.lastBody++
	w.bodies[w.lastBody] = body
	key := w.lastBody
	w.after(time.Minute, func() { delete(w.bodies, key) })
	b := make([]byte, max(8, len(body)))
	binary.BigEndian.PutUint64(b, key)
	return b
}

// open returns what is in an envelope, nil for anything else.
func (w *world) open(b []byte) []byte {
	if len(b) < 8 {
		return nil
	}
	return w.bodies[binary.BigEndian.Uint64(b)]
}
