// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/p2pos/p2pos/internal/order"
)

const (
	// enoughSilent peers of enoughPrefixes networks don't fail all at once.
	enoughSilent = maxAsked
	// blockedSure is claimed then: the peers' own state is hearsay.
	blockedSure = 0.92
	// enoughAlive peers at different addresses that answer over TCP and not over
	// UDP say so as well; it could still be their own firewalls, the more so when
	// they are in one network.
	enoughAlive = 2
	blockedFew  = 0.8
	blockedOne  = 0.6
	// unsaid stands for the confidence of what is not known at all.
	unsaid = 0.3
	// notable is a change of confidence worth telling.
	notable = 0.1
	// onePool mappings at one address say that there is no other.
	onePool = 6
)

// found is what a round found out.
type found struct {
	done             bool
	mapping, filter  finding
	ports            portFinding
	blocked          bool
	asked            int  // peers
	few, one         bool // prefixes of those that say so
	public           []netip.Addr
	arbitrary        Tri
	hairpin, chosen  Tri
	six              IPv6
	sixWhy, chosenIn string
}

// open reports whether the round still waits for something.
func (c *Classifier) open() bool {
	for i := range c.asks.open {
		if !c.asks.open[i].role.lives() {
			return true
		}
	}
	return false
}

// settled reports whether mapping, filter and ports are as clear as they get.
func (c *Classifier) settled() bool {
	for i := range c.asks.open {
		switch q := &c.asks.open[i]; q.role {
		case roleMain, roleSecond, roleTrial, roleExtra:
			return false
		case roleFirst, rolePort, rolePeer:
			if q.trial.six == c.round.six {
				return false
			}
		}
	}
	return true
}

// conclude judges the present round, as soon as it can be judged.
func (c *Classifier) conclude() {
	if c.round.stage == stageMeasuring && c.settled() {
		c.judge()
	}
	c.compose()
}

// judge reads the evidence.
func (c *Classifier) judge() {
	f := found{done: true}
	f.mapping = mappingOf(c.points, c.hosts, c.round.six, c.now)
	f.filter = filterOf(c.round.trials, c.round.six)
	liars := c.liars()
	samples := c.trusted(liars)
	f.ports = portRule(samples)
	if f.ports.rule == UnknownPorts {
		f.ports = ownPort(c.points, f.mapping, c.now)
	}
	silent := 0
	var nets []netip.Prefix
	var alive []netip.Addr
	for _, p := range c.points {
		if p.Addr.Addr().Is6() == c.round.six && p.silent && !p.main.fresh(c.now) {
			silent++
			if !slices.Contains(nets, p.prefix) {
				nets = append(nets, p.prefix)
			}
			if a := p.Addr.Addr(); p.TCP && !slices.Contains(alive, a) {
				alive = append(alive, a)
			}
		}
	}
	f.asked = silent
	f.blocked = f.mapping.heard == 0 && len(c.round.samples) == 0 &&
		(silent >= enoughSilent && len(nets) >= enoughPrefixes || len(alive) >= enoughAlive)
	f.few, f.one = len(nets) < enoughPrefixes, len(nets) == 1
	if f.mapping.kind == UnknownDependence && !f.blocked && c.found.done {
		return // nobody was there to ask; what was known still stands
	}
	f.public, f.arbitrary = c.publics(samples, liars)
	f.hairpin, f.chosen = c.hairpinOf(&f), c.chosenOf()
	f.six, f.sixWhy = c.sixOf(&f)
	if c.found.done { // what is still being tested is as it was
		if h := c.round.hairpin; !h.came && !h.over && !h.failed {
			f.hairpin = c.found.hairpin
		}
		if f.six == UnknownIPv6 {
			f.six, f.sixWhy = c.found.six, c.found.sixWhy
		}
		if c.asks.any(roleBound) {
			f.chosen = c.found.chosen
		}
	}
	c.round.outside = f.mapping.at
	c.found = f
}

// publics returns the outside addresses that more than one network told.
func (c *Classifier) publics(samples []sample, liars []*point) (list []netip.Addr, arbitrary Tri) {
	type told struct {
		ip  netip.Addr
		net netip.Prefix
	}
	var all []told
	var nets []netip.Prefix
	add := func(ip netip.Addr, net netip.Prefix) {
		if !slices.Contains(nets, net) {
			nets = append(nets, net)
		}
		if t := (told{ip, net}); !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	for _, p := range c.points {
		if p.Addr.Addr().Is6() == c.round.six && p.main.fresh(c.now) && !slices.Contains(liars, p) {
			add(p.main.seen.Addr(), p.prefix)
		}
	}
	for _, s := range samples {
		add(s.out.Addr(), s.prefix)
	}
	for i, t := range all {
		n := 0
		for _, o := range all {
			if o.ip == t.ip {
				n++
			}
		}
		if (n > 1 || len(nets) == 1) && !slices.ContainsFunc(all[:i], func(o told) bool { return o.ip == t.ip }) {
			list = append(list, t.ip)
		}
	}
	order.Sort(list, netip.Addr.Compare)
	switch {
	case len(list) > 1:
		arbitrary = Yes
	case len(samples) >= onePool && !slices.ContainsFunc(c.round.samples, func(s sample) bool { return !slices.Contains(list, s.out.Addr()) }):
		arbitrary = No
	}
	return list, arbitrary
}

// compose makes the verdict from all there is, and tells it when it is new.
func (c *Classifier) compose() {
	f := c.found
	if f.mapping.heard == 0 && !f.blocked && !c.lone(&f) {
		return
	}
	var b Behaviour
	var why []string
	say := func(s string) {
		if s != "" {
			why = append(why, s)
		}
	}
	m, l, p := f.mapping, f.filter, f.ports
	if !f.blocked {
		m = withServer(m, c.serverMapping(), false)
		l = withServer(l, c.server.Filtering, true)
	}
	switch {
	case f.blocked:
		b.Mapping, b.Filtering, b.Confidence = UDPBlocked, UDPBlocked, blockedSure
		if f.few {
			b.Confidence = blockedFew
		}
		if f.one {
			b.Confidence = blockedOne
		}
		say(fmt.Sprintf("none of %d peers answered over UDP", f.asked))
	case m.kind == NoNAT:
		b.Mapping, b.Filtering, b.Ports = NoNAT, l.kind, Preserved
		if l.kind == EndpointIndependent {
			b.Filtering = NoNAT
		}
		b.Confidence = min(m.confidence, orUnsaid(l.kind == UnknownDependence, l.confidence))
		say(m.why)
		say(l.why)
	default:
		b.Mapping, b.Filtering, b.Ports, b.Step, b.Block = m.kind, l.kind, p.rule, p.step, p.block
		b.Confidence = min(
			orUnsaid(m.kind == UnknownDependence, m.confidence),
			orUnsaid(l.kind == UnknownDependence, l.confidence),
			orUnsaid(p.rule == UnknownPorts, p.confidence))
		b.Arbitrary, b.Hairpin, b.Chosen = f.arbitrary, f.hairpin, f.chosen
		say(m.why)
		say(l.why)
		say(p.why)
		if b.Chosen == Yes {
			say("sockets bound within the block kept their port")
		}
		if b.Hairpin == Yes {
			say("a packet to our own outside address came back in")
		}
		if len(f.public) > 1 {
			say("mappings were spread over the addresses " + join(f.public))
		}
	}
	b.Public, b.IPv6 = f.public, f.six
	say(f.sixWhy)
	var s string
	b.Carrier, s = c.carrierOf(&b)
	say(s)
	why = c.life.add(&b, why)
	c.tell(b, why)
}

// lone fills in what a server saw while no peer is there to say anything.
func (c *Classifier) lone(f *found) bool {
	if c.server.Mapping == UnknownDependence || !probeable(c.server.Seen) {
		return false
	}
	f.public = []netip.Addr{c.server.Seen.Addr()}
	return true
}

// serverMapping is what a server's tests say, who can't know that there is no
// NAT where it sees one and the same address.
func (c *Classifier) serverMapping() Dependence {
	if c.server.Mapping == EndpointIndependent && slices.Contains(c.hosts, c.server.Seen.Addr()) {
		return NoNAT
	}
	return c.server.Mapping
}

func orUnsaid(unknown bool, confidence float64) float64 {
	if unknown {
		return unsaid
	}
	return confidence
}

func join(list []netip.Addr) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}

// tell stores a verdict and makes an event of it when it is new.
func (c *Classifier) tell(b Behaviour, why []string) {
	news := !c.have || !sameVerdict(&b, &c.told)
	c.have, c.told, c.why = true, b, why
	if !news {
		return
	}
	c.news = true
	if len(c.events) == maxVerdicts {
		c.events = slices.Delete(c.events, 0, 1)
	}
	b.Public = slices.Clone(b.Public)
	c.events = append(c.events, Verdict{Behaviour: b, Evidence: slices.Clone(why)})
}

func sameVerdict(a, b *Behaviour) bool {
	d := a.Confidence - b.Confidence
	return a.Mapping == b.Mapping && a.Filtering == b.Filtering && a.Ports == b.Ports && a.Step == b.Step &&
		a.Block == b.Block && slices.Equal(a.Public, b.Public) && a.Arbitrary == b.Arbitrary &&
		a.Hairpin == b.Hairpin && a.Carrier == b.Carrier && a.Unreplied == b.Unreplied && a.Replied == b.Replied &&
		a.Absolute == b.Absolute && a.Chosen == b.Chosen && a.IPv6 == b.IPv6 && d < notable && d > -notable
}

// finish ends a round.
func (c *Classifier) finish() {
	c.conclude()
	c.closeRound()
	c.round.stage = stageIdle
	if !c.found.done || c.found.blocked || c.found.mapping.kind == UnknownDependence {
		c.again = c.now.Add(c.pause)
	}
	c.newcomer() // some may have come meanwhile
	if c.news {
		c.pause = againFirst
	} else {
		c.pause = min(2*c.pause, againMost)
	}
	if !c.opt.NoLifetimes && !c.lived && c.found.done && !c.found.blocked {
		c.lived = true
		c.life.start(c)
	}
}

// closeRound closes the round's sockets.
func (c *Classifier) closeRound() {
	for _, t := range c.round.trials {
		if !t.own {
			c.asks.push(Ask{Kind: AskClose, Socket: t.socket})
		}
	}
	c.round.trials, c.round.samples = nil, nil
}

// closeAll closes every socket there is.
func (c *Classifier) closeAll() {
	c.closeRound()
	for _, r := range [...]role{roleUnreplied, roleReplied} {
		c.life.close(c, r)
	}
	for i := range c.life.watch {
		c.life.watch[i].stop(c)
	}
}
