// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/relay"
)

// The relays of a call: when they are asked for, which, and until when they are
// kept. A node carries two calls, so none is held for nothing.

// expectCall keeps a call's relays until it begins, for a while, and reports
// whether one may begin: the way over which the word of a call's end goes tells
// of relays just as the ring's does.
func (c *core) expectCall(now time.Time, p *Peer) bool {
	s := &p.state
	fresh, keep := s.overAt.IsZero() || now.Sub(s.overAt) >= ringLife, callLife
	if !fresh {
		keep = coolTime
	}
	if s.coolAt.IsZero() {
		s.coolAt = now.Add(keep)
		c.touch(p)
	}
	return fresh
}

// restRelays gives the relays of a call back before long, as it is over.
func (c *core) restRelays(now time.Time, p *Peer) {
	s := &p.state
	s.opener, s.overAt = false, now
	if s.media || !s.coolAt.IsZero() {
		s.coolAt = now.Add(coolTime)
		c.touch(p)
	}
}

// warm makes sure that a call with p has two relays, whatever else it has: one
// side asks, and the neighbours of both are asked first.
func (c *core) warm(now time.Time, p *Peer) {
	s := &p.state
	if !s.opener || len(s.near) == 0 || s.paths == nil || now.Before(s.warmAt) {
		return
	}
	inUse, alive := c.callRelayNodes(now, p)
	s.refused = 0
	c.askRelays(now, p, inUse, alive, false)
}

// askNext asks other relays at once when one has refused: where many are full,
// two every three seconds would find a call its way too late.
func (c *core) askNext(now time.Time, p *Peer) {
	if p == nil || c.peers[p.node] != p {
		return
	}
	s := &p.state
	if s.refused++; !s.opener || len(s.near) == 0 || s.paths == nil || s.refused > maxRefused {
		return
	}
	inUse, alive := c.callRelayNodes(now, p)
	c.askRelays(now, p, inUse, alive, true)
}

// askRelays asks as many relays for a call as it lacks; next leaves those out
// that have refused just now.
func (c *core) askRelays(now time.Time, p *Peer, inUse []identity.NodeID, alive int, next bool) {
	s := &p.state
	want := warmRelays - alive
	for _, q := range c.relays.opening {
		if q == p {
			want--
		}
	}
	if want <= 0 {
		return
	}
	s.warmAt = now.Add(warmAgain)
	c.touch(p)
	var list, shunned []relay.Candidate
	for _, n := range c.mesh.m.Neighbours() {
		q := c.peers[n.ID]
		i := slices.IndexFunc(s.near, func(x near) bool { return x.node == n.ID })
		if q == nil || !q.state.relay || i < 0 || n.Card.Leaf || slices.Contains(inUse, n.ID) ||
			next && now.Sub(q.state.refusedAt) < warmAgain {
			continue
		}
		k := relay.Candidate{Node: n.ID, Here: q.Path().RTT, There: s.near[i].rtt, Class: relay.Class(n.Card.Class), Fails: q.state.relayFails}
		if c.o.cfg.Network.IsPublic() {
			k.Addr = n.Addr.Addr()
		}
		if now.Before(q.state.shunned) {
			shunned = append(shunned, k)
		} else {
			list = append(list, k)
		}
	}
	if len(list) == 0 && alive == 0 {
		list = shunned
	}
	var via []identity.NodeID
	chosen := relay.Choose(list, inUse, want, c.rng)
	isNear := func(id identity.NodeID) bool {
		return slices.ContainsFunc(s.near, func(x near) bool { return x.node == id })
	}
	if len(chosen) == 0 && (alive == 0 || !slices.ContainsFunc(inUse, isNear)) { // two in a row, as a last resort
		for i := range min(len(s.near), relay.MaxVia) { // each carries one such call: after a no another one leads
			via = append(via, s.near[(i+s.refused)%len(s.near)].node)
		}
		for _, x := range c.vicinity() {
			if len(chosen) < want && x.node != p.node && (alive == 0 || !slices.Contains(inUse, x.node)) {
				chosen = append(chosen, x.node)
			}
		}
	}
	var blob []byte
	if len(via) > 0 { // the second relay doesn't say who asks
		var err error
		if blob, err = (&parcel{}).seal(c.o.key, p.key, placeOf("two relays", p.node[:])); err != nil {
			c.o.log.Debug("not sealed", "peer", p.node, "err", err)
			return
		}
	}
	for _, node := range chosen {
		id, err := c.relays.client.Open(now, node, relay.Request{Target: p.node, Kind: relay.Call, Via: via, Blob: blob})
		if err != nil {
			c.o.log.Debug("relay not asked", "relay", node, "err", err)
			continue
		}
		c.relays.opening[id] = p
		c.peers[node].state.relayFails++ // until it has opened
		if len(via) > 1 {                // the next one by another second relay
			via = append(via[1:], via[0])
		}
	}
}
