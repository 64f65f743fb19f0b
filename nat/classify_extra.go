// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// hairpinPairs sockets with different peers, so that one that told us a
	// wrong port isn't the only one.
	hairpinPairs = 2
	// hairpinTries: the second finds the filter open that the first one opened.
	hairpinTries = 2
	// hairpinWait is the time a packet may take to our own router and back.
	hairpinWait = 200 * time.Millisecond
)

// testHairpin writes from a fresh socket to our own outside address and, since
// a filter may want that, back.
func (c *Classifier) testHairpin() {
	h := &c.round.hairpin
	if h.begun || !c.found.done || c.round.six || c.found.blocked || c.found.mapping.kind == NoNAT || !c.settled() {
		return
	}
	h.begun = true
	own := c.found.mapping.at
	liars := c.liars()
	for _, p := range c.points {
		if !own.IsValid() && p.main.fresh(c.now) && !p.Addr.Addr().Is6() && !slices.Contains(liars, p) {
			own = p.main.seen
		}
	}
	// A single peer's word is not enough to write to an address.
	if !slices.Contains(c.found.public, own.Addr()) {
		h.failed = true
		return
	}
	var used []*point
	for _, t := range c.round.trials {
		if len(used) < hairpinPairs && !t.first && !t.six && t.bind == 0 && slices.Contains(c.found.public, t.seen.Addr()) &&
			!slices.Contains(used, t.point) && !slices.Contains(liars, t.point) {
			used = append(used, t.point)
			c.ask(asked{role: roleHairpin, wait: hairpinWait, limit: hairpinTries, Ask: Ask{Kind: AskHairpin, Socket: t.socket, To: own}})
			c.ask(asked{role: roleHairpin, wait: hairpinWait, limit: hairpinTries, Ask: Ask{Kind: AskHairpin, To: t.seen}})
		}
	}
	h.failed = len(used) == 0
}

// hairpinOf reads the test. Silence says something only where no filter can be
// the reason.
func (c *Classifier) hairpinOf(f *found) Tri {
	h := c.round.hairpin
	switch {
	case h.came:
		return Yes
	case !h.over || h.failed:
		return Unknown
	case f.mapping.kind == EndpointIndependent:
		return No
	}
	// What we write to our own address gets a mapping of its own, so the
	// filter of the one that is written to stays shut; and without a filter it
	// would be one peer's word that the address was ours.
	return Unknown
}

// chosenOf tells whether sockets bound within the block kept their port.
func (c *Classifier) chosenOf() Tri {
	kept, all := 0, 0
	for _, t := range c.round.trials {
		if t.bind != 0 && t.seen.IsValid() {
			all++
			if t.seen.Port() == t.bind {
				kept++
			}
		}
	}
	switch {
	case kept > 1:
		return Yes // once may be chance
	case kept == 0 && all > 1:
		return No
	}
	return Unknown
}

// sixOf tells what there is of IPv6.
func (c *Classifier) sixOf(f *found) (IPv6, string) {
	filter := f.filter
	if !c.round.six {
		if !c.asked6 {
			return UnknownIPv6, ""
		}
		if !c.has(netip.Addr.Is6) {
			return NoIPv6, ""
		}
		filter = filterOf(c.round.trials, true)
		tried, heard := 0, 0
		for _, t := range c.round.trials {
			if t.six {
				tried++
				if t.seen.IsValid() {
					heard++
				}
			}
		}
		if heard == 0 && tried >= 2 && !c.open() {
			return NoIPv6, fmt.Sprintf("this machine has IPv6, but none of %d peers answered over it", tried)
		}
	}
	switch filter.kind {
	case EndpointIndependent:
		return OpenIPv6, "IPv6: " + filter.why
	case UnknownDependence:
		return UnknownIPv6, ""
	}
	if !c.round.six && c.asks.any(rolePeer) {
		return UnknownIPv6, ""
	}
	return FirewalledIPv6, "IPv6: " + filter.why
}

// carrierBlock is the largest block of ports that carriers give to one customer
// (see classify_ports.go). A router of one household has
// all ports.
const carrierBlock = 16384

// carrierOf looks for a second NAT beyond the gateway's, or one that a carrier has
// in its place.
func (c *Classifier) carrierOf(b *Behaviour) (Tri, string) {
	inside := slices.ContainsFunc(c.hosts, carrierInside)
	switch {
	case b.Mapping == NoNAT && len(c.hosts) > 0:
		return No, ""
	case len(b.Public) == 0:
		return Unknown, ""
	case inside && !slices.ContainsFunc(b.Public, carrierInside):
		return Yes, "this machine has a carrier's inside address (100.64.0.0/10)"
	case !c.gate.IsValid() || c.gate.Is4() != b.Public[0].Is4():
		if size := (Range{b.Block[0], b.Block[1]}).Size(); b.Ports == BlockPorts && size <= carrierBlock {
			return Yes, fmt.Sprintf("%d ports are what a carrier leaves a customer of an address that many share", size)
		}
		return Unknown, ""
	case slices.Contains(b.Public, c.gate):
		return No, "the router's own outside address is what peers see"
	}
	return Yes, fmt.Sprintf("the router's outside address is %v, but peers see %s", c.gate, join(b.Public))
}
