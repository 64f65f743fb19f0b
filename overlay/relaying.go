// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/mesh"
	"github.com/p2pos/p2pos/overlay/relay"
)

// relaying is the loop's part in carrying others' datagrams, and in having
// one's own carried (package relay). A flow of this node's own is a path like
// any other: its local connection is conn, its remote address one that conn
// made up for it.
type relaying struct {
	server  *relay.Server
	client  *relay.Client
	local   int // conn's number in the socket
	flows   map[relay.Hop]*ownFlow
	opening map[uint32]*Peer // requests for flows on their way
	ringing *Peer            // whose ring's flow is being opened right now
	early   bool             // and nobody knows yet whether it leads there
	asked   int              // questions to Config.MayRelay that are open

	promised []promise // in order of time; the mesh bounds them
}

// promise is a link of two neighbours that the mesh has agreed to carry.
type promise struct {
	mesh.Carry
	at time.Time
}

// ownFlow is a flow of this node's own.
type ownFlow struct {
	p      *Peer
	path   sock.Path
	kind   relay.Kind
	opened time.Time
	sure   bool // the other side has it too, as far as the relay or its answer say

	came  uint64 // packets of media, when they were counted last
	light int    // how often in a row too few came: see weigh
}

const (
	// warmRelays carry a call at once, so that losing one is not heard.
	warmRelays = 2
	// coolTime after a call its relays are given back: the end has to be told
	// through them, and people redial.
	coolTime = 5 * time.Second
	// callLife is how long relays are kept for a call that may come: people let
	// it ring for a minute or two.
	callLife = 2 * time.Minute
	// warmAgain is how long a call waits before it asks for relays again.
	warmAgain = 3 * time.Second
	// promiseLife is how long the two have for the flow of a link that this node
	// has agreed to carry: an answer, an OPEN and an INVITE.
	promiseLife = 10 * time.Second
	// maxRefused relays may refuse before a call waits for warmAgain.
	maxRefused = 12
	// maxNear neighbours are named to a peer that may look for a relay among
	// them.
	maxNear = 24
)

// near is a neighbour of the other side, with its round trip to it.
type near struct {
	node identity.NodeID
	rtt  time.Duration
}

func newRelaying(c *core) relaying {
	return relaying{
		server: relay.NewServer(relay.ServerConfig{
			Key: c.o.key, Limits: c.o.cfg.Relay,
			LastUsed: func(h relay.Hop) time.Time {
				p := c.peers[h.Node]
				if p == nil {
					return time.Time{}
				}
				u, ok := c.o.forward.Usage(relay.End[*sock.Peer]{Peer: p.sock, Label: h.Label})
				if !ok || u.Last == 0 {
					return time.Time{}
				}
				return c.o.began.Add(u.Last)
			},
		}),
		client: relay.NewClient(relay.ClientConfig{
			Self: c.o.self, Rand: c.rng,
			LastUsed: func(h relay.Hop) time.Time {
				p := c.peers[h.Node]
				if p == nil {
					return time.Time{}
				}
				return c.o.carrier.LastUsed(relay.End[*sock.Peer]{Peer: p.sock, Label: h.Label})
			},
		}),
		flows:   make(map[relay.Hop]*ownFlow),
		opening: make(map[uint32]*Peer),
	}
}

// relayFrame takes a relayed frame on a socket reader's goroutine.
func (o *Overlay) relayFrame(from *sock.Peer, b []byte) {
	to, ok := o.forward.Forward(o.sinceStart(), from, b)
	if !ok {
		return
	}
	if to == nil {
		if l, ok := relay.LabelOf(b); ok {
			o.carrier.Deliver(l, from, b)
		}
		return
	}
	to.Send(b) // a frame that can't go on is lost, as on any network
}

// kindOf judges a path to a peer, with those that only this package knows.
func (c *core) kindOf(p *Peer, path sock.Path) nat.Kind {
	if path.Local == c.relays.local || c.turnServer(p, path) != "" {
		return nat.Relay
	}
	if _, ok := c.tcp[path.Local]; ok {
		return nat.TCP
	}
	for _, l := range c.obs.onLink {
		if l.Contains(path.Remote.Addr()) {
			return nat.LAN
		}
	}
	return nat.KindOf(path)
}

// salt is a secret of the two ends of a link.
func salt(p *Peer, l *Link) relay.Salt {
	k := nat.SharedKey(p.mine, l.hello.cred())
	sum := sha256.Sum256(append([]byte("p2pos relay salt v1"), k[:]...))
	return relay.Salt(sum[:16])
}

// relayUp lets a neighbour be a relay, and use this one, while it is reached
// without one.
func (c *core) relayUp(now time.Time, p *Peer) {
	s := &p.state
	l := p.link.Load()
	direct := s.linked && l != nil && c.direct(p)
	switch {
	case direct && !s.relay:
		s.relay = true
		c.relays.client.LinkUp(now, p.node, salt(p, l))
		c.serveFlows(now, p)
	case s.relay && (!s.linked || !direct && !s.lost):
		s.relay = false
		c.relays.server.LinkDown(now, p.node)
		c.relays.client.LinkDown(now, p.node)
		c.o.forward.Drop(p.sock)
	}
}

// ringFlow uses what a ring has left at the nodes it passed.
func (c *core) ringFlow(now time.Time, p *Peer, neighbour identity.NodeID, trace [16]byte, out bool) {
	if neighbour == c.o.self || neighbour == p.node {
		return
	}
	c.relays.ringing = p
	c.relays.client.Ring(now, neighbour, trace, out)
	c.drainRelays(now)
	c.relays.ringing = nil
}

// expectMedia opens what a ring of ours leaves at the neighbours that took it:
// the answer's media comes back on the way that was the fastest there, perhaps
// on another one than the answer, and before it.
func (c *core) expectMedia(now time.Time, p *Peer, request uint32) {
	if p.state.paths == nil {
		c.openPaths(now, p, nat.Cred{}) // as its answer tells
	}
	trace, first := c.mesh.m.Ways(request)
	for _, neighbour := range first {
		c.relays.early = true
		c.ringFlow(now, p, neighbour, trace, true)
		c.relays.early = false
	}
}

// useShort sends by what a ring has left on the way through a neighbour, while
// there is nothing better.
func (c *core) useShort(now time.Time, p *Peer, neighbour identity.NodeID) {
	for at, f := range c.relays.flows {
		if at.Node == neighbour && f.p == p && f.kind == relay.Short {
			f.sure = true
			c.takeUnproved(p, f.path)
			c.redouble(now, p)
			return
		}
	}
}

// takeUnproved uses a flow while no path is proved. Its relay is a neighbour, so
// this aims at nobody: the first media need not wait for a probe's answer.
func (c *core) takeUnproved(p *Peer, path sock.Path) {
	old := p.state.active
	ended := old.Local == c.relays.local && c.flowOn(p, old) == flowName{}
	if _, _, ok := p.state.paths.Active(); ok || old.Remote.IsValid() && !ended {
		return
	}
	p.sock.Use(path)
	p.sock.Bind(path)
	p.state.active = path
	c.announce(p, false)
}

func (c *core) drainRelays(now time.Time) {
	r := &c.relays
	for {
		e, ok := r.server.NextEvent()
		if !ok {
			break
		}
		switch e := e.(type) {
		case relay.FlowUp:
			a, b := c.end(e.A), c.end(e.B)
			if a.Peer != nil && b.Peer != nil {
				if err := c.o.forward.Open(a, b, e.Rates); err != nil {
					c.o.log.Debug("flow not opened", "err", err)
				}
			}
			c.o.log.Debug("carrying", "a", e.A.Node, "b", e.B.Node, "kind", e.Kind)
		case relay.FlowDown:
			c.o.forward.Close(c.end(e.A))
			if e.Kind == relay.Link {
				c.mesh.m.CarryDown(now, e.A.Node, e.B.Node)
			}
			c.o.log.Debug("carried", "a", e.A.Node, "b", e.B.Node, "kind", e.Kind, "why", e.Reason)
		}
	}
	for {
		e, ok := r.client.NextEvent()
		if !ok {
			break
		}
		switch e := e.(type) {
		case relay.Opened:
			c.opened(now, e)
		case relay.Invited:
			c.invited(now, e)
		case relay.Refused:
			c.o.log.Debug("no relay", "relay", e.Relay, "why", e.Reason)
			p := r.opening[e.Request]
			delete(r.opening, e.Request)
			if by := c.peers[e.Relay]; by != nil {
				by.state.refusedAt = now
			}
			c.askNext(now, p)
		case relay.Down:
			c.flowDown(now, e.At, e.Reason)
		}
	}
	for _, poll := range []func() (relay.Out, bool){r.server.Poll, r.client.Poll} {
		for {
			out, ok := poll()
			if !ok {
				break
			}
			c.send(toSend{out.To, frameRelay, out.Body})
		}
	}
}

// end names one end of a flow as the packet path does.
func (c *core) end(h relay.Hop) relay.End[*sock.Peer] {
	e := relay.End[*sock.Peer]{Label: h.Label}
	if p := c.peers[h.Node]; p != nil {
		e.Peer = p.sock
	}
	return e
}

// opened takes a flow of this node's own into use, as one more path.
func (c *core) opened(now time.Time, e relay.Opened) {
	p := c.relays.opening[e.Request]
	delete(c.relays.opening, e.Request)
	if e.Kind == relay.Short {
		p = c.relays.ringing
	} else if p == nil && !e.Ours { // else the call was over before the relay had answered
		p = c.peers[e.Peer] // shown a voucher of ours
	}
	via := c.peers[e.At.Node]
	if p == nil || via == nil || c.peers[p.node] != p || p.state.paths == nil {
		c.relays.client.Close(now, e.At)
		return
	}
	c.vouched(now, p, via, e.Seen)
	end := c.end(e.At)
	err := c.o.forward.Open(end, relay.End[*sock.Peer]{}, relay.Rates{Nested: e.Nested})
	if err == nil {
		addr, err2 := c.o.carrier.Open(end, e.Nested, via.sock.Send)
		if err = err2; err == nil {
			path := sock.Path{Local: c.relays.local, Remote: addr.AddrPort()}
			c.relays.flows[e.At] = &ownFlow{p: p, path: path, kind: e.Kind, opened: now, sure: !c.relays.early}
			c.o.log.Debug("relayed", "peer", p.node, "via", e.At.Node, "kind", e.Kind)
			via.state.relayFails = 0
			if e.Kind == relay.Call && !p.state.media {
				c.expectCall(now, p)
			}
			if !c.relays.early {
				c.takeUnproved(p, path)
			}
			p.state.paths.AddAttested(now, path)
			if e.Kind != relay.Call {
				c.preferCalls(now, p)
			}
			c.redouble(now, p)
			return
		}
		c.o.forward.Close(end)
	}
	c.o.log.Debug("relay not used", "via", e.At.Node, "err", err)
	c.relays.client.Close(now, e.At)
}

// direct says whether a peer is reached without a relay now.
func (c *core) direct(p *Peer) bool {
	s := &p.state
	if s.paths == nil {
		return false
	}
	primary, _, ok := s.paths.Active()
	return ok && c.kindOf(p, primary) != nat.Relay
}

// vouched takes a relay's word on where it reaches a peer. With it, what was
// only tried may now be searched for.
func (c *core) vouched(now time.Time, p, by *Peer, at netip.AddrPort) {
	if !at.IsValid() {
		return
	}
	c.attest(p, by, at)
	c.addCandidates(now, p, []netip.AddrPort{at})
	if p.state.media {
		c.overTURN(now, p)
	}
	if o := p.state.offer; !c.direct(p) && o.NodeKey != nil && c.attestedHost(p, o.Outside.Addr()) && !p.state.vouched {
		p.state.vouched = true
		c.startPunch(now, p, o) // does nothing when one runs already
	}
}

// invited agrees to be reached through a relay by somebody this node talks to.
func (c *core) invited(now time.Time, e relay.Invited) {
	p := c.peers[e.From]
	if e.TwoHop { // From is the first relay
		p = nil
		if in, err := openParcel(c.o.key, e.Blob, placeOf("two relays", c.o.self[:]), now); err == nil {
			p = c.peers[identity.NodeIDOf(in.from)]
		}
	}
	// Who needs two relays in a row has few to choose from.
	if by := c.peers[e.Relay]; p != nil && e.Kind == relay.Call && !e.TwoHop && by != nil && now.Before(by.state.shunned) && !c.deaf(now, p) {
		p = nil
	}
	if e.Nested || p == nil || p.state.appointment != nil ||
		p.state.refs <= 0 && !now.Before(p.state.expires) {
		c.relays.client.Decline(now, e.Request)
		return
	}
	c.relays.opening[e.Request] = p
	if p.state.media && now.Sub(p.state.mediaAt) > provingTime {
		p.state.deafAt = now // it asks for another relay in mid-call
	}
	if err := c.relays.client.Accept(now, e.Request); err != nil {
		delete(c.relays.opening, e.Request)
	}
}

func (c *core) flowDown(now time.Time, at relay.Hop, why relay.Reason) {
	f := c.relays.flows[at]
	if f == nil {
		return
	}
	delete(c.relays.flows, at)
	end := c.end(at)
	c.o.forward.Close(end)
	c.o.carrier.CloseFlow(end)
	c.o.log.Debug("relay gone", "peer", f.p.node, "via", at.Node, "why", why)
	if f.kind == relay.Call && why == relay.Closed && f.p.state.media {
		c.shun(now, at) // the other side left it in mid-call
	}
	if c.peers[f.p.node] == f.p && f.p.state.paths != nil {
		f.p.state.paths.Remove(now, f.path)
		c.replaceUnproved(f.p)
		c.warm(now, f.p)
	}
}

// replaceUnproved has another flow used when the one in use has ended before
// any path was proved.
func (c *core) replaceUnproved(p *Peer) {
	for _, at := range c.flowsTo(p, func(relay.Kind) bool { return true }) {
		if f := c.relays.flows[at]; f.sure {
			c.takeUnproved(p, f.path)
		}
	}
}

// unrelay gives back the flows to a peer: all of them when it goes, else those
// that only a call needs.
func (c *core) unrelay(now time.Time, p *Peer, all bool) {
	var ends []relay.Hop
	for at, f := range c.relays.flows {
		if f.p == p && (all || f.kind == relay.Call) {
			ends = append(ends, at)
		}
	}
	order.Sort(ends, func(a, b relay.Hop) int { return a.Node.Compare(b.Node) })
	for _, at := range ends {
		c.relays.client.Close(now, at)
		f := c.relays.flows[at]
		delete(c.relays.flows, at)
		c.o.forward.Close(c.end(at))
		c.o.carrier.CloseFlow(c.end(at))
		if p.state.paths != nil && !all {
			p.state.paths.Remove(now, f.path)
		}
	}
	for id, q := range c.relays.opening {
		if q == p {
			delete(c.relays.opening, id)
		}
	}
}

// vicinity lists neighbours that could relay between this node and a peer.
func (c *core) vicinity() (list []near) {
	for _, n := range c.mesh.m.Neighbours() {
		if p := c.peers[n.ID]; len(list) < maxNear && p != nil && p.state.relay && !n.Card.Leaf {
			list = append(list, near{n.ID, p.Path().RTT})
		}
	}
	return list
}

// promise notes what the mesh has agreed to.
func (c *core) promise(now time.Time, e mesh.Carry) {
	c.relays.promised = slices.DeleteFunc(c.relays.promised, func(p promise) bool { return p.Carry == e || p.A == e.B && p.B == e.A })
	c.relays.promised = append(c.relays.promised, promise{e, now})
}

// keepPromises tells the mesh of links whose flow nobody has opened: they would
// count for ever, and others be sent away.
func (c *core) keepPromises(now time.Time) {
	list := c.relays.promised
	for len(list) > 0 && now.Sub(list[0].at) >= promiseLife {
		if e := list[0].Carry; !c.relays.server.Carries(relay.Link, e.A, e.B) {
			c.mesh.m.CarryDown(now, e.A, e.B)
		}
		list = list[1:]
	}
	if c.relays.promised = list; len(list) == 0 {
		c.relays.promised = nil
	}
}

// carrierOf says who relays a peer's packets now, if anybody does.
func (c *core) carrierOf(p *Peer) (id mesh.ID, relayed bool) {
	if c.kindOf(p, p.state.active) != nat.Relay {
		return mesh.ID{}, false
	}
	return c.via(p, p.state.active), true
}
