// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

const (
	// maxProbes bounds what one round may cost the peers and the router.
	maxProbes = 60
	// maxOpen bounds the questions open at a time: a round's, two ladders of
	// lifetimes, and the watch on the absolute one.
	maxOpen = maxProbes + 2*maxRungs + 2*watchers
	// maxAsks bounds what waits for the driver: every open question once, and
	// every socket to be closed.
	maxAsks = maxOpen + maxTrials + 2*maxRungs + watchers

	// A lost probe is asked again after twice its round trip, or this first.
	askFirst = 400 * time.Millisecond
	askLeast = 250 * time.Millisecond
	askMost  = 800 * time.Millisecond
	askTries = 3
)

// role says what a question is for.
type role uint8

const (
	roleMain      role = iota // our own socket, to a peer's first port
	roleSecond                // our own socket, to its second port
	roleFirst                 // a fresh socket, which will serve for the filter
	roleTrial                 // a fresh socket, for the choice of ports
	roleExtra                 // one of those to another peer, for one more mapping
	rolePort                  // filter: the peer's second port writes
	rolePeer                  // filter: another peer writes
	roleBound                 // a socket bound to a port in the learned block
	roleHairpin               // to our own outside address
	roleUnreplied             // lifetimes, see there
	roleReplied
	roleDelayed
	roleWatch
)

// lives reports whether the role belongs to the search for lifetimes.
func (r role) lives() bool { return r >= roleUnreplied }

// asked is an open question.
type asked struct {
	Ask
	role  role
	point *point
	trial *trial // of those that have one
	rung  int    // of lifetimes
	tries int
	limit int
	sent  time.Time // last
	due   time.Time
	wait  time.Duration
}

// asks is the table of open questions and the queue towards the driver.
type asks struct {
	open []asked
	out  []Ask
	head int
	last uint32
}

func (a *asks) pop() (Ask, bool) {
	if a.head == len(a.out) {
		a.out, a.head = a.out[:0], 0
		return Ask{}, false
	}
	a.head++
	return a.out[a.head-1], true
}

// push queues for the driver. One that never drains loses what is new.
func (a *asks) push(q Ask) {
	if a.head > 0 && len(a.out) == cap(a.out) {
		a.out = append(a.out[:0], a.out[a.head:]...)
		a.head = 0
	}
	if len(a.out)-a.head < maxAsks {
		a.out = append(a.out, q)
	}
}

func (a *asks) find(id uint32) int {
	for i := range a.open {
		if a.open[i].ID == id {
			return i
		}
	}
	return -1
}

func (a *asks) remove(i int) {
	last := len(a.open) - 1
	copy(a.open[i:], a.open[i+1:])
	a.open[last] = asked{}
	a.open = a.open[:last]
}

// cancel removes the questions that drop says.
func (a *asks) cancel(drop func(*asked) bool) {
	for i := len(a.open) - 1; i >= 0; i-- {
		if drop(&a.open[i]) {
			a.remove(i)
		}
	}
}

func (a *asks) forget(p *point) { a.cancel(func(q *asked) bool { return q.point == p }) }

func (a *asks) clear() { clear(a.open); a.open = a.open[:0] }

// any reports whether a question of these roles is open.
func (a *asks) any(roles ...role) bool {
	for i := range a.open {
		for _, r := range roles {
			if a.open[i].role == r {
				return true
			}
		}
	}
	return false
}

func (a *asks) deadline() time.Time {
	var at time.Time
	for i := range a.open {
		at = sooner(at, a.open[i].due)
	}
	return at
}

// rto is how long to wait for an answer that makes hops one-way trips.
func (p *point) rto() time.Duration {
	if p.rtt == 0 {
		return askFirst
	}
	return min(max(2*p.rtt+100*time.Millisecond, askLeast), askMost)
}

// ask opens a question, if the budgets allow it.
func (c *Classifier) ask(q asked) bool {
	if len(c.asks.open) >= maxOpen || !q.role.lives() && c.round.probes >= maxProbes {
		return false
	}
	c.asks.last++
	q.ID = c.asks.last
	if q.point != nil && q.Kind == AskProbe {
		q.Peer = q.point.Peer
		if !q.To.IsValid() {
			q.To = q.point.Addr
		}
		if q.wait == 0 {
			q.wait = q.point.rto()
		}
	}
	if q.limit == 0 {
		q.limit = askTries
	}
	c.send(&q)
	c.asks.open = append(c.asks.open, q)
	return true
}

func (c *Classifier) send(q *asked) {
	q.tries++
	q.sent = c.now
	q.due = c.now.Add(q.wait)
	if !q.role.lives() {
		c.round.probes++
	}
	c.asks.push(q.Ask)
}

// overdue asks again what was not answered in time, or gives it up.
func (c *Classifier) overdue() {
	for i := 0; i < len(c.asks.open); {
		q := &c.asks.open[i]
		switch {
		case c.now.Before(q.due):
			i++
		case q.tries < q.limit && (q.role.lives() || c.round.probes < maxProbes):
			c.send(q)
			if q.trial != nil {
				q.trial.retried = true
			}
			i++
		default:
			gone := *q
			c.asks.remove(i)
			c.over(gone)
			i = 0 // over may have asked or cancelled others
		}
	}
}

// over takes notice that nothing came.
func (c *Classifier) over(q asked) {
	switch q.role {
	case roleMain:
		q.point.silent = true
	case roleFirst, roleTrial, roleBound:
		q.trial.over = true
		if q.role == roleFirst && q.point.takes == Unknown {
			q.point.takes = No
		}
	case rolePort:
		q.trial.fromPort = missed
	case rolePeer:
		q.trial.fromPeer = missed
	case roleHairpin:
		c.round.hairpin.over = !c.asks.any(roleHairpin)
	default:
		if q.role.lives() {
			c.life.missed(c, q)
		}
	}
}

// failed takes notice that a question could not be asked.
func (c *Classifier) failed(id uint32) {
	i := c.asks.find(id)
	if i < 0 {
		return
	}
	q := c.asks.open[i]
	c.asks.remove(i)
	switch {
	case q.trial != nil:
		q.trial.over = true
	case q.role == roleHairpin:
		c.round.hairpin.failed = true
	case q.role.lives():
		c.life.failed(c, q)
	}
}

// answered takes an answer to an open question.
func (c *Classifier) answered(r Reply) {
	i := c.asks.find(r.ID)
	if i < 0 {
		return
	}
	q := c.asks.open[i]
	// RFC 8445 §7.2.5.2.1: an answer from elsewhere answers something else.
	// Filter tests want just that.
	direct := r.From == q.To
	if q.trial != nil && q.trial.own && c.expected(q.role, r) {
		return
	}
	switch q.role {
	case rolePort:
		if direct || r.From.Addr() != q.To.Addr() {
			return
		}
		q.trial.fromPort = came
		c.asks.remove(i)
		c.asks.cancel(func(o *asked) bool { return o.role == rolePort && o.trial.six == q.trial.six })
		return
	case rolePeer:
		if r.From.Addr() == q.To.Addr() {
			return
		}
		q.trial.fromPeer = came
		c.asks.remove(i)
		c.asks.cancel(func(o *asked) bool {
			return (o.role == rolePort || o.role == rolePeer) && o.trial.six == q.trial.six
		})
		return
	case roleHairpin:
		c.round.hairpin.came = true
		c.asks.cancel(func(o *asked) bool { return o.role == roleHairpin })
		return
	}
	if !direct || !probeable(r.Seen) {
		return
	}
	if q.Delay == 0 && q.tries == 1 {
		q.point.rtt = c.now.Sub(q.sent)
	}
	c.asks.remove(i)
	switch q.role {
	case roleMain:
		c.able(q.point, r.Able)
		c.sighted(q.point, &q.point.main, r.Seen, r.Port)
	case roleSecond:
		c.sighted(q.point, &q.point.second, r.Seen, r.Port)
	case roleFirst, roleTrial, roleBound, roleExtra:
		c.able(q.point, r.Able)
		c.tried(q, r)
	default:
		c.life.came(c, q, r)
	}
}

// expected reports whether what came to the node's own socket says nothing of
// the filter, since that socket wrote there before.
func (c *Classifier) expected(why role, r Reply) bool {
	for _, p := range c.points {
		if p.Addr.Addr() == r.From.Addr() && (why == rolePeer || p.Addr == r.From || p.Second == r.From.Port()) {
			return true
		}
	}
	return why == rolePeer && r.Known
}

// able notes what a peer says it can do.
func (c *Classifier) able(p *point, a Abilities) {
	p.able = a
	if p.Second != 0 || a.Second == 0 {
		return
	}
	p.Second = a.Second
	c.askSecond(p)
}
