// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/relay"
)

// RelayAsk is a question to Config.MayRelay: may this node carry flows of a
// neighbour?
type RelayAsk struct {
	Node identity.NodeID // it is new at each start
	Addr netip.AddrPort  // where its packets come from
}

// maxRelayAsked questions are open at a time. For other neighbours nothing is
// carried yet: each answer makes room for the question about the next one.
const maxRelayAsked = 16

// admission is what the application says of a neighbour.
type admission uint8

const (
	admitUnasked admission = iota
	admitAsked
	admitYes
	admitNo
)

// mayRelay says whether this node may carry flows of p, and asks the application
// when it hasn't yet: not here, since its code may take its time.
func (c *core) mayRelay(p *Peer) bool {
	ask, s := c.o.cfg.MayRelay, &p.state
	if ask == nil || s.admitted == admitYes {
		return true
	}
	if s.admitted != admitUnasked || c.relays.asked >= maxRelayAsked {
		return false
	}
	s.admitted = admitAsked
	c.relays.asked++
	about := RelayAsk{p.node, s.active.Remote}
	answer := func(v admission) {
		c.o.loop.Do(c.o.ctx, func(now time.Time) {
			c.relays.asked--
			s.admitted = v
			c.serveFlows(now, p)
			for _, q := range c.order {
				if q.state.admitted == admitUnasked {
					c.serveFlows(now, q)
				}
			}
		})
	}
	go func() { // the application's code: Close can't wait for it
		if err := ask(about); err != nil {
			c.o.log.Debug("nothing is carried for", "peer", p.node, "why", err)
			answer(admitNo)
			return
		}
		answer(admitYes)
	}()
	return false
}

// serveFlows has flows of a neighbour carried, once the application allows it.
func (c *core) serveFlows(now time.Time, p *Peer) {
	l := p.link.Load()
	if !p.state.relay || l == nil || c.peers[p.node] != p || !c.mayRelay(p) {
		return
	}
	n := relay.Neighbour{Salt: salt(p, l), Seen: seen(p)}
	if a := p.state.active.Remote.Addr(); c.o.cfg.Network.IsPublic() && !inside(a) {
		n.Addr = a
	}
	c.relays.server.LinkUp(now, p.node, n)
}
