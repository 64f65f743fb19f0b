// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"slices"
)

// liars returns the peers whose word contradicts what most others say in a way
// that no NAT explains. Their other answers don't count either.
func (c *Classifier) liars() []*point {
	var heard []*point
	for _, p := range c.points {
		if p.Addr.Addr().Is6() == c.round.six && p.main.fresh(c.now) {
			heard = append(heard, p)
		}
	}
	var out []*point
	m := mappingOf(c.points, c.hosts, c.round.six, c.now)
	for _, p := range heard {
		same := 0
		for _, o := range heard {
			if o.prefix != p.prefix && o.main.seen == p.main.seen {
				same++
			}
		}
		switch m.kind {
		case EndpointIndependent, NoNAT:
			if m.heard >= enoughPrefixes && p.main.seen != m.at {
				out = append(out, p)
			}
		case AddressDependent, AddressAndPortDependent:
			if same > 0 { // networks that should have seen different ports agreed on one
				out = append(out, p)
			}
		}
	}
	for _, p := range c.strange() {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// strange returns the peers that see us at addresses which have nothing to do
// with those that most networks tell: two networks belong together when they
// saw an address in common, as they do even with a pool of them.
func (c *Classifier) strange() (out []*point) {
	type seen struct {
		p  *point
		ip netip.Addr
	}
	var all []seen
	for _, p := range c.points {
		if p.Addr.Addr().Is6() == c.round.six && p.main.fresh(c.now) {
			all = append(all, seen{p, p.main.seen.Addr()})
		}
	}
	for _, s := range c.round.samples {
		all = append(all, seen{s.point, s.out.Addr()})
	}
	var nets []netip.Prefix
	for _, s := range all {
		if !slices.Contains(nets, s.p.prefix) {
			nets = append(nets, s.p.prefix)
		}
	}
	// Grow the set around each address until it holds most networks.
	for _, from := range all {
		ips, in := []netip.Addr{from.ip}, []netip.Prefix(nil)
		for grown := true; grown; {
			grown = false
			for _, s := range all {
				ip, net := slices.Contains(ips, s.ip), slices.Contains(in, s.p.prefix)
				switch {
				case ip && !net:
					in, grown = append(in, s.p.prefix), true
				case net && !ip:
					ips, grown = append(ips, s.ip), true
				}
			}
		}
		if 2*len(in) <= len(nets) {
			continue
		}
		for _, s := range all {
			if !slices.Contains(in, s.p.prefix) && !slices.Contains(out, s.p) {
				out = append(out, s.p)
			}
		}
		return out
	}
	return nil
}

// trusted returns the samples of all but some peers.
func (c *Classifier) trusted(liars []*point) []sample {
	return slices.DeleteFunc(slices.Clone(c.round.samples), func(s sample) bool { return slices.Contains(liars, s.point) })
}
