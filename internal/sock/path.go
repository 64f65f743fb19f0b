// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"fmt"
	"net"
	"net/netip"
)

// Path is one way for datagrams to reach a peer. It is comparable.
type Path struct {
	Local  int            // index of the local connection in Config.Conns
	Remote netip.AddrPort // where datagrams go to and come from; never an IPv4-mapped IPv6 address
}

// String returns the path in the form "0>192.0.2.1:4000".
func (p Path) String() string { return fmt.Sprintf("%d>%v", p.Local, p.Remote) }

// canonical returns p with an unmapped remote address, so that one path has
// one key.
func (p Path) canonical() Path {
	p.Remote = unmap(p.Remote)
	return p
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// addrPort returns the address of a, unmapped, or the zero value when a is not
// a UDP address.
func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok || u == nil {
		return netip.AddrPort{}
	}
	return unmap(u.AddrPort())
}
