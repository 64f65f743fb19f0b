// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
)

// Mapping is a port that a router keeps open for one of the node's sockets
// (PCP, NAT-PMP, UPnP).
type Mapping struct {
	Method  string         // the protocol's name, for display
	Outside netip.AddrPort // where the router takes packets for us
	Port    uint16         // the socket's own port
	// Middle says that Outside is an address between two NATs: of use to
	// whoever sits behind the outer one too.
	Middle bool
}

// maxMappings: one for each socket, of which a node has two and the second
// port.
const maxMappings = 4

// gateway is what the routers in front of this node said. It is part of the
// core and owned by the loop.
type gateway struct {
	mappings []Mapping
	outside  netip.Addr       // the nearest router's outside address
	hosts    []netip.AddrPort // our own interfaces', as listed at
	listed   time.Time
}

// SetMappings replaces the ports that routers keep open: from now on others
// hear of them, and no more of those before.
func (o *Overlay) SetMappings(list []Mapping) {
	o.loop.Do(o.ctx, func(now time.Time) { o.core.setMappings(now, list) })
}

// SetGateway tells the outside address of the nearest router, as it says
// itself; the zero Addr when that is not known any more.
func (o *Overlay) SetGateway(outside netip.Addr) {
	o.loop.Do(o.ctx, func(now time.Time) {
		o.core.gate.outside = outside
		o.core.obs.class.SetGateway(now, outside)
	})
}

// SecondAddr returns the address of the second port, which only answers tests;
// zero without one.
func (o *Overlay) SecondAddr() (a netip.AddrPort) {
	o.loop.Do(o.ctx, func(time.Time) {
		if i := o.core.obs.second; i != 0 {
			a = o.sock.LocalAddr(i)
		}
	})
	return a
}

func (c *core) setMappings(now time.Time, list []Mapping) {
	list = slices.Clone(list[:min(len(list), maxMappings)])
	if slices.Equal(list, c.gate.mappings) {
		return
	}
	c.gate.mappings = list
	c.tellSecond()
	c.shareSoon(now)
	if n := c.o.nat.Load(); n != nil { // else the first verdict will tell
		c.tellNAT(n.Behaviour, c.obs.class.Evidence())
	}
}

// mapped returns the mapping of the node's own socket of a family.
func (c *core) mapped(ipv4 bool) (Mapping, bool) {
	for _, m := range c.gate.mappings {
		if m.Outside.Addr().Is4() != ipv4 {
			continue
		}
		for i := range c.o.cfg.Conns {
			if a := c.o.sock.LocalAddr(i); a.Port() == m.Port && (a.Addr().Unmap().Is4() == ipv4 || a.Addr() == netip.IPv6Unspecified()) {
				return m, true
			}
		}
	}
	return Mapping{}, false
}

// reachable reports whether strangers out there should get in through a mapping:
// peers see us at its address. Where they see us elsewhere a second NAT follows,
// whatever its address looks like. Without any peer's word the router's counts.
func (c *core) reachable(m Mapping) bool {
	if m.Middle || inside(m.Outside.Addr()) {
		return false
	}
	seen := c.observed()
	return !slices.ContainsFunc(seen, func(a netip.AddrPort) bool { return a.Addr().Is4() == m.Outside.Addr().Is4() }) ||
		slices.ContainsFunc(seen, func(a netip.AddrPort) bool { return a.Addr() == m.Outside.Addr() })
}

// open reports whether the node can be written to by everybody at a mapped
// IPv4 port; plans count on it.
func (c *core) open() bool {
	m, ok := c.mapped(true)
	return ok && c.reachable(m)
}

// tellSecond tells the vantage point where its second port can be written to
// by strangers.
func (c *core) tellSecond() {
	if c.obs.second == 0 {
		return
	}
	own := c.o.sock.LocalAddr(c.obs.second).Port()
	s := c.obs.secondPort(own)
	main, ok := c.mapped(true)
	for _, m := range c.gate.mappings {
		// Named is it only as a second port of the address that the peer knows.
		if m.Port == own && ok && m.Outside.Addr() == main.Outside.Addr() && c.reachable(m) {
			s.Port = m.Outside.Port()
		}
	}
	c.obs.vantage.SetSecond(s)
}

// observed returns where peers see this node, most voices first. A peer can say
// what it likes, so each network has one voice for an address.
func (c *core) observed() []netip.AddrPort {
	voices := make(map[netip.AddrPort][]netip.Prefix)
	for _, p := range c.order {
		from := origin(p.state.active.Remote.Addr())
		for _, o := range p.state.outside {
			if o.addr.IsValid() && from.IsValid() && !slices.Contains(voices[o.addr], from) {
				voices[o.addr] = append(voices[o.addr], from)
			}
		}
	}
	if s := &c.servers; s.seen.addr.IsValid() {
		if from := origin(s.at.Addr()); !slices.Contains(voices[s.seen.addr], from) {
			voices[s.seen.addr] = append(voices[s.seen.addr], from)
		}
	}
	var out []netip.AddrPort
	for a := range voices {
		out = append(out, a)
	}
	order.Sort(out, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(len(voices[b]), len(voices[a])), a.Compare(b))
	})
	return out
}

// addresses returns where others may reach this node, best first: ports that
// routers keep open, what most networks that peers are in see, then the
// interfaces' own addresses, which outside ones never push out.
func (c *core) addresses() []netip.AddrPort {
	hosts := c.hosts()
	var out, middle []netip.AddrPort
	add := func(to []netip.AddrPort, a netip.AddrPort) []netip.AddrPort {
		if slices.Contains(hosts, a) || slices.Contains(out, a) || slices.Contains(to, a) {
			return to
		}
		return append(to, a)
	}
	for _, ipv4 := range []bool{true, false} {
		switch m, ok := c.mapped(ipv4); {
		case ok && c.reachable(m):
			out = add(out, m.Outside)
		case ok:
			middle = add(middle, m.Outside)
		}
	}
	for _, a := range c.observed() {
		if len(out) < maxOutside {
			out = add(out, a)
		}
	}
	room := max(maxCandidates-len(out)-len(hosts), 1)
	out = append(out, middle[:min(len(middle), room)]...)
	out = append(out, hosts...)
	return out[:min(len(out), maxCandidates)]
}

// hosts returns the addresses of the node's own interfaces. Listing them takes
// the system a while, and they are asked for in each offer.
func (c *core) hosts() []netip.AddrPort {
	if g := &c.gate; g.listed.IsZero() || c.latest.Sub(g.listed) >= hostsLife {
		g.hosts, g.listed = c.o.hosts(), c.latest
	}
	return c.gate.hosts
}

// hostsLife is how long a list of interfaces is believed; where the system tells
// of changes it ends at once.
const hostsLife = 2 * time.Second

// maxOutside bounds how many outside addresses are offered: behind an
// endpoint-dependent NAT every peer sees another one.
const maxOutside = 3
