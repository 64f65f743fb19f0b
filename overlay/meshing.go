// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/mesh"
	"github.com/p2pos/p2pos/overlay/relay"
)

// meshing is how the loop serves the mesh: it seals and opens offers, makes
// the links that the mesh wants, and carries its messages over links.
type meshing struct {
	m      *mesh.Machine
	wishes map[uint32]wish // introductions that the mesh asked for; it bounds them
	rings  map[uint32]ring // routed messages of ours
}

// wish is an offer of ours on its way to a node.
type wish struct {
	node  mesh.Card
	place []byte // of the answer
}

// ring is a routed message of ours to a node.
type ring struct {
	p       *Peer
	place   []byte // of the answers
	expires time.Time
}

const (
	// fewLinks: each of a node's first links makes it look where it is.
	fewLinks = 4
	// maxRings routed messages of this node's own may wait for answers: calls
	// to all devices of a few people.
	maxRings = 64
	// ringLife is how long answers come back along the route; later ones need
	// a link.
	ringLife = 12 * time.Second
)

// placeOf names the part of a protocol that a parcel belongs to.
func placeOf(what string, b []byte) []byte { return append([]byte(what+" "), b...) }

func replyPlace(sealed []byte) []byte {
	h := sha256.Sum256(sealed)
	return placeOf("reply", h[:])
}

// drainMesh carries out what the mesh wants done.
func (c *core) drainMesh(now time.Time) {
	for {
		e, ok := c.mesh.m.NextEvent()
		if !ok {
			break
		}
		switch e := e.(type) {
		case mesh.Wanted:
			c.wanted(now, e)
		case mesh.Asked:
			c.askedFor(now, e)
		case mesh.Agreed:
			c.agreed(now, e)
		case mesh.Refused:
			delete(c.mesh.wishes, e.Request)
		case mesh.Carry:
			c.promise(now, e)
		case mesh.Surplus:
			c.surplus(now, e.Node)
		case mesh.Delivered:
			c.delivered(now, e)
		case mesh.Answered:
			c.routeAnswered(now, e)
		case mesh.Passed:
			c.relays.server.Passed(now, e.From, e.To, e.Trace)
		case mesh.Undelivered:
			if r, ok := c.mesh.rings[e.Request]; ok {
				delete(c.mesh.rings, e.Request)
				c.tied(r.p, ErrUnreachable)
				c.o.events.push(Unrouted{r.p})
				break
			}
			c.recordUndelivered(now, e.Request)
		}
	}
	for {
		out, ok := c.mesh.m.Poll()
		if !ok {
			return
		}
		c.send(toSend{out.To, frameMesh, out.Body})
	}
}

// enmesh tells the mesh of a link that stands and whose path is proved.
func (c *core) enmesh(now time.Time, p *Peer) {
	s := &p.state
	l := p.link.Load()
	if _, relayed := c.carrierOf(p); s.meshed && relayed == s.relayed || !s.linked || l == nil {
		return
	}
	if _, _, ok := s.paths.Active(); !ok {
		return // its first probe is on the way
	}
	s.meshed = true
	if c.linked() <= fewLinks {
		c.records.located = time.Time{} // a new node is to be found at once
	}
	s.carrier, s.relayed = c.carrierOf(p)
	class, leaf := cardFlags(l.hello.caps)
	c.mesh.m.LinkUp(now, mesh.Link{
		Card: mesh.Card{Key: [32]byte(p.key), Class: class, Leaf: leaf},
		Addr: c.reached(p), RTT: p.Path().RTT, Via: s.via, Ours: s.wanted || l.dialled, Anchor: s.anchor,
		Relayed: s.relayed, Carrier: s.carrier,
	})
}

// reached is where a neighbour is, for the mesh; zero when another node relays.
func (c *core) reached(p *Peer) netip.AddrPort {
	if c.direct(p) {
		return p.state.active.Remote
	}
	return netip.AddrPort{}
}

// unmesh tells the mesh that a link is gone.
func (c *core) unmesh(now time.Time, p *Peer) {
	if p.state.meshed {
		p.state.meshed = false
		c.mesh.m.LinkDown(now, p.node)
	}
}

// missed tells the mesh when nothing came of an introduced node.
func (c *core) missed(p *Peer) {
	if p.state.wanted && !p.state.linked {
		c.mesh.m.Failed(c.latest, p.node)
	}
}

// measure passes round trip times on to the mesh.
func (c *core) measure(now time.Time) {
	for _, p := range c.order {
		if rtt := p.Path().RTT; p.state.meshed && rtt > 0 {
			c.mesh.m.Measured(now, p.node, rtt)
		}
	}
}

// wanted makes an offer for a node that the mesh would like a link with.
func (c *core) wanted(now time.Time, e mesh.Wanted) {
	id := e.Node.ID()
	if p := c.peers[id]; p != nil && p.state.linked {
		c.mesh.m.Decline(now, e.Request)
		return
	}
	p, err := c.reserve(id, bytes.Clone(e.Node.Key[:]), nil, nat.NewCred())
	if err != nil {
		c.mesh.m.Decline(now, e.Request)
		return
	}
	p.state.refs-- // expires holds it
	p.state.expires = later(p.state.expires, now.Add(askLife))
	offer := c.offer(now, p)
	sealed, err := (&parcel{offer: &offer, tcp: c.tcpAddrs()}).seal(c.o.key, p.key, placeOf("introduce", id[:]))
	if err != nil {
		c.o.log.Debug("offer not sealed", "peer", id, "err", err)
		c.mesh.m.Decline(now, e.Request)
		return
	}
	c.mesh.wishes[e.Request] = wish{node: e.Node, place: replyPlace(sealed)}
	c.mesh.m.Introduce(now, e.Request, sealed)
}

// askedFor answers the offer of a node that wants a link with this one.
func (c *core) askedFor(now time.Time, e mesh.Asked) {
	refuse := func(why string, err error) {
		c.o.log.Debug("introduction refused", "via", e.Via, "why", why, "err", err)
		c.mesh.m.Decline(now, e.Request)
	}
	in, err := openParcel(c.o.key, e.Sealed, placeOf("introduce", c.o.self[:]), now)
	if err != nil || in.offer == nil || !bytes.Equal(in.from, e.From.Key[:]) {
		c.o.badFrames.Add(1)
		refuse("bad offer", err)
		return
	}
	p, err := c.invite(now, in.from)
	if err != nil {
		refuse("no room", err)
		return
	}
	offer := c.offer(now, p)
	sealed, err := (&parcel{offer: &offer, tcp: c.tcpAddrs()}).seal(c.o.key, p.key, replyPlace(e.Sealed))
	if err != nil {
		refuse("reply not sealed", err)
		return
	}
	p.state.via = e.Via
	if v := c.peers[e.Via]; v != nil {
		c.attest(p, v, e.Seen)
	}
	c.mesh.m.Accept(now, e.Request, sealed)
	if e.Relay {
		if p.state.paths == nil {
			c.openPaths(now, p, in.offer.Cred)
		}
		return
	}
	c.punch(now, p, *in.offer)
	c.overTCP(now, p, in.tcp)
}

// invite reserves a peer for a node that has named itself.
func (c *core) invite(now time.Time, key ed25519.PublicKey) (*Peer, error) {
	node := identity.NodeIDOf(key)
	if node == c.o.self {
		return nil, ErrSelf
	}
	if c.peers[node] == nil && c.lobby() >= maxIntroduced {
		return nil, ErrCongested
	}
	p, err := c.reserve(node, key, nil, nat.NewCred())
	if err != nil {
		return nil, err
	}
	p.state.refs-- // expires holds it
	if !p.state.linked {
		p.state.expires = later(p.state.expires, now.Add(introducedLife))
	}
	return p, nil
}

// agreed begins to punch towards a node that has answered an offer of ours.
func (c *core) agreed(now time.Time, e mesh.Agreed) {
	w, ok := c.mesh.wishes[e.Request]
	delete(c.mesh.wishes, e.Request)
	p := c.peers[e.Node]
	if !ok || p == nil || p.state.linked {
		return
	}
	in, err := openParcel(c.o.key, e.Sealed, w.place, now)
	if err != nil || in.offer == nil || !bytes.Equal(in.from, p.key) {
		c.o.badFrames.Add(1)
		c.mesh.m.Failed(now, e.Node)
		return
	}
	p.state.via = e.Via
	if v := c.peers[e.Via]; v != nil {
		c.attest(p, v, e.Seen)
	}
	if e.Relay {
		c.linkThrough(now, p, e.Via, in.offer.Cred)
		return
	}
	c.meet(now, p, *in.offer)
	c.overTCP(now, p, in.tcp)
}

// linkThrough makes a relayed link: the carrier has agreed.
func (c *core) linkThrough(now time.Time, p *Peer, carrier identity.NodeID, theirs nat.Cred) {
	if p.state.paths == nil {
		c.openPaths(now, p, theirs)
	}
	p.state.wanted = true
	id, err := c.relays.client.Open(now, carrier, relay.Request{Target: p.node, Kind: relay.Link})
	if err != nil {
		c.o.log.Debug("no relayed link", "peer", p.node, "via", carrier, "err", err)
		c.mesh.m.Failed(now, p.node)
		return
	}
	c.relays.opening[id] = p
}

// meet punches towards a node and dials it as soon as there is a way. With a link, it
// punches when that has no path any more, or the call over it is deaf.
func (c *core) meet(now time.Time, p *Peer, theirs nat.Offer) {
	if s := &p.state; s.linked {
		switch {
		case s.paths == nil:
			return
		case s.paths.Remote() == theirs.Cred:
			if !c.direct(p) || c.deaf(now, p) {
				c.punch(now, p, theirs)
			}
			return
		}
		// It has lost the link, or it would know the names that go with it.
		for _, l := range s.links {
			l.close(codeUnused, "lost by the other side")
		}
	}
	p.state.wanted = true
	c.punch(now, p, theirs)
	if _, _, ok := p.state.paths.Active(); ok {
		c.redial(p)
	}
}

// surplus closes a link that neither the mesh nor a session needs. A newcomer
// keeps it for a while even where there is no room: it may have nobody else to
// ask for others.
func (c *core) surplus(now time.Time, node identity.NodeID) {
	p := c.peers[node]
	if p == nil {
		return
	}
	if l := p.link.Load(); l != nil && !l.dialled && now.Sub(l.since) < newcomerTime && c.newcomers() < maxNewcomers {
		p.state.spareAt = l.since.Add(newcomerTime)
		c.touch(p)
		return
	} else if l != nil && l.dialled && !p.state.wanted && now.Sub(l.since) < purposeTime {
		p.state.spareAt = l.since.Add(purposeTime)
		c.touch(p)
		return
	}
	c.part(p)
}

const (
	// newcomerTime is what a node needs to be introduced to its first
	// neighbours: a few rounds of questions and punches.
	newcomerTime = 15 * time.Second
	// purposeTime is what somebody who had an address dialled, of a ticket for
	// instance, needs to say what for: the mesh may have no room for the link,
	// and a call still need it.
	purposeTime = 3 * time.Second
	// maxNewcomers have such a link at a time.
	maxNewcomers = 32
)

func (c *core) newcomers() (n int) {
	for _, p := range c.order {
		if !p.state.spareAt.IsZero() {
			n++
		}
	}
	return n
}

// part ends a link without a use.
func (c *core) part(p *Peer) {
	p.state.spareAt = time.Time{}
	c.touch(p)
	if l := p.link.Load(); l != nil && p.state.linked && p.state.refs <= 0 {
		l.close(codeUnused, "surplus")
	}
}

// routed sends a session message to a peer with which no link stands: back
// along the route it came on, or on a route of its own.
func (c *core) routed(now time.Time, p *Peer, body []byte) {
	s := &p.state
	c.doubly(now, p)
	if now.Before(s.routeUntil) {
		c.replyRouted(now, p, &parcel{body: body})
		return
	}
	if len(c.mesh.rings) >= maxRings {
		c.o.log.Debug("not routed: too many", "peer", p.node)
		return
	}
	secret := secret32()
	offer := c.offer(now, p)
	sealed, err := (&parcel{secret: secret, offer: &offer, body: body, tcp: c.tcpAddrs(), turn: c.turnAddrs()}).seal(c.o.key, p.key, placeOf("ring", p.node[:]))
	if err != nil {
		c.o.log.Debug("not sealed", "peer", p.node, "err", err)
		return
	}
	id := c.mesh.m.Send(now, mesh.Request{To: p.node, Exact: true, Kind: mesh.Ring, Body: sealed, Lock: sha256.Sum256(secret)})
	c.mesh.rings[id] = ring{p: p, place: replyPlace(sealed), expires: now.Add(ringLife)}
	c.expectMedia(now, p, id)
}

// doubly has messages to p go over link and route for a while, and looks
// whether the paths of a silent link still stand.
func (c *core) doubly(now time.Time, p *Peer) {
	s := &p.state
	if s.linked && !s.media && s.paths != nil && now.After(s.bothUntil) {
		s.paths.NetworkChanged(now)
	}
	s.bothUntil = now.Add(ringLife)
	p.both.Store(true)
	c.touch(p)
}

// replyRouted answers along the route on which p's last message came.
func (c *core) replyRouted(now time.Time, p *Peer, out *parcel) {
	s := &p.state
	sealed, err := out.seal(c.o.key, p.key, s.routePlace)
	if err != nil {
		c.o.log.Debug("not sealed", "peer", p.node, "err", err)
		return
	}
	c.mesh.m.Reply(now, s.route, s.routeSecret, sealed)
	s.routeSecret = nil
}

// delivered takes a routed message that ends here.
func (c *core) delivered(now time.Time, e mesh.Delivered) {
	switch e.Kind {
	case mesh.Ring:
		in, err := openParcel(c.o.key, e.Body, placeOf("ring", c.o.self[:]), now)
		if err != nil || in.secret == nil {
			c.o.badFrames.Add(1)
			c.o.log.Debug("routed message dropped", "via", e.From, "err", err)
			return
		}
		p, err := c.invite(now, in.from)
		if err != nil {
			c.o.log.Debug("routed message refused", "err", err)
			return
		}
		s := &p.state
		s.byRoute = true
		c.doubly(now, p)
		s.route, s.routeUntil = e.Route, now.Add(ringLife)
		s.routeSecret, s.routePlace = in.secret, replyPlace(e.Body)
		answer := &parcel{near: c.vicinity(), tcp: c.tcpAddrs(), turn: c.turnAddrs()}
		if in.offer != nil { // our link to it, if any, may be one that it has lost
			offer := c.offer(now, p)
			answer.offer = &offer
		}
		c.replyRouted(now, p, answer)
		if in.offer != nil {
			c.punch(now, p, *in.offer)
			c.overTCP(now, p, in.tcp)
			c.turnTold(now, p, in.turn)
		}
		c.ringFlow(now, p, e.From, e.Trace, false)
		c.hand(p, in.body)
	default:
		c.deliveredRecord(now, e)
	}
}

// routeAnswered takes an answer to a routed message of ours.
func (c *core) routeAnswered(now time.Time, e mesh.Answered) {
	r, ok := c.mesh.rings[e.Request]
	if !ok {
		c.recordAnswered(now, e)
		return
	}
	in, err := openParcel(c.o.key, e.Body, r.place, now)
	if err != nil || !bytes.Equal(in.from, r.p.key) {
		c.o.badFrames.Add(1)
		return
	}
	if c.peers[r.p.node] != r.p {
		return // given up meanwhile
	}
	r.p.state.byRoute = true
	if in.offer != nil {
		c.meet(now, r.p, *in.offer)
		c.overTCP(now, r.p, in.tcp)
		c.turnTold(now, r.p, in.turn)
	}
	c.expectMedia(now, r.p, e.Request)
	c.ringFlow(now, r.p, e.First, e.Trace, true)
	c.useShort(now, r.p, e.First)
	if s := &r.p.state; !c.tieAnswered(now, r.p, in.near) && len(in.near) > 0 {
		s.near = in.near
		if s.media && !s.linked || !s.media && c.expectCall(now, r.p) {
			s.opener = true // one side asks
		}
		s.lookAt = now.Add(warmAgain)
		c.touch(r.p)
		c.warm(now, r.p)
	}
	c.hand(r.p, in.body)
}

// hand passes a session message that came over the route on.
func (c *core) hand(p *Peer, body []byte) {
	if len(body) > 0 && !c.o.events.pushRouted(Message{Peer: p, Body: body}) {
		c.o.badFrames.Add(1)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// classOf says how others can link to a node with this behaviour.
func classOf(b nat.Behaviour, mapped bool) mesh.Class {
	switch {
	case mapped || b.Mapping == nat.NoNAT && b.Filtering == nat.NoNAT:
		return mesh.Open
	case b.Mapping == nat.UDPBlocked:
		return mesh.Blocked
	case b.Mapping == nat.AddressDependent || b.Mapping == nat.AddressAndPortDependent:
		return mesh.Hard
	case b.Mapping == nat.EndpointIndependent || b.Mapping == nat.NoNAT:
		return mesh.Easy
	}
	return mesh.Unknown
}

// A node tells its class in the lowest bits of HELLO's capabilities, and
// changes of it in the mesh's own messages.
const (
	capClass = 0x07
	capLeaf  = 0x08
)

func cardFlags(caps uint32) (mesh.Class, bool) {
	class := mesh.Class(caps & capClass)
	if class > mesh.Blocked {
		class = mesh.Unknown
	}
	return class, caps&capLeaf != 0
}

func newMeshing(o *Overlay, now time.Time) meshing {
	return meshing{
		m: mesh.New(now, mesh.Config{
			Self: mesh.Card{Key: [32]byte(o.public)}, NoCaps: !o.cfg.Network.IsPublic(), Links: o.cfg.MaxLinks,
		}, o.core.rng),
		wishes: make(map[uint32]wish),
		rings:  make(map[uint32]ring),
	}
}

// reclass tells everybody how this node can be linked to.
func (c *core) reclass(now time.Time, b nat.Behaviour) {
	class := classOf(b, c.open())
	c.o.caps.Store(uint32(class))
	c.mesh.m.SetSelf(now, class, false)
}

// secret32 returns 32 random bytes.
func secret32() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}
