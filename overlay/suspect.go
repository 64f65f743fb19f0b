// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/relay"
)

// A call notices within 150 ms that something is wrong; an idle link only at its
// next keepalive. So what a call hears, or doesn't, is used for the others: when
// it falls silent its relays' own links are looked at, since a router that was
// started anew cuts them off just the same; and when one link turns out to come
// from another address, all do.

const (
	// suspectEvery and movedEvery are the time between two such rounds, longer
	// than a probe's way round the world; suspectLeast holds for silence that
	// begins anew.
	suspectEvery = 500 * time.Millisecond
	suspectLeast = 250 * time.Millisecond
	movedEvery   = 2 * time.Second
	// witnesses are how many links are looked at, at least.
	witnesses = 2
	// againSoon after a direct path was lost a new one is looked for: by then
	// neighbours have said where they see us now.
	againSoon = 500 * time.Millisecond
	// maxCallRelays are the relays of a call, those included that don't answer
	// any more: with two of them it may be our own network that is down, and
	// they are the first to be there again.
	maxCallRelays = 4
	// provingTime is how long a new relay's path may take to be proved.
	provingTime = 2 * time.Second
)

// suspect looks at the links to the relays of a call that fell silent, at least
// pause after the last time.
func (c *core) suspect(now time.Time, p *Peer, pause time.Duration) {
	s := &p.state
	if !s.media || now.Sub(s.suspected) < pause {
		return
	}
	s.suspected = now
	var looked []*Peer
	for _, at := range c.flowsTo(p, func(relay.Kind) bool { return true }) {
		if via := c.peers[at.Node]; via != nil && via.state.paths != nil && !slices.Contains(looked, via) {
			looked = append(looked, via)
		}
	}
	for _, n := range c.mesh.m.Neighbours() { // a call without relays
		if len(looked) >= witnesses {
			break
		}
		if q := c.peers[n.ID]; q != nil && q != p && q.state.relay && !slices.Contains(looked, q) {
			looked = append(looked, q)
		}
	}
	for _, q := range looked {
		q.state.paths.NetworkChanged(now)
	}
}

// flowsTo lists the flows of some kinds to p, in an order of their own.
func (c *core) flowsTo(p *Peer, want func(relay.Kind) bool) (list []relay.Hop) {
	for at, f := range c.relays.flows {
		if f.p == p && want(f.kind) {
			list = append(list, at)
		}
	}
	order.Sort(list, func(a, b relay.Hop) int { return a.Node.Compare(b.Node) })
	return list
}

// moved is called when a neighbour sees this node at another address than
// before: most likely all others would, too.
func (c *core) moved(now time.Time) {
	if now.Before(c.movedAt) {
		return
	}
	c.movedAt = now.Add(movedEvery)
	for _, p := range c.order {
		if p.state.paths != nil {
			p.state.paths.NetworkChanged(now)
		}
	}
	c.turnRenew()
	c.shareSoon(now)
	c.o.log.Debug("our address has changed", "peers", len(c.order))
}

// lostDirect has a new direct path looked for soon.
func (c *core) lostDirect(now time.Time, p *Peer, from, to sock.Path) {
	if s := &p.state; s.media && c.kindOf(p, from) != nat.Relay && c.kindOf(p, to) == nat.Relay {
		s.againAt, s.againWait = now.Add(againSoon), againFirst
		c.touch(p)
	}
}

// callRelayNodes names the relays that a call with p has, and how many of them
// answer or may still. Those that don't are given back once there are others.
func (c *core) callRelayNodes(now time.Time, p *Peer) (nodes []identity.NodeID, alive int) {
	state := make(map[sock.Path]nat.PathInfo)
	for _, q := range p.state.paths.Snapshot() {
		state[q.Path] = q
	}
	var dead []relay.Hop
	deaf := c.deaf(now, p)
	for _, at := range c.flowsTo(p, func(k relay.Kind) bool { return k == relay.Call }) {
		f := c.relays.flows[at]
		q, ok := state[f.path]
		old := deaf && f.opened.Before(p.state.rescue.since)
		if ok && (q.State == nat.Valid && !old || q.Answered.IsZero() && q.Age < provingTime) {
			alive++
		} else {
			dead = append(dead, at)
		}
		nodes = append(nodes, at.Node)
	}
	if alive >= warmRelays || len(nodes) >= maxCallRelays {
		for _, at := range dead[:min(len(dead), max(1, len(nodes)-warmRelays))] {
			c.giveBack(now, at)
		}
	}
	return nodes, alive
}

// giveBack ends one flow of this node's own.
func (c *core) giveBack(now time.Time, at relay.Hop) {
	f := c.relays.flows[at]
	c.relays.client.Close(now, at)
	delete(c.relays.flows, at)
	c.o.forward.Close(c.end(at))
	c.o.carrier.CloseFlow(c.end(at))
	if f.p.state.paths != nil {
		f.p.state.paths.Remove(now, f.path)
		c.replaceUnproved(f.p)
	}
}
