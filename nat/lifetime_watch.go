// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"time"
)

const (
	// Two sockets, with different peers, watch for the absolute life: some
	// carriers end mappings 50 to 75 s after they began, in use or not.
	watchers = 2
	watchFor = 170 * time.Second
	// watchDelay is how late the peer answers each probe: only then does it show
	// that the mapping outlived the wait, since the next probe makes a new one.
	watchDelay = 4 * time.Second
	watchLate  = 1500 * time.Millisecond
	// minAge: what ends earlier has another reason.
	minAge = 2 * watchDelay
	// alike is how far two ages of one life may differ: a cycle and a half.
	alike = 6 * time.Second
	// maxDeaths bounds what is kept of a watcher; three are enough to judge.
	maxDeaths = 4
)

// watcher keeps one mapping in use and notes when it ends.
type watcher struct {
	socket int
	point  *point
	seen   netip.AddrPort
	born   time.Time
	age    time.Duration // when last seen alive
	deaths [maxDeaths]death
	n      int

	// Where ports are preserved a new mapping looks like the old one, and a
	// lost packet like its end: each wait is asked for twice there.
	keeps   bool
	waiting int  // answers to come
	heard   bool // one came
}

// death is an end of a mapping. One that moved came back at another port; one
// that didn't may be two lost packets.
type death struct {
	age   time.Duration
	moved bool
}

func (w *watcher) begin(c *Classifier, p *point, i int) {
	c.sockets++
	*w = watcher{socket: c.sockets, point: p, keeps: c.found.ports.rule == Preserved}
	w.ask(c, i, 0)
}

// ask probes once more; without delay it is about the mapping's port.
func (w *watcher) ask(c *Classifier, i int, delay time.Duration) {
	if w.socket == 0 || w.n == maxDeaths {
		w.stop(c)
		return
	}
	q := asked{role: roleWatch, point: w.point, rung: i, Ask: Ask{Socket: w.socket, Delay: delay}}
	w.waiting, w.heard = 1, false
	if delay > 0 {
		q.limit, q.wait = 1, delay+watchLate
		if w.keeps && c.ask(q) {
			w.waiting = 2
		}
	}
	if !c.ask(q) {
		w.stop(c)
	}
}

func (w *watcher) came(c *Classifier, q asked, r Reply) {
	w.waiting--
	switch {
	case !w.seen.IsValid():
		w.seen, w.born = r.Seen, q.sent
	case r.Seen != w.seen:
		w.died(true)
		w.seen, w.born, w.age = r.Seen, q.sent, 0
	case q.Delay > 0:
		w.age = c.now.Sub(w.born)
	case w.keeps:
		w.died(false)
		w.born, w.age = q.sent, 0
	}
	w.heard = true
	w.next(c, q.rung)
}

func (w *watcher) missed(c *Classifier, q asked) {
	if q.Delay == 0 {
		w.stop(c) // the peer has gone
		return
	}
	w.waiting--
	w.next(c, q.rung)
}

// next goes on when all is back.
func (w *watcher) next(c *Classifier, i int) {
	switch {
	case w.waiting > 0:
	case w.heard:
		w.ask(c, i, watchDelay)
	default:
		w.ask(c, i, 0)
	}
}

func (w *watcher) died(moved bool) {
	if w.age >= minAge && w.n < maxDeaths {
		w.deaths[w.n] = death{w.age, moved}
		w.n++
	}
}

func (w *watcher) stop(c *Classifier) {
	if w.socket != 0 {
		c.asks.push(Ask{Kind: AskClose, Socket: w.socket})
		w.socket = 0
	}
}

// watched judges what the watchers saw, ends them when that is enough or the
// time is over, and reports whether an absolute life was found.
func (l *lifetimes) watched(c *Classifier) bool {
	if l.ends.IsZero() {
		return false
	}
	life, found := absoluteLife(l.watch[:])
	if !found && c.now.Before(l.ends) {
		return false
	}
	l.absolute, l.ends = life.Truncate(time.Second), time.Time{}
	c.asks.cancel(func(q *asked) bool { return q.role == roleWatch })
	for i := range l.watch {
		l.watch[i].stop(c)
	}
	return found
}

// absoluteLife looks for ends at the same age: two that different peers saw
// move, or three in all.
func absoluteLife(watch []watcher) (time.Duration, bool) {
	for i := range watch {
		for _, d := range watch[i].deaths[:watch[i].n] {
			all, movedHere, movedThere := 0, false, false
			least := d.age
			for j := range watch {
				for _, e := range watch[j].deaths[:watch[j].n] {
					if e.age-d.age > alike || d.age-e.age > alike {
						continue
					}
					all++
					least = min(least, e.age)
					if e.moved && j == i {
						movedHere = true
					} else if e.moved {
						movedThere = true
					}
				}
			}
			if movedHere && movedThere || all >= deadRungs {
				return least, true
			}
		}
	}
	return 0, false
}
