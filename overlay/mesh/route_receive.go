// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"time"
)

func (r *router) receiveRoute(now time.Duration, from *neighbour, b []byte) error {
	m, err := readRoute(b)
	if err != nil {
		return err
	}
	trace := traceOf(m.tail)
	t := r.trails[trace]
	if t != nil && !t.takesAnother(now) {
		r.again(t, from)
		return nil
	}
	var h head
	h.set(m.tail)
	here := h.exact() && h.key == r.c.id
	if !r.admitted(now, from) || t == nil && r.full(&m) || r.c.self.Leaf && !here {
		r.routing.Busy++
		r.refuse(from, &trace, refuseBusy, nil)
		return nil
	}
	if t == nil {
		t = r.newTrail(now, trace, bytes.Clone(m.tail))
		r.setTimer(t.end, t, timeEnd, 0)
	}
	l := leg{nth: m.copy, hops: m.hops, cur: -1, seen: m.seen, back: uint8(t.addBack(from, true))}
	for _, id := range [...]*ID{&from.id, &r.c.id} { // whatever the set says
		l.seen.merge([]uint16{fingerprint(&trace, id)})
	}
	l.came = l.seen.n
	t.legs, t.lastLeg = append(t.legs, l), now
	if i := len(t.legs) - 1; !here && !r.step(now, t, i) && h.exact() {
		r.sendBack(t, i)
		return nil
	}
	r.ack(from, &trace)
	if here || t.legs[len(t.legs)-1].cur < 0 {
		r.deliver(now, t, len(t.legs)-1)
	}
	return nil
}

// takesAnother reports whether one more copy of a message is welcome.
func (t *trail) takesAnother(now time.Duration) bool {
	if t.own || t.proved || t.route != 0 || len(t.legs) == maxLegs {
		return false
	}
	return t.legs[len(t.legs)-1].stuck || now-t.lastLeg >= anotherAfter
}

// full reports whether there is no room for another message.
func (r *router) full(m *routeMsg) bool {
	limit := maxHeld
	if m.copy >= firstCopies {
		limit /= 2
	}
	return len(r.trails) >= maxTrails || r.held+len(m.tail) > limit
}

// again answers a copy of a message that came by before.
func (r *router) again(t *trail, from *neighbour) {
	if t.head.exact() && !t.own && (t.route != 0 || t.proved) { // it has arrived, so this copy has
		r.ack(from, &t.trace)
		if b := t.addBack(from, true); b < maxBacks && t.proved {
			r.tell(t, &t.backs[b])
		}
		return
	}
	if !t.own {
		t.addBack(from, false)
	}
	r.routing.Seen++
	r.refuse(from, &t.trace, refuseSeen, nil)
}

func (r *router) ack(to *neighbour, trace *Trace) {
	r.c.out.push(to.id, appendAck(make([]byte, 0, 1+traceLen), trace))
}

func (r *router) refuse(to *neighbour, trace *Trace, why reason, hints []uint16) {
	b := make([]byte, 0, 1+traceLen+2+2*len(hints))
	r.c.out.push(to.id, appendRefuse(b, trace, why, hints))
}

// sendBack tells who brought a leg that there is no way from here.
func (r *router) sendBack(t *trail, leg int) {
	r.routing.Stuck++
	l := &t.legs[leg]
	l.stuck = true
	hints := l.seen.f[l.came:l.seen.n]
	r.refuse(t.bringer(leg).n, &t.trace, refuseStuck, hints[max(0, len(hints)-maxHints):])
}

func (r *router) receiveAck(now time.Duration, from *neighbour, b []byte) error {
	trace, err := readAck(b)
	if err != nil {
		return err
	}
	t := r.trails[trace]
	i := -1
	if t != nil {
		i = t.tryOf(&from.id)
	}
	if i < 0 || t.tries[i].state == givenTaken || t.tries[i].state == givenRefused {
		r.routing.Stray++
		return nil
	}
	a := &t.tries[i]
	from.score.acked(now - a.sent)
	r.settle(a, givenTaken)
	if t.own {
		return nil
	}
	r.routing.Forwarded++
	if t.head.kind == Ring {
		r.c.events.push(Passed{From: t.bringer(int(a.leg)).n.id, To: from.id, Trace: trace})
	}
	return nil
}

func (r *router) receiveRefuse(now time.Duration, from *neighbour, b []byte) error {
	trace, why, hints, err := readRefuse(b)
	if err != nil {
		return err
	}
	t := r.trails[trace]
	i := -1
	if t != nil {
		i = t.tryOf(&from.id)
	}
	if i < 0 || t.tries[i].state == givenRefused || t.tries[i].proved {
		r.routing.Stray++
		return nil
	}
	r.settle(&t.tries[i], givenRefused)
	l := &t.legs[t.tries[i].leg]
	if int(l.cur) != i {
		return nil
	}
	if why != refuseSeen {
		l.detours++
	}
	l.seen.merge(hints.list())
	r.failed(now, t, int(t.tries[i].leg))
	return nil
}
