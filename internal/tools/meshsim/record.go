// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/ed25519"
	"encoding/binary"
	mrand "math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// owner is a device that publishes where it is, through the node it runs.
type owner struct {
	device *identity.Device
	at     *node
	pub    *directory.Publisher
	wake   time.Duration
}

// publish gives devices to random nodes, to publish where they are.
func (w *world) publish() {
	for _, d := range w.devices[:min(len(w.devices), len(w.alive))] {
		x := w.some()
		for x.owner != nil {
			x = w.some()
		}
		pub, err := directory.NewPublisher(d, 0, mrand.New(mrand.NewPCG(w.rng.Uint64(), 1)))
		if err != nil {
			panic(err)
		}
		o := &owner{device: d, pub: pub}
		if err := pub.SetReach(w.time(), []directory.Reach{{Secret: d.Reach()}}, false, nil); err != nil {
			panic(err)
		}
		w.owners = append(w.owners, o)
		w.move(o, x)
	}
}

// move lets a device be at another node, as after a restart.
func (w *world) move(o *owner, x *node) {
	if o.at != nil {
		o.at.owner = nil
	}
	o.at, x.owner = x, o
	l := identity.Location{Node: ed25519.PublicKey(x.card.Key[:]), Class: uint8(x.card.Class)}
	if x.kind == public {
		l.Addrs = append(l.Addrs, x.addr)
	}
	if err := o.pub.SetLocation(w.time(), l); err != nil {
		panic(err)
	}
	w.stirOwner(o)
}

func (w *world) stirOwner(o *owner) {
	for e, ok := o.pub.NextEvent(); ok; e, ok = o.pub.NextEvent() {
		p := e.(directory.Publish)
		w.ask(o.at, mesh.Request{To: p.Key, Kind: mesh.Store, Body: w.envelope(p.Body)}, question{owner: o, ref: p.Ref})
	}
	d := o.pub.Deadline()
	if d.IsZero() || !o.at.alive {
		return
	}
	if at := max(w.now, d.Sub(w.start)); o.wake <= w.now || at < o.wake {
		o.wake = at
		w.after(at-w.now, func() {
			if o.wake == at && o.at.alive {
				o.wake = 0
				o.pub.Advance(w.time())
				w.stirOwner(o)
			}
		})
	}
}

// serve takes delivery of a message to a place.
func (w *world) serve(x *node, e mesh.Delivered) {
	body := w.open(e.Body)
	if body == nil {
		return
	}
	from := w.index[e.From]
	network := directory.PrefixOf(from.addr.Addr())
	answers, err := w.storeOf(x).Receive(w.time(), body, network)
	if err != nil {
		panic(err)
	}
	for _, a := range answers {
		x.m.Reply(w.time(), e.Route, nil, w.envelope(a))
	}
	w.stirStore(x)
}

// storeOf makes a node's store when it is needed first.
func (w *world) storeOf(x *node) *directory.Store {
	if x.store == nil {
		x.store = directory.NewStore(x.id, mrand.New(mrand.NewPCG(w.seed, uint64(x.i))))
		x.store.SetNeighbours(w.time(), x.candidates())
	}
	return x.store
}

func (x *node) candidates() (list []directory.Candidate) {
	for _, t := range x.ties {
		o := t.other(x)
		c := directory.Candidate{ID: o.id, Addr: o.addr.Addr()}
		if t.carrier != nil {
			c.Addr = t.carrier.addr.Addr()
		}
		list = append(list, c)
	}
	return list
}

// retell tells a node's store of its neighbours, once for many changes.
func (w *world) retell(x *node) {
	if x.store == nil || !x.newTies {
		return
	}
	x.newTies = false
	w.after(time.Second, func() {
		if x.store != nil {
			x.newTies = false
			x.store.SetNeighbours(w.time(), x.candidates())
			w.stirStore(x)
		}
	})
}

func (w *world) stirStore(x *node) {
	for e, ok := x.store.NextEvent(); ok; e, ok = x.store.NextEvent() {
		h := e.(directory.Handover)
		for _, to := range h.To {
			for _, b := range h.Bodies {
				w.ask(x, mesh.Request{To: to, Exact: true, Next: true, Kind: mesh.Store, Body: w.envelope(b)}, question{})
			}
		}
	}
	d := x.store.Deadline()
	if d.IsZero() {
		return
	}
	if at := max(w.now, d.Sub(w.start)); x.storeWake <= w.now || at < x.storeWake {
		x.storeWake = at
		w.after(at-w.now, func() {
			if x.store != nil && x.storeWake == at {
				x.storeWake = 0
				x.store.Advance(w.time())
				w.stirStore(x)
			}
		})
	}
}

// lookup is a search for a device by a ticket without addresses, and the ring
// that follows.
type lookup struct {
	from    *node
	owner   *owner
	l       *directory.Lookup
	sent    time.Duration
	found   time.Duration // 0 = not
	arrived time.Duration
	hops    int
}

// lookUp starts one.
func (w *world) lookUp(from *node, o *owner) *lookup {
	l, err := directory.NewLookup(w.time(), o.device.ID(), o.device.Reach())
	if err != nil {
		panic(err)
	}
	q := &lookup{from: from, owner: o, l: l, sent: w.now}
	q.stir(w)
	return q
}

func (q *lookup) stir(w *world) {
	if !q.from.alive {
		return
	}
	for e, ok := q.l.NextEvent(); ok; e, ok = q.l.NextEvent() {
		switch e := e.(type) {
		case directory.Ask:
			w.ask(q.from, mesh.Request{To: e.Key, Kind: mesh.Fetch, Body: w.envelope(e.Body), Copies: e.Copies}, question{lookup: q, ref: e.Ref})
		case directory.Found:
			if q.found == 0 {
				q.found = w.now
			}
			to := w.index[mesh.Card{Key: [32]byte(e.Record.At.Node)}.ID()]
			if to != q.owner.at || q.arrived > 0 {
				continue // of an earlier life
			}
			var r *ring
			r = w.ring(q.from, to, 0)
			r.then = func() { q.arrived, q.hops = w.now, r.hops }
			if r.arrived > 0 {
				r.then()
			}
		}
	}
	if d := q.l.Deadline(); !d.IsZero() {
		at := max(w.now, d.Sub(w.start))
		w.after(at-w.now, func() {
			if d := q.l.Deadline(); !d.IsZero() && !d.After(w.time()) {
				q.l.Advance(w.time())
				q.stir(w)
			}
		})
	}
}

func (q *lookup) undelivered(w *world, ref uint32) {
	q.l.Undelivered(w.time(), ref)
	q.stir(w)
}

// directoryAnswer takes an answer to a Store or Fetch.
func (w *world) directoryAnswer(x *node, q question, e mesh.Answered) {
	body := w.open(e.Body)
	switch {
	case body == nil:
	case q.lookup != nil:
		q.lookup.l.Answer(w.time(), q.ref, e.First, body)
		q.lookup.stir(w)
	case q.owner != nil && q.owner.at == x:
		q.owner.pub.Answer(w.time(), q.ref, e.First, body)
		w.stirOwner(q.owner)
	}
}

// lookups starts count of them over d, from random nodes for random owners
// that live.
func (w *world) lookups(count int, d time.Duration) *[]*lookup {
	list := new([]*lookup)
	living := slices.DeleteFunc(slices.Clone(w.owners), func(o *owner) bool { return !o.at.alive })
	for i := range count {
		w.after(d*time.Duration(i)/time.Duration(count), func() {
			o := living[w.rng.IntN(len(living))]
			if from := w.some(); from != o.at && o.at.alive {
				*list = append(*list, w.lookUp(from, o))
			}
		})
	}
	return list
}

func tallyLookups(list []*lookup) *fate {
	f := &fate{}
	for _, q := range list {
		if q.arrived > 0 || q.from.alive && q.owner.at.alive {
			f.add(q.sent, q.arrived, q.hops)
		}
	}
	return f
}

// key returns the place of an owner's record of the present hour.
func (o *owner) key(now time.Time) mesh.ID {
	return identity.RecordKey(o.device.Reach(), o.device.ID(), identity.Hour(now))
}

// first8 is an ID's first bits as a number.
func first8(id *mesh.ID) uint64 { return binary.BigEndian.Uint64(id[:]) }
