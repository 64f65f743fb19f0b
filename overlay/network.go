// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// shareFirst after something changed, what the router and neighbours say
	// by then goes along; shareEvery at most, whatever changes.
	shareFirst = 300 * time.Millisecond
	shareEvery = 2 * time.Second
)

// sharing tells session peers this node's addresses when they have changed. It
// is part of the core and owned by the loop.
type sharing struct {
	due  time.Time // zero = nothing new
	last time.Time
	told []netip.AddrPort
}

// NetworkChanged tells that this machine's addresses, or its way to the network,
// have become other ones: all paths are checked at once, what was known of NATs
// is forgotten, and peers with a session hear of the new addresses.
func (o *Overlay) NetworkChanged() {
	o.loop.Do(o.ctx, func(now time.Time) { o.core.networkChanged(now) })
}

func (c *core) networkChanged(now time.Time) {
	c.gate.listed = time.Time{}
	c.obs.class.NetworkChanged(now)
	c.tellHosts(now)
	for _, m := range c.gate.mappings {
		if m.Outside.Addr().Is4() { // it stands until the router says otherwise
			c.obs.class.SetGateway(now, c.gate.outside)
		}
	}
	c.o.nat.Store(nil)
	c.endServer()
	if s := &c.servers; len(s.list) > 0 {
		s.full, s.tried, s.seen, s.again = true, 0, outside{}, now
	}
	for _, p := range c.order {
		p.state.outside = [2]outside{}
		if p.state.paths != nil {
			p.state.paths.NetworkChanged(now)
		}
	}
	c.turnRenew()
	c.shareSoon(now)
	c.o.log.Info("network changed", "peers", len(c.order))
}

// shareSoon tells session peers our addresses, if they are other ones by then.
func (c *core) shareSoon(now time.Time) {
	s := &c.sharing
	at := now.Add(shareFirst)
	if next := s.last.Add(shareEvery); next.After(at) {
		at = next
	}
	s.due = earlier(s.due, at)
}

func (c *core) advanceSharing(now time.Time) {
	s := &c.sharing
	if s.due.IsZero() || now.Before(s.due) {
		return
	}
	s.due, s.last = time.Time{}, now
	told := append(c.addresses(), c.turnAddrs()...)
	if slices.Equal(told, s.told) {
		return
	}
	s.told = told
	for _, p := range c.order {
		if p.state.linked && p.state.shared {
			c.share(p)
		}
	}
}

// shared is what a CANDIDATES frame says.
type shared struct {
	addrs []netip.AddrPort
	near  []near
	turn  []netip.AddrPort // at TURN servers
}

// told uses what a peer shared, once somebody here needs that peer. The other side
// shares as soon as its own session layer is content; ours may hear of that later.
func (c *core) told(now time.Time, p *Peer, what shared) {
	s := &p.state
	if s.paths == nil || s.refs <= 0 {
		s.untold = what
		return
	}
	s.untold, s.near = shared{}, what.near
	s.told = what.addrs
	c.turnAt(now, p, what.turn)
	c.addCandidates(now, p, what.addrs)
	if s.media {
		c.overTURN(now, p)
	}
}

// keep holds a peer for the session layer.
func (c *core) keep(now time.Time, p *Peer) {
	c.hold(p)
	if w := p.state.untold; len(w.addrs)+len(w.near)+len(w.turn) > 0 {
		c.told(now, p, w)
	}
}
