// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/mesh"
)

// tie is a link between two nodes. a has asked for it.
type tie struct {
	a, b    *node
	carrier *node
	oneWay  time.Duration
	cut     bool
}

func (t *tie) other(x *node) *node {
	if t.a == x {
		return t.b
	}
	return t.a
}

const (
	// failTime is when a punch is given up.
	failTime = 5 * time.Second
	// searchTime is what a punch takes longer, at the most, where one side's
	// mapping has to be found.
	searchTime = 1500 * time.Millisecond
	// carryTime is how long a carrier keeps room for a link that does not come.
	carryTime = 10 * time.Second
)

// agreed punches, or links through the introducer.
func (w *world) agreed(x *node, e mesh.Agreed) {
	o, via := w.index[e.Node], w.index[e.Via]
	if e.Relay {
		// A handshake through the carrier: a round trip and a half.
		w.after(3*(oneWay(&x.site, &via.site)+oneWay(&via.site, &o.site)), func() { w.link(x, o, via, via) })
		return
	}
	w.punch(x, o, via)
}

// punch makes a direct link, or fails at both ends. A punch takes half a round
// trip to one, a handshake with proofs a round trip and a half.
func (w *world) punch(x, o, via *node) {
	if !w.odds.punch(&x.site, &o.site) {
		w.after(failTime, func() {
			for _, s := range [2][2]*node{{x, o}, {o, x}} {
				if s[0].alive {
					s[0].failed++
					s[0].m.Failed(w.time(), s[1].id)
					w.drain(s[0])
				}
			}
		})
		return
	}
	d := 5 * oneWay(&x.site, &o.site)
	if x.kind >= hard || o.kind >= hard {
		d += time.Duration(w.rng.Int64N(int64(searchTime)))
	}
	w.after(d, func() { w.link(x, o, via, nil) })
}

// link makes a link now, unless there is as good a one.
func (w *world) link(x, o, via, through *node) {
	if !x.alive || !o.alive {
		return
	}
	old := x.tieTo(o)
	if old != nil && (old.carrier == nil || through != nil) {
		return
	}
	t := &tie{a: x, b: o, carrier: through}
	if through == nil {
		t.oneWay = oneWay(&x.site, &o.site)
	} else {
		if !through.alive || !direct(through, x) || !direct(through, o) {
			return
		}
		t.oneWay = oneWay(&x.site, &through.site) + oneWay(&through.site, &o.site)
		through.carrying = append(through.carrying, t)
	}
	if old != nil {
		w.untie(old)
	}
	w.mark(0xf2, uint64(x.i), uint64(o.i))
	x.ties, o.ties = append(x.ties, t), append(o.ties, t)
	for _, s := range [2][2]*node{{x, o}, {o, x}} {
		me, other := s[0], s[1]
		l := mesh.Link{Card: other.card, Addr: other.addr, RTT: 2 * t.oneWay, Ours: me == x}
		if via != nil {
			l.Via = via.id
		}
		if through != nil {
			l.Relayed, l.Carrier, l.Addr = true, through.id, netip.AddrPort{}
		}
		me.made++
		me.newTies = true
		w.retell(me)
		if !me.alive || t.cut { // the first end had no use for it
			continue
		}
		me.m.LinkUp(w.time(), l)
		w.drain(me)
		if me.usable == 0 && len(me.ties) >= 4 {
			me.usable = w.now
		}
	}
}

// direct reports whether two nodes have a direct link.
func direct(a, b *node) bool {
	t := a.tieTo(b)
	return t != nil && t.carrier == nil
}

// untie takes a link out of the books of its ends and its carrier.
func (w *world) untie(t *tie) {
	t.cut = true
	for _, x := range [2]*node{t.a, t.b} {
		x.ties = without(x.ties, t)
		x.newTies = true
		w.retell(x)
	}
	if c := t.carrier; c != nil {
		c.carrying = without(c.carrying, t)
		if c.alive {
			c.m.CarryDown(w.time(), t.a.id, t.b.id)
			w.drain(c)
		}
	}
}

func without(list []*tie, t *tie) []*tie {
	if i := slices.Index(list, t); i >= 0 {
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
	}
	return list
}

// cut ends a link. who closed it knows at once, the other end when the word
// has come; without one both find out after a while, and what is sent until
// then is lost.
func (w *world) cut(t *tie, after time.Duration, who *node) {
	if t.cut {
		return
	}
	if who == nil {
		w.after(after, func() { w.ended(t) })
		return
	}
	w.mark(0xf3, uint64(t.a.i), uint64(t.b.i))
	w.untie(t)
	w.lost(who, t.other(who))
	w.after(t.oneWay, func() { w.lost(t.other(who), who) })
	w.drop(t)
}

// ended tells both ends of a link that it is gone.
func (w *world) ended(t *tie) {
	if t.cut {
		return
	}
	w.mark(0xf3, uint64(t.a.i), uint64(t.b.i))
	w.untie(t)
	w.lost(t.a, t.b)
	w.lost(t.b, t.a)
	w.drop(t)
}

// lost tells x that its link to o is gone, unless there is another by now.
func (w *world) lost(x, o *node) {
	if !x.alive || x.tieTo(o) != nil {
		return
	}
	x.m.LinkDown(w.time(), o.id)
	w.drain(x)
	switch {
	case len(x.ties) == 0:
		w.enter(x)
	case len(x.ties) < fewLinks:
		w.linger(x, fewFirst)
	}
}

// drop ends the links that one end of t carried for the other.
func (w *world) drop(t *tie) {
	if t.carrier != nil {
		return
	}
	for _, s := range [2][2]*node{{t.a, t.b}, {t.b, t.a}} {
		for _, c := range slices.Clone(s[0].carrying) {
			if c.a == s[1] || c.b == s[1] {
				w.ended(c)
			}
		}
	}
}

// carry gives up a carried link that did not come about. A pair may part and be
// promised a link once more within carryTime; then the last promise counts.
func (w *world) carry(x *node, e mesh.Carry) {
	if e.B.Less(e.A) {
		e.A, e.B = e.B, e.A
	}
	if x.promised == nil {
		x.promised = make(map[mesh.Carry]time.Duration)
	}
	at := w.now
	x.promised[e] = at
	a, b := w.index[e.A], w.index[e.B]
	w.after(carryTime, func() {
		if !x.alive || x.promised[e] != at {
			return
		}
		delete(x.promised, e)
		if !slices.ContainsFunc(x.carrying, func(t *tie) bool { return t.a == a && t.b == b || t.a == b && t.b == a }) {
			x.m.CarryDown(w.time(), e.A, e.B)
			w.drain(x)
		}
	})
}
