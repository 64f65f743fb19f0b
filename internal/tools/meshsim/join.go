// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"math"
	"time"
)

// joinStats counts what joining cost.
type joinStats struct {
	dials, refused int
}

const (
	// firstGap lies between the first joins; from firstNodes on a growing
	// network doubles every doubling.
	firstGap   = 2 * time.Second
	firstNodes = 16
	doubling   = 45 * time.Second
	// dialWidth is how many of the peers it knows a node dials at a time, and
	// dialTime how long it waits for one that does not answer.
	dialWidth = 3
	dialTime  = 2 * time.Second
	// Who has fewer than fewLinks goes on with what it knows after fewFirst, then
	// twice as long, up to fewMost, as Node.Join does: two who found each other may
	// be an island.
	fewLinks = 4
	fewFirst = 8 * time.Second
	fewMost  = time.Minute
)

// grow lets a network come into being: each node joins by one that is there,
// ever more of them as it grows.
func (w *world) grow() {
	gap := time.Duration(0)
	at := time.Duration(0)
	for i := range w.n {
		if i > 0 {
			if gap = firstGap; i > firstNodes {
				gap = time.Duration(float64(doubling) / math.Ln2 / float64(i))
			}
		}
		at += gap
		first := i == 0
		w.after(at, func() {
			s := newSite(w.rng, w.mix, w.n)
			if first && s.kind >= hard { // two hard ones can't begin a network
				s.kind = easy
			}
			w.enter(w.arrival(s))
		})
	}
	w.run(at + time.Second)
}

// arrival adds a node and, where sessions end, plans its end.
func (w *world) arrival(s site) *node {
	x := w.newNode(s, w.rng.Uint64())
	w.mortal(x)
	return x
}

// mortal plans a node's end, and that it comes back as another.
func (w *world) mortal(x *node) {
	if w.churn == 0 {
		return
	}
	life := time.Duration(w.rng.ExpFloat64() * float64(w.churn) / math.Ln2)
	w.after(life, func() {
		if x.alive && w.churn > 0 {
			w.kill(x)
			w.enter(w.arrival(newSite(w.rng, w.mix, w.n)))
		}
	})
}

// enter dials peers until the first link stands: remembered ones first, then
// whoever a ticket names.
func (w *world) enter(x *node) {
	if !x.alive || len(x.ties) > 0 || x.calling > 0 || len(w.alive) < 2 {
		return
	}
	for range dialWidth {
		w.dial(x)
	}
	w.linger(x, fewFirst)
}

// linger dials one peer more every now and then, while there are few links.
func (w *world) linger(x *node, wait time.Duration) {
	if x.waiting {
		return
	}
	x.waiting = true
	w.after(wait, func() {
		x.waiting = false
		if !x.alive || len(x.ties) >= fewLinks || len(w.alive) <= fewLinks {
			return
		}
		if len(x.ties) > 0 { // without any it is dialling
			w.dial(x)
		}
		w.linger(x, min(2*wait, fewMost))
	})
}

func (w *world) dial(x *node) {
	o := w.contact(x)
	if o == nil {
		return
	}
	x.calling++
	w.join.dials++
	w.mark(0xf4, uint64(x.i), uint64(o.i))
	done := func() {
		x.calling--
		w.enter(x)
	}
	if !o.alive || !w.odds.punch(&x.site, &o.site) {
		w.join.refused++
		w.after(dialTime, done)
		return
	}
	d := 5 * oneWay(&x.site, &o.site)
	w.after(d, func() {
		w.link(x, o, nil, nil)
		done()
	})
}

// contact takes a remembered peer, or any node that is there and has joined.
func (w *world) contact(x *node) *node {
	if n := len(x.known); n > 0 {
		i := w.rng.IntN(n)
		o := x.known[i]
		x.known[i] = x.known[n-1]
		x.known = x.known[:n-1]
		return o
	}
	for range 50 {
		o := w.alive[w.rng.IntN(len(w.alive))]
		if o != x && o.evil == nil && (len(o.ties) > 0 || o.i == 0) {
			return o
		}
	}
	return nil
}
