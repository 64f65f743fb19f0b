// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"time"

	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// The loop has one input after the other, most of them about one peer of a
// hundred. So it keeps a heap of the times at which peers want to be looked at,
// and a list of those that something was done to: what an input costs follows
// from what it is about, not from how many links there are.
//
// Whatever may change what dueOf says of a peer, or give its machines something
// to say, calls touch; ways does so by itself. That nothing was forgotten is
// checked now and then (audit).

// schedule says which peers are to be looked at, and when.
type schedule struct {
	heap    []*Peer // by time, then by arrival
	touched []*Peer // by the next drain
	spare   []*Peer // room for the next list of touched ones
	arrived uint64  // peers so far
	missed  uint64  // found by audit
}

// appointed is a peer's place in the schedule.
type appointed struct {
	nth     uint64    // peer of this node: map order must not reach the wire
	at      time.Time // zero = not in the heap
	place   int       // in it
	touched bool
}

// settleRounds bounds how often peers that touch each other are looked at
// after one input; what is left waits for the next one, which is due at once.
const settleRounds = 8

// touch has a peer looked at after this input.
func (c *core) touch(p *Peer) {
	if a := &p.state.due; !a.touched {
		a.touched = true
		c.due.touched = append(c.due.touched, p)
	}
}

// settle carries out what the machines of touched peers want, and notes when
// those want to be looked at again.
func (c *core) settle(now time.Time) {
	d := &c.due
	for range settleRounds {
		if len(d.touched) == 0 {
			return
		}
		list := d.touched
		d.touched = d.spare[:0]
		order.Sort(list, byArrival)
		for _, p := range list {
			p.state.due.touched = false
			if c.peers[p.node] == p {
				c.drainPunch(now, p)
			}
			if c.peers[p.node] == p && p.state.paths != nil {
				c.drainPaths(now, p)
			}
			if c.peers[p.node] == p {
				d.set(p, c.dueOf(p))
			}
		}
		clear(list)
		d.spare = list[:0]
	}
}

func byArrival(p, q *Peer) int {
	if p.state.due.nth < q.state.due.nth {
		return -1
	}
	return 1 // nobody is in a list twice
}

// advancePeers does what is due for peers.
func (c *core) advancePeers(now time.Time) {
	var list []*Peer
	for len(c.due.heap) > 0 && !now.Before(c.due.heap[0].state.due.at) {
		p := c.due.heap[0]
		list = append(list, p)
		c.due.remove(p)
		c.touch(p)
	}
	order.Sort(list, byArrival)
	for _, p := range list {
		if c.peers[p.node] == p {
			c.advancePeer(now, p)
		}
	}
}

func (c *core) advancePeer(now time.Time, p *Peer) {
	s := &p.state
	if s.media {
		c.hearMedia(now, p)
	}
	if !s.coolAt.IsZero() && !now.Before(s.coolAt) {
		s.opener, s.coolAt = false, time.Time{}
		c.unrelay(now, p, false)
		c.offTURN(now, p)
		c.turnRest()
	}
	if p.both.Load() && !now.Before(s.bothUntil) {
		p.both.Store(false)
	}
	if s.opener {
		if !now.Before(s.lookAt) || !s.rescue.since.IsZero() { // not each tick of a call that is well
			s.lookAt = now.Add(warmAgain)
			c.warm(now, p)
		}
		c.again(now, p)
	}
	if s.media {
		c.reoffer(now, p)
	}
	if s.punch.run != nil {
		c.roll(now, p)
		s.punch.run.Advance(now)
	}
	c.tieThrough(now, p)
	c.unhold(now, p)
	c.renew(now, p)
	if s.paths != nil {
		s.paths.Advance(now)
	}
	switch {
	case !s.linked && s.refs <= 0 && !s.expires.IsZero() && !now.Before(s.expires):
		c.drop(p)
	case !s.spareAt.IsZero() && !now.Before(s.spareAt):
		c.part(p)
	case !s.redialAt.IsZero() && !now.Before(s.redialAt):
		s.redialAt, s.wait = now.Add(s.wait), min(2*s.wait, redialMost)
		c.redial(p)
	case !s.down.IsZero() && now.Sub(s.down) >= patience(s):
		if l := p.link.Load(); l != nil {
			l.close(codeUnused, "no path")
		}
		s.down = time.Time{}
	}
}

// dueOf returns when a peer wants to be looked at; zero = not before something
// is done to it.
func (c *core) dueOf(p *Peer) (d time.Time) {
	s := &p.state
	if s.paths != nil {
		d = s.paths.Deadline()
	}
	d = earlier(d, s.punch.deadline())
	d = earlier(d, c.renewDue(p))
	if s.media { // which again and renew go by as well, and warm while it is deaf
		d = earlier(d, s.heard.Add(mediaTick))
	} else if s.opener && s.refs > 0 && len(s.near) > 0 {
		d = earlier(d, s.lookAt)
	}
	d = earlier(d, s.coolAt)
	d = earlier(d, s.tie.at)
	if p.both.Load() {
		d = earlier(d, s.bothUntil)
	}
	if !s.linked && s.refs <= 0 {
		d = earlier(d, s.expires)
	}
	d = earlier(d, s.redialAt)
	d = earlier(d, s.spareAt)
	if !s.down.IsZero() {
		d = earlier(d, s.down.Add(patience(s)))
	}
	return d
}

// audit looks whether the schedule holds what it should: a peer that somebody
// forgot to touch would be asleep for good.
func (c *core) audit() {
	for _, p := range c.order {
		a, at := &p.state.due, c.dueOf(p)
		if !a.touched && !at.IsZero() && (a.at.IsZero() || at.Before(a.at)) {
			c.due.missed++
			c.o.log.Warn("peer not looked at in time", "peer", p.node, "at", a.at, "due", at)
			c.touch(p)
		}
	}
}

// set puts a peer where it belongs.
func (d *schedule) set(p *Peer, at time.Time) {
	a := &p.state.due
	switch {
	case at.IsZero():
		d.remove(p)
	case a.at.IsZero():
		a.at, a.place = at, len(d.heap)
		d.heap = append(d.heap, p)
		d.up(a.place)
	default:
		a.at = at
		d.up(a.place)
		d.down(a.place)
	}
}

func (d *schedule) remove(p *Peer) {
	a := &p.state.due
	if a.at.IsZero() {
		return
	}
	i, last := a.place, len(d.heap)-1
	d.swap(i, last)
	d.heap[last] = nil
	d.heap = d.heap[:last]
	a.at = time.Time{}
	if i < last {
		d.up(i)
		d.down(i)
	}
}

func (d *schedule) before(i, j int) bool {
	a, b := &d.heap[i].state.due, &d.heap[j].state.due
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.nth < b.nth
}

func (d *schedule) swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.heap[i].state.due.place, d.heap[j].state.due.place = i, j
}

func (d *schedule) up(i int) {
	for i > 0 && d.before(i, (i-1)/2) {
		d.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (d *schedule) down(i int) {
	for {
		next := 2*i + 1
		if next+1 < len(d.heap) && d.before(next+1, next) {
			next++
		}
		if next >= len(d.heap) || !d.before(next, i) {
			return
		}
		d.swap(i, next)
		i = next
	}
}

// ways is a peer's path machine. Whatever is done to it touches the peer.
type ways struct {
	m *nat.Paths
	c *core
	p *Peer
}

func (w *ways) touched() *nat.Paths {
	w.c.touch(w.p)
	return w.m
}

func (w *ways) Add(now time.Time, path sock.Path)           { w.touched().Add(now, path) }
func (w *ways) AddAttested(now time.Time, path sock.Path)   { w.touched().AddAttested(now, path) }
func (w *ways) AddProved(now time.Time, path sock.Path)     { w.touched().AddProved(now, path) }
func (w *ways) Remove(now time.Time, path sock.Path)        { w.touched().Remove(now, path) }
func (w *ways) SetRemote(now time.Time, c nat.Cred)         { w.touched().SetRemote(now, c) }
func (w *ways) SetKeepalive(now time.Time, d time.Duration) { w.touched().SetKeepalive(now, d) }
func (w *ways) SetMedia(now time.Time, on bool)             { w.touched().SetMedia(now, on) }
func (w *ways) SocketDown(now time.Time, local int)         { w.touched().SocketDown(now, local) }
func (w *ways) NetworkChanged(now time.Time)                { w.touched().NetworkChanged(now) }
func (w *ways) HeardAt(now time.Time, path sock.Path, at time.Time) {
	w.touched().HeardAt(now, path, at)
}

func (w *ways) Rejudge(now time.Time) { w.touched().Rejudge(now) }
func (w *ways) Advance(now time.Time) { w.touched().Advance(now) }

func (w *ways) Retire(now time.Time, old, to sock.Path, gone bool) bool {
	return w.touched().Retire(now, old, to, gone)
}

func (w *ways) Receive(now time.Time, path sock.Path, b []byte) bool {
	return w.touched().Receive(now, path, b)
}

func (w *ways) Deadline() time.Time                    { return w.m.Deadline() }
func (w *ways) Handle() [4]byte                        { return w.m.Handle() }
func (w *ways) Remote() nat.Cred                       { return w.m.Remote() }
func (w *ways) Snapshot() []nat.PathInfo               { return w.m.Snapshot() }
func (w *ways) Active() (sock.Path, []sock.Path, bool) { return w.m.Active() }
func (w *ways) NextEvent() (nat.Event, bool)           { return w.m.NextEvent() }
func (w *ways) Poll() (nat.Datagram, bool)             { return w.m.Poll() }
