// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import "net/netip"

// Where sites have their addresses: each a /16 and a /32 of its own, so that
// they look like different networks to whoever counts prefixes.
const (
	maxSites     = 250
	maxHosts     = 200 // of a site: one decimal octet with room to spare
	maxAddresses = 16  // a site's outside ones at a time

	firstOutside = 2 // 45.N.10.2; more follow
	lastOutside  = 250
	firstHost    = 10 // 192.168.N.10
)

// siteOf returns the number of the site that an address belongs to, 0 for none.
func siteOf(a netip.Addr) int {
	if a.Is4() {
		if b := a.As4(); b[0] == 45 {
			return int(b[1])
		}
		return 0
	}
	if b := a.As16(); b[0] == 0x2a && b[1] == 0x10 && b[2] == 0 {
		return int(b[3])
	}
	return 0
}

// outside returns an address of site n on the Internet's side.
func outside(n, host int) netip.Addr { return netip.AddrFrom4([4]byte{45, byte(n), 10, byte(host)}) }

// inside returns an address in the LAN of site n.
func inside(n, host int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, byte(n), byte(host)}) }

// carrier returns an address between the two NATs of site n (RFC 6598).
func carrier(n, host int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(n), byte(host)}) }

// six returns an IPv6 address of site n in its subnet.
func six(n, subnet, host int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x2a, 1: 0x10, 3: byte(n), 7: byte(subnet), 15: byte(host)})
}
