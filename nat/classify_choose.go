// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"slices"
)

// only6 reports whether this machine has IPv6 alone.
func (c *Classifier) only6() bool { return c.asked6 && c.has(netip.Addr.Is6) && !c.has(netip.Addr.Is4) }

func (c *Classifier) has(family func(netip.Addr) bool) bool {
	return slices.ContainsFunc(c.hosts, func(a netip.Addr) bool {
		return family(a) && a.IsGlobalUnicast() && !(a.Is6() && a.IsPrivate())
	})
}

// choose returns n peers of a family, from as many networks as there are.
func (c *Classifier) choose(six bool, n int) []*point {
	var list, rest []*point
	for _, p := range c.points {
		switch {
		case p.Addr.Addr().Is6() != six:
		case slices.ContainsFunc(list, func(o *point) bool { return o.prefix == p.prefix }):
			rest = append(rest, p)
		default:
			list = append(list, p)
		}
	}
	list = append(list, rest...)
	return list[:min(len(list), n)]
}

// prefixes counts the networks of the peers.
func (c *Classifier) prefixes() int {
	n := 0
	for i, p := range c.points {
		if p.Addr.Addr().Is6() == c.only6() && !slices.ContainsFunc(c.points[:i], func(o *point) bool { return o.prefix == p.prefix }) {
			n++
		}
	}
	return n
}

// hearing returns the peers that answered a port which never wrote to them.
func (c *Classifier) hearing() []*point {
	list := c.choose(c.round.six, maxPoints)
	liars := c.liars()
	list = slices.DeleteFunc(list, func(p *point) bool { return p.takes != Yes || slices.Contains(liars, p) })
	return list[:min(len(list), maxFirst)]
}

// mate returns the i-th socket of the burst that p has not heard from.
func (c *Classifier) mate(p *point, i int) *trial {
	var list []*trial
	for _, t := range c.round.trials {
		if !t.first && t.bind == 0 && t.seen.IsValid() && t.point != p {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[i%len(list)]
}
