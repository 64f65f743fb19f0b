// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	// maxPoints bounds the peers whose word is heard: more than are asked in
	// one round several times over.
	maxPoints = 32
	// enoughPrefixes peers at unrelated addresses make a majority that one
	// liar can't turn.
	enoughPrefixes = 3
	// gatherFor is how long a first round waits for that many.
	gatherFor = time.Second
	// freshFor is how long a sighting counts as one of the present round: well
	// within the shortest life of a mapping.
	freshFor = 10 * time.Second

	// againFirst doubles up to againMost with each round that only confirmed
	// what was known, so that a lying peer can't keep us asking.
	againFirst = 10 * time.Second
	againMost  = 10 * time.Minute
	// moreFirst is the pause before a round that new peers make worth while.
	moreFirst = time.Second
	// maxVerdicts is above what one input can cause; the oldest goes, since
	// Behaviour tells the state anyway.
	maxVerdicts = 8
)

// Peer is the driver's number for a peer.
type Peer uint32

// VantagePoint is a peer that tells at which address it sees us.
type VantagePoint struct {
	Peer   Peer
	Addr   netip.AddrPort // where it is written to
	Second uint16         // its second port behind the same address; 0 = none known
	// TCP says that the peer is reached over TCP at that address: it is alive,
	// and silent over UDP only if that is blocked, here or there.
	TCP bool
}

// Sighting says where a peer sees the node's own socket: from an ordinary
// probe's answer, or what it told when a link began.
type Sighting struct {
	Peer Peer
	Addr netip.AddrPort // where that peer was written to
	Port uint16         // our socket's local port; 0 = not known
	Seen netip.AddrPort
}

// Verdict is told when the first one is found, and at each change.
type Verdict struct {
	Behaviour Behaviour
	Evidence  []string // for people
}

// ClassifierOptions tunes a Classifier. The zero value works.
type ClassifierOptions struct {
	// NoLifetimes leaves out the search for the lives of mappings, which costs
	// some 60 sockets for up to ten minutes and a probe every four seconds for three.
	NoLifetimes bool
}

// Classifier learns from ordinary peers what NATs are between this node and
// the Internet. It is a pure machine: after every input drain Poll and
// NextEvent; calling Advance early is harmless; time never goes backwards. It
// is not safe for concurrent use.
//
// It asks for at most 60 probes, then listens to what peers tell anyway, and
// asks again when that contradicts what it knows. Of each question the majority
// decides, counted by network (/16, or /32 for IPv6), so that a minority of liars
// does not move a verdict; but packets that came in are facts.
type Classifier struct {
	opt    ClassifierOptions
	rng    *rand.Rand
	now    time.Time
	points []*point
	hosts  []netip.Addr // this machine's addresses
	asked6 bool         // hosts are known
	gate   netip.Addr   // the gateway's outside address
	server ServerResult // RFC 5780

	asks  asks
	round round
	life  lifetimes
	found found
	lived bool // the search for lifetimes was begun

	have    bool
	told    Behaviour
	why     []string
	events  []Verdict
	again   time.Time // of the next round; zero = none
	pause   time.Duration
	news    bool // the present round brought some
	began   bool // ever
	sockets int  // given out
}

// point is a vantage point and what it told in this round.
type point struct {
	VantagePoint
	prefix       netip.Prefix
	main, second sight
	silent       bool // did not answer the node's own socket
	takes        Tri  // hears from ports that never wrote to it before
	able         Abilities
	rtt          time.Duration
}

// sight is a sighting.
type sight struct {
	seen netip.AddrPort
	port uint16
	at   time.Time
}

func (s *sight) fresh(now time.Time) bool { return s.seen.IsValid() && now.Sub(s.at) < freshFor }

// NewClassifier returns a Classifier that knows nothing. rng need not be secret.
func NewClassifier(rng *rand.Rand, o ClassifierOptions) *Classifier {
	return &Classifier{rng: rng, opt: o, pause: againFirst}
}

// AddPeer adds a vantage point, or tells its new address. Those inside our own
// network, or a carrier's, know nothing of our outside and are left out.
func (c *Classifier) AddPeer(now time.Time, v VantagePoint) {
	c.tick(now)
	v.Addr = netip.AddrPortFrom(v.Addr.Addr().Unmap(), v.Addr.Port())
	if p := c.point(v.Peer); p != nil {
		if p.Addr == v.Addr {
			p.Second = v.Second
			return
		}
		c.drop(p)
	}
	if !probeable(v.Addr) || !outside(v.Addr.Addr()) || len(c.points) >= maxPoints {
		return
	}
	c.points = append(c.points, &point{VantagePoint: v, prefix: prefixOf(v.Addr.Addr())})
	c.newcomer()
}

// prefixOf returns the part of an address that one owner may well have all of.
func prefixOf(ip netip.Addr) netip.Prefix {
	bits := 16
	if ip.Is6() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

// newcomer sees whether there is reason for a round.
func (c *Classifier) newcomer() {
	n := c.prefixes()
	switch {
	case c.round.stage != stageIdle:
	case !c.began && n >= enoughPrefixes:
		c.again = c.now
	case !c.began && c.again.IsZero():
		c.again = c.now.Add(gatherFor)
	case c.began && n > c.round.prefixes && c.round.prefixes < maxAsked && (c.round.prefixes < enoughPrefixes || c.found.mapping.heard == 0):
		c.again = sooner(c.again, c.now.Add(moreFirst))
	}
}

// RemovePeer takes a vantage point away.
func (c *Classifier) RemovePeer(now time.Time, id Peer) {
	c.tick(now)
	if p := c.point(id); p != nil {
		c.drop(p)
		c.progress()
	}
}

func (c *Classifier) drop(p *point) {
	c.points = slices.DeleteFunc(c.points, func(o *point) bool { return o == p })
	c.life.forget(c, p)
	c.asks.forget(p)
}

func (c *Classifier) point(id Peer) *point {
	for _, p := range c.points {
		if p.Peer == id {
			return p
		}
	}
	return nil
}

// SetHosts tells this machine's own addresses, as Hosts finds them. Tell them
// before the first peer and before NetworkChanged.
func (c *Classifier) SetHosts(now time.Time, hosts []netip.Addr) {
	c.tick(now)
	var list []netip.Addr
	for _, a := range hosts[:min(len(hosts), 4*MaxCandidates)] {
		list = append(list, a.Unmap().WithZone(""))
	}
	if c.asked6 && slices.Equal(list, c.hosts) {
		return
	}
	c.hosts, c.asked6 = list, true
	if c.began {
		c.again = sooner(c.again, c.now.Add(moreFirst))
	}
	c.conclude()
}

// SetGateway tells the outside address of the nearest router, as it says
// itself by PCP, NAT-PMP or UPnP.
func (c *Classifier) SetGateway(now time.Time, a netip.Addr) {
	c.tick(now)
	c.gate = a.Unmap()
	c.conclude()
}

// SetServer adds what an RFC 5780 server showed, as one more voice.
func (c *Classifier) SetServer(now time.Time, r ServerResult) {
	c.tick(now)
	r.Seen = netip.AddrPortFrom(r.Seen.Addr().Unmap(), r.Seen.Port())
	c.server = r
	c.conclude()
}

// NetworkChanged forgets everything but the peers and this machine's
// addresses, and begins anew.
func (c *Classifier) NetworkChanged(now time.Time) {
	c.tick(now)
	c.closeAll()
	c.asks.clear()
	c.round, c.life, c.found, c.lived, c.server = round{}, lifetimes{}, found{}, false, ServerResult{}
	c.gate = netip.Addr{}
	c.have, c.told, c.why, c.events = false, Behaviour{}, nil, nil
	c.began, c.pause, c.again = false, againFirst, time.Time{}
	for _, p := range c.points {
		*p = point{VantagePoint: p.VantagePoint, prefix: p.prefix}
	}
	if len(c.points) > 0 {
		c.newcomer()
	}
}

// Observe takes a sighting that cost nothing.
func (c *Classifier) Observe(now time.Time, s Sighting) {
	c.tick(now)
	p := c.point(s.Peer)
	if p == nil || !probeable(s.Seen) {
		return
	}
	s.Seen = netip.AddrPortFrom(s.Seen.Addr().Unmap(), s.Seen.Port())
	to := &p.main
	switch {
	case s.Addr.Addr().Unmap() != p.Addr.Addr():
		return
	case s.Addr.Port() == p.Addr.Port():
	case s.Addr.Port() == p.Second && p.Second != 0:
		to = &p.second
	default:
		return
	}
	c.sighted(p, to, s.Seen, s.Port)
	c.progress()
}

// Answer takes what came of an Ask.
func (c *Classifier) Answer(now time.Time, r Reply) {
	c.tick(now)
	r.From = netip.AddrPortFrom(r.From.Addr().Unmap(), r.From.Port())
	r.Seen = netip.AddrPortFrom(r.Seen.Addr().Unmap(), r.Seen.Port())
	c.answered(r)
	c.progress()
}

// Failed tells that an Ask could not be carried out: no socket, no such port,
// refused by the system. It is not asked again.
func (c *Classifier) Failed(now time.Time, id uint32) {
	c.tick(now)
	c.failed(id)
	c.progress()
}

// Advance does what is due.
func (c *Classifier) Advance(now time.Time) {
	c.tick(now)
	c.overdue()
	c.start()
	c.progress()
}

// Deadline returns when Advance is wanted next; zero means not before another
// input.
func (c *Classifier) Deadline() time.Time {
	at := c.asks.deadline()
	switch c.round.stage {
	case stageIdle:
		at = sooner(at, c.again)
	case stageAsking:
		if c.now.Before(c.round.hurry) {
			at = sooner(at, c.round.hurry)
		}
	}
	return sooner(at, c.life.deadline())
}

// Poll returns the next thing to do.
func (c *Classifier) Poll() (Ask, bool) { return c.asks.pop() }

// NextEvent returns the next verdict.
func (c *Classifier) NextEvent() (Verdict, bool) {
	if len(c.events) == 0 {
		return Verdict{}, false
	}
	v := c.events[0]
	c.events = slices.Delete(c.events, 0, 1)
	return v, true
}

// Behaviour returns what is known; the zero value before the first verdict.
func (c *Classifier) Behaviour() Behaviour {
	b := c.told
	b.Public = slices.Clone(b.Public)
	return b
}

// Evidence returns what speaks for it, in short sentences for people.
func (c *Classifier) Evidence() []string { return slices.Clone(c.why) }

// Probes returns how many probes were asked for since the present round, or
// the last one, began; those for lifetimes are not among them.
func (c *Classifier) Probes() int { return c.round.probes }

func (c *Classifier) tick(now time.Time) { c.now = latest(c.now, now) }
