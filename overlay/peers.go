// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"crypto/ed25519"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// reserve returns the peer for a node whose key TLS has proved, or that an
// opened offer names, and holds it. sp is the socket peer of a connection to
// it; where the node is known already, sp becomes an alias of what it has.
func (c *core) reserve(node identity.NodeID, key ed25519.PublicKey, sp *sock.Peer, mine nat.Cred) (*Peer, error) {
	p := c.peers[node]
	heir := noSocket
	var kept [32]byte // the memory of an appointment that led to it
	if old := c.bySock[sp]; old != nil && old != p {
		// Another node answers from where one was: it was started anew, or
		// keeps an appointment. Its address is its own to keep, the old key
		// is gone for good.
		heir = c.bequeath(old)
		if a := old.state.appointment; a != nil {
			kept = a.memory
		}
		c.evict(old)
	}
	if p == nil {
		if len(c.peers) >= maxPeers {
			return nil, ErrCongested
		}
		if sp == nil {
			if sp = c.o.sock.NewPeer(); sp == nil {
				return nil, ErrCongested
			}
		} else {
			sp = sp.Confirm(nil)
		}
		if sp.Closed() {
			return nil, ErrUnreachable // it took too long
		}
		p = &Peer{o: c.o, node: node, key: bytes.Clone(key), sock: sp, mine: mine}
		c.enlist(p)
		if heir != noSocket {
			p.state.punch.sockets = append(p.state.punch.sockets, heir)
		}
	} else if sp != nil && sp != p.sock {
		sp.Confirm(p.sock)
	}
	if kept != ([32]byte{}) {
		c.recognise(c.latest, p, kept)
	}
	c.hold(p)
	return p, nil
}

// enlist takes a new peer among those of this node.
func (c *core) enlist(p *Peer) {
	c.peers[p.node] = p
	c.bySock[p.sock] = p
	c.order = append(c.order, p)
	c.due.arrived++
	p.state.due.nth = c.due.arrived
	c.touch(p)
	c.o.tags.Store(p.mine.Tag, p)
}

// hold keeps a peer until it is released.
func (c *core) hold(p *Peer) {
	p.state.refs++
	c.touch(p)
}

// at returns the peer whose link runs over one of the given paths now.
func (c *core) at(paths []sock.Path) *Peer {
	for _, p := range c.order {
		if p.state.linked && !p.state.lost && slices.Contains(paths, p.state.active) {
			return p
		}
	}
	return nil
}

// release undoes one reserve.
func (c *core) release(p *Peer) {
	p.state.refs--
	c.touch(p)
	if p.state.refs <= 0 && !p.state.linked && p.state.expires.IsZero() && c.peers[p.node] == p {
		c.drop(p)
	}
}

// drop forgets a peer without link.
func (c *core) drop(p *Peer) {
	c.o.tags.Delete(p.mine.Tag)
	if p.state.paths != nil {
		c.o.handles.Delete(p.state.paths.Handle())
	}
	c.unobserve(time.Time{}, p)
	c.missed(p)
	c.unrelay(c.latest, p, true)
	if p.state.appointment != nil {
		c.meets.open--
	}
	c.endPunch(p)
	delete(c.peers, p.node)
	c.due.remove(p)
	c.order = slices.DeleteFunc(c.order, func(q *Peer) bool { return q == p })
	if c.bySock[p.sock] == p {
		delete(c.bySock, p.sock)
		p.sock.Close()
	}
}

// evict forgets a peer whose socket peer now belongs to its successor.
func (c *core) evict(p *Peer) {
	delete(c.bySock, p.sock)
	links := p.state.links
	p.state.links = nil
	p.link.Store(nil)
	if p.state.linked {
		p.state.linked = false
		c.unmesh(c.latest, p)
		c.relayUp(c.latest, p)
		c.o.events.push(PeerDown{p, true})
		c.unroster(c.latest, p)
	}
	c.drop(p)
	for _, l := range links {
		l.close(codeBye, "replaced")
	}
}

// adopt takes a link whose handshake is done. Of two links between the same
// nodes the one dialled by the smaller node ID stays (design §4).
func (c *core) adopt(now time.Time, l *Link, via sock.Path) {
	p := l.peer
	s := &p.state
	if c.peers[p.node] != p { // its successor has come meanwhile
		l.close(codeBye, "replaced")
		return
	}
	theirs := l.hello.cred()
	c.touch(p)
	if s.paths == nil {
		c.openPaths(now, p, theirs)
	} else {
		s.paths.SetRemote(now, theirs)
	}
	if via.Remote.IsValid() {
		s.paths.AddAttested(now, via) // the handshake went to and fro there
		if _, _, ok := s.paths.Active(); !ok {
			s.down = now // until a probe is answered
			p.sock.Use(via)
			p.sock.Bind(via)
			s.active = via
		}
	}
	if l.hello.observed.IsValid() {
		c.seenAt(p, via.Local, l.hello.observed)
	}
	s.expires, s.redialAt = time.Time{}, time.Time{}
	l.via = via
	s.links = append(s.links, l)
	switch old := p.link.Load(); {
	case old == nil:
		p.link.Store(l)
	case old.dialled && l.dialled:
		// Two addresses of one node were dialled at once. The other side took
		// the newer link into use; it must leave it before that closes.
		if err := old.send(frameStay, nil); err != nil {
			c.o.log.Debug("stay not sent", "peer", p.node, "err", err)
		}
		c.drainLink(l)
	case !old.dialled && !l.dialled:
		// Either that happened over there, and the other side will close one
		// of the two, or it has lost the old one and we don't know it yet.
		p.link.Store(l)
	case now.Sub(old.since) < crossTime && old.dialled == c.smaller(p):
		c.drainLink(l)
	default:
		p.link.Store(l)
		c.drainLink(old)
	}
	if s.active.Remote.IsValid() {
		c.serve(p, l)
	}
	if _, _, proved := s.paths.Active(); proved { // else when its first probe is answered
		c.observe(now, p)
	}
	if len(s.links) > maxLinks {
		c.closeOldest(p)
	}
	if !s.linked {
		s.linked = true
		c.announce(p, false)
		c.o.events.push(PeerUp{p})
		if c.o.rostered() {
			c.sayRoster(c.spread.up(now, p.node, max(l.hello.roster, l.roster), c.o.rosterNumber()))
		}
	} else {
		c.o.events.push(PeerRelinked{p})
	}
	c.tied(p, nil)
	c.enmesh(now, p)
	c.relayUp(now, p)
}

// openPaths begins to look after the ways to a peer.
func (c *core) openPaths(now time.Time, p *Peer, theirs nat.Cred) {
	s := &p.state
	s.paths = &ways{c: c, p: p, m: nat.NewPaths(p.mine, theirs, c.rng, nat.Options{
		Keepalive: nat.KeepaliveOf(c.obs.class.Behaviour()), Budget: c.budget, Kind: func(path sock.Path) nat.Kind { return c.kindOf(p, path) },
	})}
	s.paths.SetMedia(now, s.media)
	c.o.handles.Store(s.paths.Handle(), p)
}

// crossTime is how far apart two dials may be that crossed each other. A link
// from the other side that comes later means that it has lost the old one.
const crossTime = 2 * dialTime

// maxLinks to one node: the one in use, one that drains, and two that came
// while the other side was changing networks.
const maxLinks = 4

// closeOldest closes the oldest link that is not in use.
func (c *core) closeOldest(p *Peer) {
	for _, l := range p.state.links {
		if l != p.link.Load() {
			l.close(codeDouble, "too many links")
			return
		}
	}
}

// smaller says whether this node has the smaller ID of the two: its links
// stay, and it is the one to dial again.
func (c *core) smaller(p *Peer) bool { return c.o.self.Less(p.node) }

// lost is called when a link has ended for whatever reason.
func (c *core) lost(now time.Time, l *Link, bye bool) {
	p := l.peer
	s := &p.state
	s.links = slices.DeleteFunc(s.links, func(o *Link) bool { return o == l })
	c.touch(p)
	if p.link.Load() != l {
		return
	}
	if n := len(s.links); n > 0 {
		p.link.Store(s.links[n-1])
		return
	}
	if s.linked && now.Sub(l.since) >= memorable {
		c.remember(now, p, l) // all may be about to stop, some a moment sooner
	}
	p.link.Store(nil)
	// A link may die under a running call; media goes on meanwhile. The side
	// with the smaller node ID dials again, so that one does.
	if !bye && s.refs > 0 && c.o.ctx.Err() == nil {
		s.wait = redialFirst
		s.redialAt = now
		if !c.smaller(p) {
			s.redialAt = now.Add(redialSecond)
		}
	}
	s.linked, s.wanted = false, false
	defer c.seek(now, false)
	c.relayUp(now, p)
	c.unobserve(now, p)
	c.unmesh(now, p)
	c.o.events.push(PeerDown{p, bye})
	c.unroster(now, p)
	if s.refs <= 0 {
		c.drop(p)
	}
}

const (
	// The side with the larger ID dials only if the other one has not: it may
	// not have noticed. Further attempts follow at growing distance for as
	// long as somebody needs the peer.
	redialSecond = 3 * time.Second
	redialFirst  = 2 * time.Second
	redialMost   = 30 * time.Second
)

// frame handles a control frame that concerns the loop.
func (c *core) frame(now time.Time, l *Link, typ byte, body []byte) {
	from := l.peer.node
	if typ != frameMesh && typ != frameRelay { // those have queues of their own
		c.touch(l.peer)
	}
	var err error
	switch typ {
	case frameStay:
		if l.peer.state.linked && slices.Contains(l.peer.state.links, l) {
			l.peer.link.Store(l)
		}
	case frameHole:
		err = c.holeAsked(now, l, body)
	case frameKnown:
		err = c.known(now, l, body)
	case frameOffer:
		err = c.reoffered(now, l.peer, body)
	case frameRelay:
		if !c.relays.server.Receive(now, from, body) {
			c.relays.client.Receive(now, from, body)
		}
	case frameRoster:
		err = c.rosterFrame(now, l.peer, body)
	case frameMesh:
		err = c.mesh.m.Receive(now, from, body)
	case frameCandidates:
		var what shared
		if what, err = parseCandidates(body); err == nil {
			c.told(now, l.peer, what)
		}
	}
	if err != nil {
		c.o.badFrames.Add(1)
		l.close(codeProtocol, "malformed frame")
	}
}

// seen is the address at which this node itself reaches p, proved by a probe or
// by the link's own handshake over it; zero when there is none now.
func seen(p *Peer) netip.AddrPort {
	if i := p.Path(); i.Up && i.Kind <= nat.Direct {
		return i.Remote
	}
	return netip.AddrPort{}
}

// toSend is a frame for a linked node.
type toSend struct {
	to   identity.NodeID
	typ  byte
	body []byte
}

func (c *core) send(out ...toSend) {
	for _, t := range out {
		p := c.peers[t.to]
		if p == nil {
			continue
		}
		if l := p.link.Load(); l != nil {
			if err := l.send(t.typ, t.body); err != nil {
				c.o.log.Debug("frame not sent", "peer", p.node, "type", t.typ, "err", err)
			}
		}
	}
}

func (c *core) share(p *Peer) {
	l := p.link.Load()
	if l == nil {
		return
	}
	if err := l.send(frameCandidates, appendCandidates(nil, shared{c.addresses(), c.vicinity(), c.turnAddrs()})); err != nil {
		c.o.log.Debug("candidates not sent", "peer", p.node, "err", err)
	}
	p.state.shared = true
}
