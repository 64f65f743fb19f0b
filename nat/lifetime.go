// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"slices"
	"time"
)

// The lives of mappings are found by peers that answer late: one socket for
// each delay of a ladder. What comes back was waited for by a living mapping;
// three rungs in a row without an answer, from different peers, are beyond its
// end. All wait at the same time, so a life is known soon after twice its
// length, where a search by halves would take several times it.
const (
	maxRungs = 20
	// deadRungs in a row are no accident of lost packets or of one peer.
	deadRungs = 3
	// lateBy is how long an answer may be under way.
	lateBy = 2 * time.Second
	// earlyBy is how much less than asked for a peer may have waited.
	earlyBy = 100 * time.Millisecond
	// launchEvery spreads the probes of both ladders over two seconds.
	launchEvery = 50 * time.Millisecond
)

// rungs are delays in seconds, each just below a usual setting or a fifth to a
// quarter above the one before.
var rungs = [maxRungs]uint16{5, 8, 10, 14, 19, 24, 29, 36, 45, 58, 72, 90, 118, 145, 175, 220, 290, 360, 460, 590}

// rungState is how a rung stands.
type rungState uint8

const (
	rungUnasked rungState = iota
	rungWaiting
	rungAlive // an answer came in time
	rungDead
	rungVoid // it says nothing
)

// rung is one delay of a ladder.
type rung struct {
	state  rungState
	socket int
}

// ladder searches for one life.
type ladder struct {
	rungs [maxRungs]rung
	life  time.Duration
	done  bool
}

// read draws the conclusion from a ladder: the highest rung below three dead
// ones. known is false while it is waited for.
func (l *ladder) read() (life time.Duration, known bool) {
	gone := 0
	for i, r := range l.rungs {
		switch r.state {
		case rungUnasked, rungWaiting:
			return 0, false
		case rungAlive:
			life, gone = time.Duration(rungs[i])*time.Second, 0
		case rungDead:
			if gone++; gone == deadRungs {
				return life, true
			}
		}
	}
	return life, true
}

// lifetimes is the search for all three lives.
type lifetimes struct {
	running            bool
	points             []*point
	unreplied, replied ladder
	watch              [watchers]watcher
	absolute           time.Duration
	launched           int
	next               time.Time // launch
	ends               time.Time // of the watch
}

func (l *lifetimes) ladder(r role) *ladder {
	if r == roleUnreplied {
		return &l.unreplied
	}
	return &l.replied
}

// start begins a search with the peers that hear strangers.
func (l *lifetimes) start(c *Classifier) {
	*l = lifetimes{running: true, points: c.hearing(), next: c.now, ends: c.now.Add(watchFor)}
	if len(l.points) == 0 {
		l.running = false
	}
}

// step launches what is due, and ends what is known.
func (l *lifetimes) step(c *Classifier) {
	if !l.running {
		return
	}
	for !c.now.Before(l.next) && l.launched < watchers+2*maxRungs {
		l.launch(c)
		l.launched++
		l.next = c.now.Add(launchEvery)
	}
	told := false
	for _, r := range [...]role{roleUnreplied, roleReplied} {
		ladder := l.ladder(r)
		if ladder.done {
			continue
		}
		life, known := ladder.read()
		if !known {
			continue
		}
		ladder.done, ladder.life = true, life
		told = true
		l.close(c, r)
	}
	if l.launched >= watchers && l.watched(c) {
		told = true
	}
	if told {
		c.compose()
	}
	if l.launched == watchers+2*maxRungs && l.unreplied.done && l.replied.done && l.ends.IsZero() {
		l.running = false
	}
}

func (l *lifetimes) deadline() time.Time {
	if !l.running {
		return time.Time{}
	}
	if l.launched < watchers+2*maxRungs {
		return sooner(l.next, l.ends)
	}
	return l.ends
}

// launch sends the next probe: the watchers first, then both ladders in turn.
func (l *lifetimes) launch(c *Classifier) {
	i := l.launched
	if i < watchers {
		if i < len(l.points) {
			l.watch[i].begin(c, l.points[i], i)
		}
		return
	}
	i -= watchers
	why, n := roleUnreplied, i/2
	if i%2 == 1 {
		why = roleReplied
	}
	if len(l.points) == 0 || l.ladder(why).done {
		l.ladder(why).rungs[n].state = rungVoid
		return
	}
	c.sockets++
	r := &l.ladder(why).rungs[n]
	r.state, r.socket = rungWaiting, c.sockets
	q := asked{role: why, point: l.points[n%len(l.points)], rung: n, Ask: Ask{Socket: r.socket}}
	if why == roleUnreplied {
		q.Delay, q.limit = rungDelay(n), 1
		q.wait = q.Delay + lateBy
	}
	if !c.ask(q) {
		l.settle(c, why, n, rungVoid)
	}
}

func rungDelay(n int) time.Duration { return time.Duration(rungs[n]) * time.Second }

// settle notes the state of a rung and closes its socket.
func (l *lifetimes) settle(c *Classifier, why role, n int, s rungState) {
	r := &l.ladder(why).rungs[n]
	r.state = s
	if r.socket != 0 {
		c.asks.push(Ask{Kind: AskClose, Socket: r.socket})
		r.socket = 0
	}
}

// came takes an answer to a question about lifetimes.
func (l *lifetimes) came(c *Classifier, q asked, r Reply) {
	switch q.role {
	case roleReplied:
		// The answer has come in, and the next probe is the last thing that
		// goes out: from now on the mapping's replied life runs.
		n := asked{role: roleDelayed, point: q.point, rung: q.rung, limit: 1, Ask: Ask{Socket: q.Socket, Delay: rungDelay(q.rung)}}
		n.wait = n.Delay + lateBy
		if !c.ask(n) {
			l.settle(c, roleReplied, q.rung, rungVoid)
		}
	case roleUnreplied, roleDelayed:
		s := rungAlive
		if c.now.Sub(q.sent) < q.Delay-earlyBy {
			s = rungVoid // whoever answers early could make any life long
		}
		l.settle(c, q.role, q.rung, s)
	case roleWatch:
		l.watch[q.rung].came(c, q, r)
	}
}

// missed takes notice that no answer came in time.
func (l *lifetimes) missed(c *Classifier, q asked) {
	switch q.role {
	case roleUnreplied, roleDelayed:
		l.settle(c, q.role, q.rung, rungDead)
	case roleReplied:
		l.settle(c, q.role, q.rung, rungVoid) // the peer was not there
	case roleWatch:
		l.watch[q.rung].missed(c, q)
	}
}

func (l *lifetimes) failed(c *Classifier, q asked) {
	if q.role == roleWatch {
		l.watch[q.rung].stop(c)
		return
	}
	l.settle(c, q.role, q.rung, rungVoid)
}

// forget drops a peer that has gone, and gives up what it was to answer.
func (l *lifetimes) forget(c *Classifier, p *point) {
	l.points = slices.DeleteFunc(l.points, func(o *point) bool { return o == p })
	for i := len(c.asks.open) - 1; i >= 0; i-- {
		if q := c.asks.open[i]; q.point == p && q.role.lives() {
			c.asks.remove(i)
			l.failed(c, q)
		}
	}
}

// close ends a ladder whose answer is known.
func (l *lifetimes) close(c *Classifier, why role) {
	c.asks.cancel(func(q *asked) bool {
		return q.role == why || why == roleReplied && q.role == roleDelayed
	})
	for n := range l.ladder(why).rungs {
		if r := &l.ladder(why).rungs[n]; r.socket != 0 {
			l.settle(c, why, n, r.state)
		}
	}
}

// add puts what is known into a verdict.
func (l *lifetimes) add(b *Behaviour, why []string) []string {
	b.Unreplied, b.Replied, b.Absolute = l.unreplied.life, l.replied.life, l.absolute
	if b.Unreplied > 0 {
		why = append(why, fmt.Sprintf("a mapping nobody answered through was open after %v", b.Unreplied))
	}
	if b.Replied > 0 {
		why = append(why, fmt.Sprintf("a mapping with an answer was open after %v of silence", b.Replied))
	}
	if b.Absolute > 0 {
		why = append(why, fmt.Sprintf("mappings in use ended after %v", b.Absolute))
	}
	return why
}
