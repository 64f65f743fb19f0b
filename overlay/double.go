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

// double says where copies of a call's packets go: to no path twice, for the list is
// held against what the socket made of it.
func (c *core) double(now time.Time, p *Peer, primary sock.Path, also []sock.Path) []sock.Path {
	return others(primary, c.copies(now, p, primary, also))
}

// others returns a list's paths but the primary one, each once.
func others(primary sock.Path, list []sock.Path) (once []sock.Path) {
	for _, path := range list {
		if path != primary && !slices.Contains(once, path) {
			once = append(once, path)
		}
	}
	return once
}

// copies lists where they could go. While a call is relayed, or its direct path is in
// doubt, that is the path through a second relay: losing one of the two is not heard
// then. A path that doubt adds may lead through the very relay that is in doubt, or be
// as dead as the first, so it doesn't count. When nothing is heard any more, new flows
// are used before they are proved - their relays are neighbours, so this aims at
// nobody - and the paths that served last, whatever probes say: it may be our own
// network that is down, and they are the first to be there again.
func (c *core) copies(now time.Time, p *Peer, primary sock.Path, also []sock.Path) []sock.Path {
	s := &p.state
	if !s.media {
		return also
	}
	var list []sock.Path
	deaf := c.deaf(now, p)
	if deaf {
		s.deafAt = now
	}
	if now.Sub(s.deafAt) < provingTime {
		list = c.unproved(now, p)
	}
	if deaf {
		list = append(list, c.heardLast(p, primary)...)
	}
	list = append(list, also...)
	relayed := c.kindOf(p, primary) == nat.Relay
	if !relayed && s.rescue.since.IsZero() {
		return list
	}
	first := c.flowOn(p, primary)
	for _, a := range list {
		if f := c.flowOn(p, a); f.kind != 0 && f.node != first.node {
			return list
		}
	}
	if second := c.second(p, first); second.Remote.IsValid() {
		list = append(list, second)
	}
	return list
}

// second is the best proved path through another relay than first's.
func (c *core) second(p *Peer, first flowName) sock.Path {
	var best flowName
	for _, q := range p.state.paths.Snapshot() {
		f := c.flowOn(p, q.Path)
		if q.State != nat.Valid || f.kind != relay.Call && f.kind != relay.Short || f.node == first.node {
			continue
		}
		if best.kind == 0 || best.kind != relay.Call && f.kind == relay.Call {
			best = f
		}
	}
	return best.path
}

// maxUnproved of the new flows are used at a time.
const maxUnproved = 2

// unproved lists the new flows to p that are not proved yet, newest first.
func (c *core) unproved(now time.Time, p *Peer) (list []sock.Path) {
	flows := c.flowsTo(p, func(k relay.Kind) bool { return k != relay.Link })
	order.Stable(flows, func(a, b relay.Hop) int {
		return c.relays.flows[b].opened.Compare(c.relays.flows[a].opened)
	})
	for _, at := range flows {
		if f := c.relays.flows[at]; f.sure && now.Sub(f.opened) < provingTime && len(list) < maxUnproved {
			p.sock.Bind(f.path) // so that what comes there is heard
			list = append(list, f.path)
		}
	}
	return list
}

// heardLast lists the paths but the first over which media came last, latest first.
func (c *core) heardLast(p *Peer, primary sock.Path) (list []sock.Path) {
	list = slices.DeleteFunc(p.sock.Paths(), func(x sock.Path) bool {
		return x == primary || !p.sock.Heard(x).After(p.state.mediaAt)
	})
	order.Stable(list, func(a, b sock.Path) int { return p.sock.Heard(b).Compare(p.sock.Heard(a)) })
	return list
}

// flowName is a flow of this node's own, or a way through a TURN server, as a path.
type flowName struct {
	node   identity.NodeID // the relay; turnNode of a server
	kind   relay.Kind
	path   sock.Path
	server bool
}

// flowOn says what flow a path to p is; the zero name for other paths.
func (c *core) flowOn(p *Peer, path sock.Path) flowName {
	if s := c.turnServer(p, path); s != "" {
		return flowName{turnNode(s), relay.Call, path, true}
	}
	if path.Local == c.relays.local {
		for at, f := range c.relays.flows {
			if f.p == p && f.path == path {
				return flowName{at.Node, f.kind, path, false}
			}
		}
	}
	return flowName{}
}

// redouble looks whether copies still go where they should.
func (c *core) redouble(now time.Time, p *Peer) {
	if p.state.paths == nil || !p.state.media {
		return
	}
	primary, also, ok := p.state.paths.Active()
	if !ok {
		if primary = p.state.active; !primary.Remote.IsValid() {
			return
		}
	}
	want := c.double(now, p, primary, also)
	want = want[:min(len(want), sock.MaxAlso)]
	if _, used, _ := p.sock.Route(); slices.Equal(used, want) {
		return
	}
	if !ok {
		p.sock.Use(primary, want...)
		return
	}
	c.route(now, p, false)
}

// preferCalls leaves the small flows of rings and links once a flow that was asked
// for the call stands: they end sooner, and have no room for copies of frames.
func (c *core) preferCalls(now time.Time, p *Peer) {
	var small []sock.Path
	var call sock.Path
	for _, q := range p.state.paths.Snapshot() {
		switch f := c.flowOn(p, q.Path); {
		case f.kind == relay.Short || f.kind == relay.Link:
			small = append(small, q.Path)
		case f.kind == relay.Call && q.State == nat.Valid && !call.Remote.IsValid():
			call = q.Path
		}
	}
	if call.Remote.IsValid() {
		for _, path := range small {
			p.state.paths.Retire(now, path, call, false)
		}
	}
}

// via names the node that relays a path; the zero ID for others.
func (c *core) via(p *Peer, path sock.Path) identity.NodeID {
	if f := c.flowOn(p, path); !f.server {
		return f.node
	}
	return identity.NodeID{}
}

// vias names all relays that carry packets to p now.
func (c *core) vias(p *Peer) (list []identity.NodeID) {
	primary, also, ok := p.sock.Route()
	if !ok {
		return nil
	}
	for _, path := range append([]sock.Path{primary}, also...) {
		if v := c.via(p, path); v != (identity.NodeID{}) {
			list = append(list, v)
		}
	}
	return list
}
