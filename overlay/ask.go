// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
)

// Target is what a ticket says about the way to somebody.
type Target struct {
	ID          identity.ID
	Secret      identity.Secret
	Addrs       []netip.AddrPort // the node itself, perhaps
	Introducers []netip.AddrPort // nodes that had a link to it
}

const (
	// askLife is how long answers to a question count.
	askLife = 12 * time.Second
	// maxAsks bounds open questions of this node's own making.
	maxAsks = 64
	// maxFound nodes may claim one tag: five devices (design §6) and one liar
	// for each.
	maxFound = 10
	// maxIntroduced bounds peers that introductions alone have made us hold.
	maxIntroduced = 64
	// dialTime bounds one attempt at one address.
	dialTime = 6 * time.Second
)

// ask is one open question for a tag, owned by the loop.
type ask struct {
	q       question
	base    nat.Cred                 // see pairCred
	links   map[identity.NodeID]bool // whom it was put to: true = no answer yet
	replies map[identity.NodeID]int
	expires time.Time
	id      identity.ID // of the target
	found   chan *Peer
	seen    int // nodes tried so far
	open    int // links to hear from and nodes being tried; 0 ends the question
}

// awaits says whether a reply from node is welcome: it was asked, and an
// identity has few devices.
func (a *ask) awaits(node identity.NodeID) bool {
	_, asked := a.links[node]
	return asked && a.replies[node] < maxPerTag
}

// done tells the asker what became of one link or node. The channel has room
// for every node that is tried.
func (a *ask) done(p *Peer) {
	if a.open == 0 {
		return
	}
	if p != nil {
		a.found <- p
	}
	if a.open--; a.open == 0 {
		close(a.found)
	}
}

// maxWhys bounds the targets of which it is remembered why no path was found.
const maxWhys = 64

// unlikely notes why a node that was asked for may not be reached directly.
func (c *core) unlikely(p *Peer, reason string) {
	for _, a := range p.state.asked {
		if len(c.whys) < maxWhys {
			c.whys[a.id] = reason
		}
	}
}

// Why says in plain words why no direct path to the nodes of a target was
// promised when it was last looked for; "" when one was, or nothing is known.
func (o *Overlay) Why(id identity.ID) (reason string) {
	o.loop.Do(o.ctx, func(time.Time) { reason = o.core.whys[id] })
	return reason
}

// pairCred makes the credentials under which one answering node probes the
// asker out of those in the question, which the devices of an identity share.
func pairCred(base nat.Cred, answerer identity.NodeID) (c nat.Cred) {
	h := hmac.New(sha256.New, base.Key[:])
	h.Write(answerer[:])
	h.Sum(c.Key[:0])
	h.Reset()
	h.Write(base.Tag[:])
	h.Write(answerer[:])
	copy(c.Tag[:], h.Sum(nil))
	return c
}

// ask sends the question and returns its number, 0 when nobody was asked.
func (c *core) ask(now time.Time, t Target, via *Peer, found chan *Peer) uint32 {
	if len(c.asks) == maxAsks {
		return 0
	}
	a := &ask{links: make(map[identity.NodeID]bool), replies: make(map[identity.NodeID]int), expires: now.Add(askLife), id: t.ID, found: found, base: c.askCred(t.ID)}
	delete(c.whys, t.ID)
	tg := tag(identity.ReachTag(t.Secret, t.ID, identity.Hour(now)))
	var err error
	if a.q, err = sealQuestion(c.o.key, t.Secret, tg, c.offer(now, a.base)); err != nil {
		c.o.log.Warn("question not made", "err", err)
		return 0
	}
	c.seq++
	body := (&introduction{request: c.seq, tag: tg, offer: a.q.sealed}).append(nil, true)
	for _, p := range c.order {
		l := p.link.Load()
		if l == nil || (via != nil && p != via) {
			continue
		}
		if l.send(frameIntroduce, body) == nil {
			a.links[p.node] = true
			a.open++
		}
	}
	if a.open == 0 {
		return 0
	}
	c.asks[c.seq] = a
	return c.seq
}

// askCred gives the credentials for questions about one identity: the same
// again and again, so that an answer to an older question still fits.
func (c *core) askCred(id identity.ID) nat.Cred {
	return pairCred(c.base, identity.NodeID(id))
}

func (c *core) offer(now time.Time, cred nat.Cred) nat.Offer {
	return nat.Offer{
		NodeKey: c.o.public, Cred: cred, Candidates: c.addresses(), Expires: now.Add(offerLife),
		Behaviour: c.obs.class.Behaviour(), Outside: c.outside(true), Mapped: c.open(),
	}
}

// introduced answers a question that a neighbour carried here: the asker holds
// a ticket of ours, or the offer would not open.
func (c *core) introduced(now time.Time, l *Link, in introduction) {
	no := introduction{request: in.request}
	refuse := func(why string) {
		c.o.log.Debug("introduction refused", "via", l.peer.node, "why", why)
		c.send(toSend{l.peer.node, frameReply, no.append(nil, false)})
	}
	secret, ok := c.mytags[in.tag]
	if !ok {
		refuse("not our tag")
		return
	}
	theirs, err := openQuestion(secret, in.tag, in.offer, now)
	if err != nil {
		c.o.badFrames.Add(1)
		refuse("bad offer")
		return
	}
	node := identity.NodeIDOf(theirs.NodeKey)
	if node == c.o.self || c.lobby() >= maxIntroduced {
		refuse("own or too many")
		return
	}
	p, err := c.reserve(node, theirs.NodeKey, nil, nat.NewCred())
	if err != nil {
		refuse("too many peers")
		return
	}
	p.state.refs-- // expires holds it
	reply, err := sealReply(c.o.key, theirs.Reply, in.offer, c.offer(now, p.mine))
	if err != nil {
		refuse("bad reply key")
		return
	}
	theirs.Cred = pairCred(theirs.Cred, c.o.self)
	c.attest(p, l.peer, in.seen)
	c.punch(now, p, theirs)
	c.send(toSend{l.peer.node, frameReply, (&introduction{request: in.request, offer: reply}).append(nil, false)})
}

// answered takes the reply to one of our questions.
func (c *core) answered(now time.Time, l *Link, a *ask, in introduction) {
	a.replies[l.peer.node]++
	first := a.links[l.peer.node]
	a.links[l.peer.node] = false
	if !first {
		a.open++ // a further device behind the same introducer
	}
	if len(in.offer) == 0 {
		a.done(nil)
		return
	}
	theirs, err := a.q.open(in.offer, now)
	if err != nil {
		c.o.badFrames.Add(1)
		a.done(nil)
		return
	}
	node := identity.NodeIDOf(theirs.NodeKey)
	if node == c.o.self || a.seen == maxFound {
		a.done(nil)
		return
	}
	a.seen++
	p, err := c.reserve(node, theirs.NodeKey, nil, pairCred(a.base, node))
	if err != nil {
		a.done(nil)
		return
	}
	p.state.refs-- // expires holds it
	if p.link.Load() != nil {
		a.done(p)
		return
	}
	p.state.asked = append(p.state.asked, a)
	c.attest(p, l.peer, in.seen)
	c.punch(now, p, theirs)
	if _, _, ok := p.state.paths.Active(); ok {
		c.redial(p)
	}
}

// punch starts probing every candidate of an introduced peer; it does the same
// towards us, and that opens endpoint-independent NATs on both sides.
func (c *core) punch(now time.Time, p *Peer, theirs nat.Offer) {
	s := &p.state
	if s.paths == nil {
		c.openPaths(now, p, theirs.Cred)
	} else if !s.linked {
		s.paths.SetRemote(now, theirs.Cred)
	}
	if !s.linked {
		s.expires = now.Add(introducedLife)
	}
	s.outsideOf = theirs.Outside
	c.startPunch(now, p, theirs)
	c.propose(now, p, theirs)
}

func (c *core) addCandidates(now time.Time, p *Peer, addrs []netip.AddrPort) {
	for _, a := range addrs {
		for _, path := range c.o.pathsTo(a) {
			if c.attested(p, a) {
				p.state.paths.AddAttested(now, path)
			} else {
				p.state.paths.Add(now, path)
			}
		}
	}
}

// attestation is an introducer's word that it sees a node at an address.
type attestation struct {
	addr netip.AddrPort
	by   netip.Prefix // the introducer's own network
}

const (
	// maxAttestations is what a few introducers say of one peer.
	maxAttestations = 8
	// fewPeers: in networks so small one introducer's word is enough
	// (design §5), above it takes two from different networks.
	fewPeers = 10
)

// attest notes what an introducer says about p.
func (c *core) attest(p, introducer *Peer, addr netip.AddrPort) {
	by := prefixOf(introducer.Path().Remote.Addr())
	if s := &p.state; addr.IsValid() && by.IsValid() && len(s.attested) < maxAttestations {
		s.attested = append(s.attested, attestation{addr, by})
	}
}

// attested says whether enough introducers see p at addr.
func (c *core) attested(p *Peer, addr netip.AddrPort) bool {
	var by []netip.Prefix
	for _, a := range p.state.attested {
		if a.addr == addr && !slices.Contains(by, a.by) {
			by = append(by, a.by)
		}
	}
	return len(by) >= 2 || len(by) == 1 && len(c.order) <= fewPeers
}

// prefixOf is the network that one operator or household has at least.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 16
	if a.Is6() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// lobby counts peers that only introductions have brought.
func (c *core) lobby() (n int) {
	for _, p := range c.order {
		if !p.state.linked && !p.state.expires.IsZero() {
			n++
		}
	}
	return n
}
