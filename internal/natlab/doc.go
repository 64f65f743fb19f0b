// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package natlab is a laboratory of real NATs: hosts in Linux network
// namespaces of their own, behind gateways whose kernel translates (nftables)
// or behind [simnet.Box], the project's own model, where nftables has no such
// behaviour. It is for tests, as root, with iproute2, nftables and util-linux.
//
//	func TestPunch(t *testing.T) {
//		l := natlab.New(t) // skips where there can be none
//		x := l.Public("x")
//		a, b := l.Site("a", natlab.EIMAPDF), l.Site("b", natlab.APDM)
//		conn, err := a.Listen("udp4", ":0") // usable from any goroutine
//		…
//	}
//
// [Need] skips with the reason, [New] makes a [Lab]. [Lab.Public] and
// [Lab.Site] place hosts; the table of kinds is in [Kinds], and [Kind.Traits]
// says what each does. [Lab.Build] takes a [Spec] where no kind will do, with
// [PortMap] one whose gateway runs a real miniupnpd.
// [Host.Listen], [Host.Run] and [Host.Command] open sockets and start programs
// on a host. [Host.Site] leads to its [Site], whose gateway can be rebooted,
// renumbered, cut off and slowed down, and where more hosts can be placed.
//
// # How it is built
//
// Each host and gateway is a namespace without a name: it lives as long as a
// file, socket or process in it, so a killed run leaves nothing behind, and
// labs of one or several processes never meet. Namespaces of a site are
// joined by veth pairs. What leaves a site goes into a TUN device, whose other
// end is the Internet: a router in the test process that carries IP packets
// over the link model of simnet (delay, jitter, loss, reordering, rate, MTU),
// counts down hop limits and routes 45.N.0.0/16 and 2a10:N::/32 to site N.
// Addresses are ordinary unicast ones, since programs treat the documentation
// prefixes as unroutable; nothing can leave, the namespaces have no uplink.
// A box stands between that TUN and its gateway, which only forwards then.
//
//	host ── veth ── gateway (bridge lan0, nftables) ── TUN wan0 ── [box] ── link ── router
//	public host ── TUN wan0 ── link ── router
//
// The process's own namespace, its routes and its rules are never touched.
//
// # Concurrency
//
// Hosts, conns and sites may be used from any goroutine; what can fail the
// test (all that builds or changes the lab) belongs to the test's own one. A
// lab ends with its test.
//
// # Limits
//
// 250 sites a lab, 200 hosts a site. The Internet sends no ICMP errors and
// does not fragment; a box drops what is neither UDP nor TCP, and fragments.
// A Rate counts 28 bytes more than each IP packet has, about an Ethernet frame.
//
// # Not done
//
// Multicast between sites, NAT64.
package natlab
