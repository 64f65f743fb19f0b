// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"fmt"
	"net"
	"net/netip"
)

// route is a default route of the system.
type route struct {
	gateway netip.Addr // an IPv6 link-local one with its zone
	iface   int        // index
	metric  uint32
}

// systemGateway returns the router by which datagrams leave this machine. A
// VPN that took over the default route has none, rightly: what a router in
// front of it would let in could not be answered the same way.
func systemGateway(v6 bool) (netip.Addr, error) {
	source, err := localAddr(faraway(v6))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", ErrNoGateway, err)
	}
	routes, err := defaultRoutes(v6)
	if err != nil {
		return guess(source)
	}
	best := -1
	ours := interfaceOf(source)
	for i, r := range routes {
		if ours != nil && r.iface != 0 && r.iface != ours.Index {
			continue
		}
		if best < 0 || r.metric < routes[best].metric {
			best = i
		}
	}
	if best < 0 {
		return netip.Addr{}, ErrNoGateway
	}
	return routes[best].gateway, nil
}

// guess returns the first address of our /24, which is most home routers'.
func guess(source netip.Addr) (netip.Addr, error) {
	if !source.Is4() || !source.IsPrivate() {
		return netip.Addr{}, ErrNoGateway
	}
	a := source.As4()
	a[3] = 1
	if netip.AddrFrom4(a) == source {
		return netip.Addr{}, ErrNoGateway
	}
	return netip.AddrFrom4(a), nil
}

// faraway is an address that only a default route leads to (RFC 5737, 3849).
func faraway(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 15: 1})
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 1})
}

// localAddr returns the address that datagrams to a host leave from. Nothing
// is sent. A mapping for IPv6 must name a global address, so a link-local
// router is replaced by a host behind it.
func localAddr(to netip.Addr) (netip.Addr, error) {
	if to.Is6() && to.IsLinkLocalUnicast() {
		to = faraway(true)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, pcpPort)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("portmap: local address: %w", err)
	}
	defer conn.Close()
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if a.IsUnspecified() {
		return netip.Addr{}, ErrNoGateway
	}
	return a, nil
}
