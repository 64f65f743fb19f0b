// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxAsked peers see the node's own socket: five silent ones mean that UDP
	// is blocked, and two liars among five don't matter.
	maxAsked = 5
	// maxFirst of them are asked to test the filter, maxFirst6 that of IPv6.
	maxFirst  = maxAsked
	maxFirst6 = 3
	// maxFilters of those do: three silent ones are enough.
	maxFilters = 4
	// maxSeconds of their second ports: one tells, more can be believed.
	maxSeconds = maxAsked
	// maxPortFilters of them write from there, which one honest one proves.
	maxPortFilters = 3
	// hesitate is how long the burst waits for the last answers to the first
	// questions, which show who lies.
	hesitate = 350 * time.Millisecond
	// spreadTrials sockets in one burst, two at least for each peer, show a
	// sequence even when two peers of five lie.
	spreadTrials = 2 * maxFirst
	// blockSamples ports tell the bounds of a block: see block.
	blockSamples = 20
	// boundTrials sockets are bound within it: some of the ports may be taken by
	// other hosts.
	boundTrials = 4
	maxTrials   = maxFirst + maxFirst6 + blockSamples + boundTrials
	// maxSamples is one for each probe.
	maxSamples = maxProbes
)

// stage is how far a round has come.
type stage uint8

const (
	stageIdle      stage = iota
	stageAsking          // our own socket, and the first fresh ones
	stageSpreading       // a burst of fresh sockets
	stageMeasuring       // whatever is left
)

// round is one set of tests.
type round struct {
	stage    stage
	six      bool           // about IPv6, since there is nothing else
	prefixes int            // networks of peers when it began
	probes   int            // sent
	hurry    time.Time      // the burst need not wait for everybody from then on
	outside  netip.AddrPort // our own socket's, as most see it
	trials   []*trial
	samples  []sample
	hairpin  hairpin
}

// trial is a fresh socket.
type trial struct {
	socket  int
	point   *point // the peer it wrote to first
	own     bool   // the node's own socket instead, see besides
	first   bool   // serves the filter, so it writes to nobody else
	bind    uint16 // the port it was bound to, if that was the point
	six     bool
	order   int
	retried bool // its place in the order is not certain
	over    bool
	port    uint16
	seen    netip.AddrPort

	askedPort, askedPeer bool
	fromPort, fromPeer   outcome
}

// outcome is that of a filter test.
type outcome uint8

const (
	untested outcome = iota
	missed
	came
)

// hairpin is the test of that name.
type hairpin struct{ begun, came, over, failed bool }

// sample is one new mapping.
type sample struct {
	in      uint16
	out     netip.AddrPort
	point   *point       // that saw it
	prefix  netip.Prefix // its network
	order   int          // in which it was asked for; <0 = not certain
	another bool         // of a socket that had one
}

// progress takes the round as far as it can go now.
func (c *Classifier) progress() {
	for moved := true; moved; {
		moved = false
		switch c.round.stage {
		case stageAsking:
			if c.ready() {
				c.round.stage = stageSpreading
				c.spread()
				moved = true
			}
		case stageSpreading:
			if !c.asks.any(roleTrial) {
				c.round.stage = stageMeasuring
				c.measure()
				moved = true
			}
		case stageMeasuring:
			c.conclude()
			c.testHairpin()
			if !c.open() {
				c.finish()
			}
		}
	}
	c.life.step(c)
}

// start begins a round that is due. Only Advance does, so that all that is
// told at a time is heard first.
func (c *Classifier) start() {
	if c.round.stage != stageIdle || c.again.IsZero() || c.now.Before(c.again) {
		return
	}
	c.again = time.Time{}
	if len(c.points) > 0 {
		c.begin()
	}
}

// begin starts a round.
func (c *Classifier) begin() {
	c.round = round{stage: stageAsking, prefixes: c.prefixes(), six: c.only6(), hurry: c.now.Add(hesitate)}
	for _, p := range c.points {
		if c.began { // what made us ask again must not speak twice
			p.main, p.second = sight{}, sight{}
		}
		p.silent, p.takes = false, Unknown
	}
	c.began, c.news = true, false
	chosen := c.choose(c.round.six, maxAsked)
	for _, p := range chosen {
		if !p.main.fresh(c.now) {
			c.ask(asked{role: roleMain, point: p})
		}
	}
	for _, p := range chosen {
		c.askSecond(p)
	}
	for _, p := range chosen[:min(len(chosen), maxFirst)] {
		c.try(roleFirst, p, 0)
	}
	if !c.round.six && c.has(netip.Addr.Is6) {
		for _, p := range c.choose(true, maxFirst6) {
			c.try(roleFirst, p, 0)
		}
	}
}

// askSecond writes to a peer's second port, where there is one.
func (c *Classifier) askSecond(p *point) {
	if c.round.stage == stageIdle || p.Second == 0 || p.second.fresh(c.now) || p.Addr.Addr().Is6() != c.round.six {
		return
	}
	n := 0
	for _, o := range c.points {
		if o.second.fresh(c.now) {
			n++
		}
	}
	for i := range c.asks.open {
		if q := &c.asks.open[i]; q.role == roleSecond {
			if n++; q.point == p {
				return
			}
		}
	}
	if n < maxSeconds {
		c.ask(asked{role: roleSecond, point: p, Ask: Ask{To: netip.AddrPortFrom(p.Addr.Addr(), p.Second)}})
	}
}

// try opens a fresh socket and probes p from it.
func (c *Classifier) try(why role, p *point, bind uint16) {
	if len(c.round.trials) >= maxTrials {
		return
	}
	t := &trial{
		socket: c.sockets + 1, point: p, first: why == roleFirst, bind: bind,
		six: p.Addr.Addr().Is6(), order: len(c.round.trials),
	}
	if c.ask(asked{role: why, point: p, trial: t, Ask: Ask{Socket: t.socket, Bind: bind}}) {
		c.sockets++
		c.round.trials = append(c.round.trials, t)
	}
}

// tried takes what came to a fresh socket.
func (c *Classifier) tried(q asked, r Reply) {
	t := q.trial
	q.point.takes = Yes
	if q.role != roleExtra {
		t.seen, t.port = r.Seen, r.Port
	}
	if t.bind == 0 && t.six == c.round.six && len(c.round.samples) < maxSamples {
		s := sample{in: r.Port, out: r.Seen, point: q.point, prefix: q.point.prefix, order: t.order, another: q.role == roleExtra}
		if t.retried || s.another {
			s.order = -1
		}
		c.round.samples = append(c.round.samples, s)
	}
	if q.role != roleFirst {
		return
	}
	aim := Ask{Socket: t.socket}
	peer, port, peers, ports := c.passed(t.six)
	if q.point.able.OtherPeer && !peer && peers < maxFilters {
		aim.Want = FromOtherPeer
		limit := 2
		if c.round.prefixes < enoughPrefixes {
			limit = askTries
		}
		t.askedPeer = c.ask(asked{role: rolePeer, point: q.point, trial: t, limit: limit, Ask: aim})
	}
	if q.point.able.OtherPort && !peer && !port && ports < maxPortFilters {
		aim.Want = FromOtherPort
		t.askedPort = c.ask(asked{role: rolePort, point: q.point, trial: t, Ask: aim})
	}
}

// passed reports what got through the filter, another peer's answer or that of
// a second port, and how many peers were asked for each.
func (c *Classifier) passed(six bool) (peer, port bool, peers, ports int) {
	for _, t := range c.round.trials {
		if t.six != six {
			continue
		}
		peer = peer || t.fromPeer == came
		port = port || t.fromPort == came
		if t.askedPeer {
			peers++
		}
		if t.askedPort {
			ports++
		}
	}
	return peer, port, peers, ports
}

// ready reports whether enough is known of who hears strangers.
func (c *Classifier) ready() bool {
	var nets []netip.Prefix
	for _, t := range c.round.trials {
		if t.seen.IsValid() && t.six == c.round.six && !slices.Contains(nets, t.point.prefix) {
			nets = append(nets, t.point.prefix)
		}
	}
	return len(nets) >= enoughPrefixes && !c.now.Before(c.round.hurry) || !c.asks.any(roleFirst, roleMain)
}

// spread sends a burst from fresh sockets, in one run to each peer: so a peer
// that lies about its run leaves the others' whole.
func (c *Classifier) spread() {
	list := c.hearing()
	if len(list) == 0 {
		c.besides()
	}
	for i := 0; i < spreadTrials && len(list) > 0; i++ {
		c.try(roleTrial, list[i*len(list)/spreadTrials], 0)
	}
}

// besides tests the filter of the node's own socket, where no peer hears
// strangers: all may be behind NATs themselves. Only what comes from addresses
// that it never wrote to counts.
func (c *Classifier) besides() {
	n := 0
	for _, p := range c.choose(c.round.six, maxPoints) {
		if !p.main.fresh(c.now) || n == maxFilters {
			continue
		}
		t := &trial{point: p, first: true, six: c.round.six, own: true}
		aim := asked{point: p, trial: t}
		if p.able.OtherPeer {
			aim.role, aim.Want = rolePeer, FromOtherPeer
			t.askedPeer = c.ask(aim)
		}
		if p.able.OtherPort && p.Second == 0 {
			aim.role, aim.Want = rolePort, FromOtherPort
			t.askedPort = c.ask(aim)
		}
		if t.askedPeer || t.askedPort {
			c.round.trials = append(c.round.trials, t)
			n++
		}
	}
}

// measure looks closer where ports come from a block.
func (c *Classifier) measure() {
	list := c.hearing()
	found := portRule(c.trusted(c.liars()))
	if found.rule != BlockPorts || len(list) == 0 {
		return
	}
	m := mappingOf(c.points, c.hosts, c.round.six, c.now)
	more := blockSamples - len(c.round.samples)
	for i := 0; i < more; i++ {
		p := list[i%len(list)]
		t := c.mate(p, i/len(list))
		if t == nil || m.kind == EndpointIndependent || m.kind == UnknownDependence {
			c.try(roleTrial, p, 0)
			continue
		}
		// A new mapping of a socket we have: none is opened for it.
		c.ask(asked{role: roleExtra, point: p, trial: t, Ask: Ask{Socket: t.socket}})
	}
	for i := range boundTrials {
		s := c.round.samples[i*len(c.round.samples)/boundTrials]
		port := int(s.out.Port()) + 1
		if port > int(found.block[1]) {
			port = int(found.block[0])
		}
		c.try(roleBound, list[i%len(list)], uint16(port))
	}
}
