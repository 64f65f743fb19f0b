// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package lan finds other nodes on the same LAN, and lets itself be found, by
// Multicast DNS (RFC 6762) and DNS-SD (RFC 6763), so that two computers on one
// switch need neither a ticket nor the Internet to form a network.
//
// In order of use:
//
//   - [Config] names the port to announce and the network to look for;
//   - [Start] opens port 5353 beside whoever else uses it and gives a [Service],
//     which announces, asks and answers on every interface by itself;
//   - [Service.Found] yields addresses worth a dial, [Service.Refresh] looks at
//     the interfaces at once, [Service.Dropped] counts what was not taken;
//   - [Service.Close] says goodbye and waits.
//
// # What is said
//
// The service is _p2pos._udp in the domain local, visible to avahi-browse and
// dns-sd. One message has all of it, in the answer section:
//
//	_p2pos._udp.local.            PTR  INSTANCE._p2pos._udp.local.
//	INSTANCE._p2pos._udp.local.   SRV  0 0 PORT INSTANCE.local.
//	INSTANCE._p2pos._udp.local.   TXT  "v=1" "net=TAG"
//	INSTANCE.local.               A, AAAA of the interface it leaves by
//
// INSTANCE is random for each start: nobody's name, nor the computer's, is told
// to the LAN. TAG is the network's tag in eight hexadecimal digits. All
// records live for 120 s, TXT and PTR too (RFC 6762 §10 recommends more for
// these), since a node's key and so its instance ends with the process.
//
// # What is believed
//
// mDNS is not authenticated; what is found is an address to dial, no more: the
// link's handshake proves network and node. A message counts when it comes
// from an address that is on-link for the interface it came by, when its SRV,
// TXT and address records are complete and of this network, and when one of
// its addresses is the one it comes from. So nobody off the LAN is heard, and
// nobody can make the nodes of a LAN dial a third party. Of a node with IPv4
// and IPv6 the IPv4 address is found. There is no memory of half-heard
// services, and what there is has named bounds.
//
// # Why no mDNS library
//
// Those with DNS-SD at hand don't fit: hashicorp/mdns neither announces nor says
// goodbye, serves one interface, logs each bad packet and doesn't wait for its
// goroutines; pion/mdns/v2 neither announces nor says goodbye either, keeps
// every instance name that anybody mentions, and looks at the interfaces once.
// What a node needs of the two RFCs is small; the parser, where bytes from the
// network hurt, is golang.org/x/net/dns/dnsmessage.
//
// # Where it differs from the RFCs
//
//   - No probing for names (RFC 6762 §8.1): they are 80 random bits.
//   - Answers are multicast even when the question asks for unicast (§5.4 says
//     SHOULD), within a second of each other at the earliest (§6).
//   - At most 24 known answers go into a question (§7.1, §7.2); a LAN with more
//     nodes hears a few answers more.
//   - A response with records of a service spread over several messages, which
//     no node sends, is not put together.
//
// # Concurrency
//
// All methods of Service may be called from anywhere. The rules are a pure
// machine of one goroutine; there is one more for each socket and one that
// looks at the interfaces every ten seconds.
//
// # Limits
//
// 16 interfaces, 256 addresses of others, 16 on one host, 64 waiting in Found.
// Loopback and point-to-point interfaces are left alone. A node bound to one
// address of several in the same subnet may speak from another one, and is then
// not found.
//
// # Not done
//
// Wide-area DNS-SD, several networks of one node.
package lan
