// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

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
	for _, id := range [...]*ID{&from.id, &r.c.id} { // whatever the set says
		m.seen.merge([]uint16{fingerprint(&trace, id)})
	}
	if t == nil {
		t = r.keep(now, trace, &m)
		r.setTimer(t.end, t, timeEnd, 0)
	}
	i := t.newLeg(leg{nth: m.copy, hops: m.hops, cur: -1, came: m.seen.n, seen: m.seen, back: uint8(t.addBack(from, true))})
	l := &t.legs[i]
	if t.route != 0 { // those who have other copies are not to ask again
		for k := range t.tries {
			l.seen.merge([]uint16{fingerprint(&trace, &t.tries[k].to.id)})
		}
	}
	t.lastLeg = now
	did := stepEnds
	if !here {
		did = r.step(now, t, i)
	}
	if did == noStep && (h.exact() || t.route != 0) {
		r.sendBack(now, t, i)
		return nil
	}
	r.ack(from, &trace)
	if did != stepGave {
		r.deliver(now, t, i)
	}
	return nil
}

// keep remembers a message. Its tail lies where the message that will be sent
// on has it, one visited node longer, so that a hop copies and allocates once.
func (r *router) keep(now time.Duration, trace Trace, m *routeMsg) *trail {
	frame := make([]byte, routeSize(&m.seen, m.tail)+2)
	tail := frame[len(frame)-len(m.tail):]
	copy(tail, m.tail)
	t := r.newTrail(now, trace, tail)
	t.frame = frame
	return t
}

// takesAnother reports whether one more copy of a message is welcome.
func (t *trail) takesAnother(now time.Duration) bool {
	if t.own || t.head.exact() && (t.proved || t.route != 0) {
		return false
	}
	for i := range t.legs {
		if t.legs[i].stuck {
			return true
		}
	}
	if !t.head.exact() { // it ends at another node
		return len(t.legs) < maxLegsNearest
	}
	return len(t.legs) < maxLegs && now-t.lastLeg >= anotherAfter
}

// newLeg takes the place of a leg that was stuck, or a new one.
func (t *trail) newLeg(l leg) int {
	for i := range t.legs {
		if t.legs[i].stuck {
			t.legs[i] = l
			return i
		}
	}
	t.legs = append(t.legs, l)
	return len(t.legs) - 1
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

// sendBack tells who brought a leg that there is no way from here. Where
// nothing broke, that means that the target isn't there.
func (r *router) sendBack(now time.Duration, t *trail, leg int) {
	r.routing.Stuck++
	l := &t.legs[leg]
	l.stuck = true
	why := refuseStuck
	if r.absent(now, t, l) && !l.seen.full() && l.hops < maxHops && len(t.tries) < hopTries {
		if why = refuseAlone; l.alone > 0 {
			why = refuseAbsent
		}
	}
	hints := l.seen.f[l.came:l.seen.n]
	b := t.bringer(leg)
	r.refuse(b.n, &t.trace, why, hints[max(0, len(hints)-maxHints):])
	b.taken = false
	for i := range t.legs {
		if o := &t.legs[i]; !o.stuck && o.back == l.back {
			b.taken = true // another copy
		}
	}
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
	late := a.state == givenSilent
	from.score.acked(now - a.sent)
	r.settle(a, givenTaken)
	if t.own {
		return nil
	}
	r.routing.Forwarded++
	if late { // it has it after all
		r.passed(t, int(a.leg), from)
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
	switch why {
	case refuseSeen:
	case refuseAlone:
		l.alone++
	case refuseAbsent:
		l.alone = quorum
	case refuseBusy:
		l.detours++
	default:
		l.returned++
	}
	if l.alone >= quorum && l.detours == 0 && l.returned == 0 { // no way around: there is nobody
		l.cur = -1
		r.lost(now, t, int(t.tries[i].leg))
		return nil
	}
	l.seen.merge(hints.list())
	r.failed(now, t, int(t.tries[i].leg))
	return nil
}
