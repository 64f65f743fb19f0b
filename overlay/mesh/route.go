// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

const (
	// firstCopies set out at first: at 10⁴ nodes three find their target in
	// the 99.95 % that matter after half of all nodes died.
	firstCopies = 3
	// moreCopies have set out when nothing came back for moreAfter, longer
	// than most round trips of a route.
	moreCopies = 8
	moreAfter  = 400 * time.Millisecond
	// maxCopies have after lastAfter: longer than nearly all. They are for
	// networks full of black holes; of a node that isn't there the first
	// copies say so.
	maxCopies = 16
	lastAfter = 1200 * time.Millisecond
	// takenAfter is how long who takes delivery of a message without a lock
	// may think about a reply before the router says that it arrived.
	takenAfter = 100 * time.Millisecond
)

// router carries messages from hop to hop: as origin, on the way, as target.
// Times in it count from the machine's birth.
type router struct {
	c        *core
	trails   map[Trace]*trail
	routes   map[Route]*trail // those delivered here
	free     []*trail
	timers   timers
	standard standard
	prefixes prefixes
	late     lateness
	detours  tokens // for others' messages
	held     int    // bytes of tails
	own      int    // trails of our own

	lastRoute   Route
	lastRequest uint32
	routing     Routing
}

func (r *router) init(c *core) { r.c = c }

// Routing counts what a node's router did.
type Routing struct {
	Sent        uint64 // own messages
	Forwarded   uint64 // copies of others given to a neighbour that took them
	Delivered   uint64 // messages that ended here
	Answered    uint64 // replies to own messages
	Undelivered uint64 // own messages without a reply
	Replies     uint64 // others' replies passed on

	Detours   uint64 // neighbours that didn't acknowledge in time
	Dropped   uint64 // copies of others not given to another one for that: too many detours at a time
	Seen      uint64 // copies refused because another had come by
	Stuck     uint64 // copies sent back, nobody left to give them to
	Busy      uint64 // refused for a limit, or asleep
	Stray     uint64 // replies, ACKs to nothing known: late or forged
	False     uint64 // replies without the secret
	Excess    uint64 // replies above a limit, or twice
	NoWayBack uint64 // replies whose way broke
}

// send routes a message of our own.
func (r *router) send(at time.Time, q Request) uint32 {
	now := r.c.since(at)
	r.lastRequest++
	request := r.lastRequest
	r.routing.Sent++
	if len(q.Body) > MaxBody || r.own == maxOwn {
		r.undelivered(request)
		return request
	}
	h := head{kind: q.Kind, key: q.To, lock: q.Lock}
	for i := range h.salt {
		h.salt[i] = byte(r.c.rng.Uint32())
	}
	if q.Exact {
		h.flags |= flagExact
	}
	tail := append(h.append(make([]byte, 0, headLen+len(q.Body))), q.Body...)
	t := r.newTrail(now, traceOf(tail), tail)
	t.own, t.request = true, request
	r.own++
	if q.Wait > 0 {
		t.end = now + min(q.Wait, maxLife)
	}
	r.setTimer(min(t.end, now+life), t, timeEnd, 0)
	if q.Exact && q.To == r.c.id {
		r.deliver(now, t, -1)
		return request
	}
	if q.Next && q.Exact {
		t.next, t.copies = true, 1
		r.start(now, t, 1)
		r.checkLost(now, t)
		return request
	}
	copies := firstCopies
	switch {
	case r.c.massFailure(at):
		copies = moreCopies
	case q.Copies > 0:
		copies = min(q.Copies, maxCopies)
	case q.Exact && r.c.table.find(q.To) != nil:
		copies, t.direct = 1, true
	}
	t.copies = uint8(copies)
	slack := r.slack(now)
	r.setTimer(now+moreAfter+2*slack, t, timeMore, moreCopies)
	r.setTimer(now+lastAfter+6*slack, t, timeMore, maxCopies)
	r.start(now, t, copies)
	r.checkLost(now, t)
	return request
}

// more sends more copies, up to n, when none has arrived. Those to the nearest
// nodes have a target each, and each that has not arrived is replaced.
func (r *router) more(now time.Duration, t *trail, n int) {
	switch {
	case t.head.exact() && (t.proved || t.route != 0):
	case t.head.exact() || !t.proved && t.route == 0:
		r.start(now, t, n)
	default:
		missing := int(t.copies) - btoi(t.route != 0)
		for i := range t.tries {
			missing -= btoi(t.tries[i].proved)
		}
		r.start(now, t, min(len(t.legs)+max(0, missing), maxCopies))
	}
}

// start sends an own message until n copies of it have set out, as far as
// there are neighbours that have none yet.
func (r *router) start(now time.Duration, t *trail, n int) {
	for len(t.legs) < n {
		l := leg{nth: uint8(len(t.legs)), cur: -1}
		l.seen.add(fingerprint(&t.trace, &r.c.id))
		l.came = l.seen.n
		t.legs = append(t.legs, l)
		switch r.step(now, t, len(t.legs)-1) {
		case noStep:
			t.legs = t.legs[:len(t.legs)-1]
			return
		case stepEnds:
			r.deliver(now, t, -1)
		}
	}
}

// checkLost sends more copies of an own message when all were refused, and
// ends it when there is nobody left to ask.
func (r *router) checkLost(now time.Duration, t *trail) {
	if t.proved || t.route != 0 || t.open() {
		return
	}
	if !t.next {
		r.start(now, t, moreCopies)
	}
	if t.open() {
		return
	}
	for i := range t.tries {
		if t.tries[i].state != givenRefused {
			return // it may still arrive
		}
	}
	r.finish(t)
}

// open reports whether somebody has or will get a copy.
func (t *trail) open() bool {
	for i := range t.legs {
		if t.legs[i].cur >= 0 {
			return true
		}
	}
	return false
}

func (r *router) finish(t *trail) {
	r.judge(t)
	if t.own && !t.answered {
		r.undelivered(t.request)
	}
	r.drop(t)
}

func (r *router) undelivered(request uint32) {
	r.routing.Undelivered++
	r.c.events.push(Undelivered{request})
}

// deliver ends a leg's way here, or with leg −1 that of a message of our own.
func (r *router) deliver(now time.Duration, t *trail, leg int) {
	r.routing.Delivered++
	r.lastRoute++
	t.route = r.lastRoute
	if r.routes == nil {
		r.routes = make(map[Route]*trail)
	}
	r.routes[t.route] = t
	e := Delivered{Route: t.route, To: t.head.key, Kind: t.head.kind, Body: t.tail[headLen:], From: r.c.id, Trace: t.trace}
	if !t.own {
		t.ended = t.legs[leg].back
		e.Hops, e.From = int(t.legs[leg].hops), t.bringer(leg).n.id
	}
	if t.head.kind == Find {
		r.respond(now, t, r.found(&t.head.key))
		return
	}
	r.c.events.push(e)
	if !t.own && !t.head.locked() {
		r.setTimer(now+takenAfter, t, timeTook, 0)
	}
}

// receive takes a message of type 0x10–0x1f.
func (r *router) receive(at time.Time, from *neighbour, b []byte) error {
	now, err := r.c.since(at), error(nil)
	switch b[0] {
	case typeRoute:
		err = r.receiveRoute(now, from, b)
	case typeAck:
		err = r.receiveAck(now, from, b)
	case typeRefuse:
		err = r.receiveRefuse(now, from, b)
	case typeReturn:
		err = r.receiveReply(now, from, b)
	}
	if err != nil {
		return &FormatError{Type: b[0], Err: err}
	}
	return nil
}

// failed gives a leg's message to the next best neighbour, or ends the leg.
func (r *router) failed(now time.Duration, t *trail, i int) {
	t.legs[i].cur = -1
	if t.proved && t.head.exact() { // it arrived after all
		return
	}
	did := r.step(now, t, i)
	switch {
	case did == stepEnds:
		r.deliver(now, t, i)
	case did == noStep || t.direct:
		r.lost(now, t, i)
	}
}

// lost ends a leg that has nowhere to go.
func (r *router) lost(now time.Duration, t *trail, i int) {
	switch {
	case t.own:
		if t.direct { // the one copy that was to be enough
			t.direct = false
			r.start(now, t, firstCopies)
		}
		r.checkLost(now, t)
	case t.head.exact() || t.route != 0:
		r.sendBack(now, t, i)
	default:
		r.deliver(now, t, i)
	}
}

// linkDown is told after n left the table.
func (r *router) linkDown(at time.Time, n *neighbour) {
	now := r.c.since(at)
	var hit []timer
	for _, x := range r.timers {
		if x.what == timeAck && x.live() && x.t.tries[x.try].to == n {
			hit = append(hit, x)
		}
	}
	for _, x := range hit {
		if x.live() {
			r.silent(now, x.t, int(x.try))
		}
	}
}

// silent ends the wait for an ACK that didn't come.
func (r *router) silent(now time.Duration, t *trail, i int) {
	r.routing.Detours++
	a := &t.tries[i]
	r.settle(a, givenSilent)
	a.to.score.silent(now)
	if l := &t.legs[a.leg]; int(l.cur) == i {
		l.detours++
		if !t.own && !r.detours.take(now, detourRate()) {
			r.routing.Dropped++
			l.cur = -1 // who was silent may have it all the same
			return
		}
		r.failed(now, t, int(a.leg))
	}
}

func (r *router) advance(at time.Time) {
	now := r.c.since(at)
	for {
		x, ok := r.next()
		if !ok || x.at > now {
			return
		}
		r.timers.pop()
		t := x.t
		if by := now - x.at; r.late.note(now, by) && x.what != timeEnd && !x.again {
			// What should have come in time may lie in a queue before us.
			x.at, x.again = now+min(by, maxLate), true
			r.timers.push(x)
			continue
		}
		switch x.what {
		case timeAck:
			r.silent(now, t, int(x.try))
		case timeMore:
			r.more(now, t, int(x.try))
		case timeTook:
			r.tell(t, &t.backs[t.ended])
		case timeEnd:
			r.judge(t)
			if now < t.end {
				r.setTimer(t.end, t, timeEnd, 0)
			} else {
				r.finish(t)
			}
		}
	}
}

func (r *router) deadline() time.Time {
	if x, ok := r.next(); ok {
		return r.c.epoch.Add(x.at)
	}
	return time.Time{}
}
