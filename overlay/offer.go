// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

const (
	// offerLife is how long an offer may be answered.
	offerLife = 30 * time.Second
	// meetLife is how long a neighbour to be may take to be reached, a search's
	// time aside. Those that can be are within a second or two, and while a
	// newcomer waits for others it gets nowhere.
	meetLife = 5 * time.Second
	// askLife is how long an introduction may take: a sleeping phone's radio
	// needs two seconds.
	askLife = 12 * time.Second
	// maxIntroduced bounds peers that introductions alone have made us hold.
	maxIntroduced = 64
	// dialTime bounds one attempt at one address.
	dialTime = 6 * time.Second
)

// offer makes an offer to p.
func (c *core) offer(now time.Time, p *Peer) nat.Offer {
	p.state.offered = c.obs.class.Behaviour()
	return nat.Offer{
		NodeKey: c.o.public, Cred: p.mine, Candidates: c.addresses(), Expires: now.Add(offerLife),
		Behaviour: p.state.offered, Outside: c.outside(true), Mapped: c.open(),
	}
}

// punch starts probing every candidate of an introduced peer; it does the same
// towards us, and that opens endpoint-independent NATs on both sides.
func (c *core) punch(now time.Time, p *Peer, theirs nat.Offer) {
	s := &p.state
	if s.paths == nil {
		c.openPaths(now, p, theirs.Cred)
	} else {
		s.paths.SetRemote(now, theirs.Cred)
	}
	if !s.linked {
		s.expires = now.Add(introducedLife)
		if !s.byRoute {
			s.expires = now.Add(meetLife)
		}
	}
	s.offer, s.vouched = theirs, false
	c.touch(p)
	s.outsideOf, s.behaviour = theirs.Outside, theirs.Behaviour
	c.startPunch(now, p, theirs)
	c.propose(now, p, theirs)
}

func (c *core) addCandidates(now time.Time, p *Peer, addrs []netip.AddrPort) {
	for _, a := range addrs {
		for _, path := range c.o.pathsTo(a) {
			c.addPath(now, p, path)
		}
	}
}

func (c *core) addPath(now time.Time, p *Peer, path sock.Path) {
	if c.attested(p, path.Remote) {
		p.state.paths.AddAttested(now, path)
	} else {
		p.state.paths.Add(now, path)
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
	return len(by) >= 2 || len(by) == 1 && c.few()
}

// few says whether this is a small network, as far as this node knows.
func (c *core) few() bool { return len(c.order)-c.meets.open <= fewPeers }

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
		if !p.state.linked && !p.state.expires.IsZero() && p.state.appointment == nil {
			n++
		}
	}
	return n
}
