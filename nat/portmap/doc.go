// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package portmap asks the router in front of this machine to let strangers'
// datagrams through to one UDP socket: by PCP (RFC 6887), NAT-PMP (RFC 6886)
// or UPnP IGD 1 and 2, whichever the router speaks.
//
// In order of use:
//
//   - [Config] names the socket's local address; the rest has defaults;
//   - [Open] starts a [Client], which finds the router, makes a mapping for
//     IPv4 and a pinhole for IPv6, renews them, makes them again after the
//     router forgot them or the network changed, and never gives up;
//   - [Client.Next] tells what happens: [Mapped], [Lost], [External], [Failed];
//     [Client.Mappings] is what holds now, [Client.Stats] what bad input came;
//   - [Client.Close] withdraws every mapping.
//
// The three protocols race with a head start for the better one: PCP, then
// NAT-PMP, then UPnP. When a better one succeeds late it takes over, and the
// other's mapping is withdrawn. An external address that is itself private
// ([Mapping.Layer2]) means that a second NAT follows: no way in from the
// Internet, but one for whoever sits behind the same second NAT.
//
// # Trust
//
// A router may lie: an external address is a candidate to be probed, no more.
// Only the router's own address is ever spoken to, whatever its
// descriptions and redirects say; names are never resolved and proxies never
// used. Answers are bounded in size, number and time, and bad ones are counted.
//
// # Concurrency
//
// All methods of Client may be called from anywhere. The rules are a pure
// machine of one goroutine.
//
// # Limits
//
// One UDP port, one router for each address family, one local address of each.
// A UPnP device other than the default router is ignored. Answers come within
// seconds or not at all; a router without any of the protocols is asked again
// after 30 s, and ever more rarely up to once in half an hour.
//
// # Not done yet
//
// TCP, port sets (RFC 7753), PCP servers named by DHCP (RFC 7291) and PCP's
// THIRD_PARTY option. On Android, and where the routing table can't be read,
// the router is guessed to be the first address of the local /24, and IPv6
// pinholes are left out.
package portmap
