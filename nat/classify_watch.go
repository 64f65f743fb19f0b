// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"slices"
)

// sighted stores a sighting and asks again when it does not fit the verdict.
func (c *Classifier) sighted(p *point, to *sight, seen netip.AddrPort, port uint16) {
	changed := to.seen != seen
	*to = sight{seen: seen, port: port, at: c.now}
	p.silent = false
	if changed && c.have && c.round.stage == stageIdle && !c.fits(seen) {
		c.doubt()
	}
}

// fits reports whether a sighting of our own socket is what the verdict lets
// expect. An endpoint-dependent NAT may show any port.
func (c *Classifier) fits(seen netip.AddrPort) bool {
	if m := c.told.Mapping; m == EndpointIndependent || m == NoNAT {
		return seen == c.round.outside || seen.Addr().Is6() != c.round.six
	}
	return c.told.Mapping != UDPBlocked && slices.Contains(c.told.Public, seen.Addr())
}

// doubt has a round begin, though not at once.
func (c *Classifier) doubt() {
	at := c.now.Add(c.pause)
	if c.again.IsZero() || at.Before(c.again) {
		c.again = at
	}
}
