// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net"
	"net/netip"
)

// Hosts returns the addresses of this machine at which a socket bound to bound
// may be reached: at most MaxCandidates, in a fixed order. A socket bound to
// [::] is taken to receive IPv4 as well, as Go opens it. It asks the operating
// system and may block for as long as that takes.
func Hosts(bound netip.AddrPort) ([]Candidate, error) {
	list, err := interfaces()
	if err != nil {
		return nil, err
	}
	return hosts(bound, list), nil
}

// OnLink returns the IPv6 prefixes that are shared by all computers of a LAN of
// this machine, among those at which a socket bound to bound may be reached: at
// most MaxCandidates. In IPv6 neighbours have addresses of the whole Internet,
// so a path between them can't be told from its address alone (KindOf). It asks
// the operating system and may block for as long as that takes.
func OnLink(bound netip.AddrPort) ([]netip.Prefix, error) {
	list, err := interfaces()
	if err != nil {
		return nil, err
	}
	return onLink(bound, list), nil
}

func interfaces() (list []iface, err error) {
	sys, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("nat: listing interfaces: %w", err)
	}
	for _, s := range sys {
		addrs, err := s.Addrs()
		if err != nil {
			continue // it went away between the two calls
		}
		i := iface{name: s.Name, flags: s.Flags}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				i.addrs = append(i.addrs, p.Addr())
				i.bits = append(i.bits, p.Bits())
			}
		}
		list = append(list, i)
	}
	return list, nil
}
