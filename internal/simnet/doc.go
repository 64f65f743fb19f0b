// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package simnet is a small Internet in memory: hosts on access links, NAT
// boxes and firewalls between them, UDP datagrams that are late, lost, doubled
// or filtered. It serves tests and simulations in two ways from one model.
//
// # A pure world
//
// [NewWorld] makes a world with a clock of its own. Hosts are placed with
// [World.Host], boxes with [World.NAT] and hosts behind them with [NAT.Host].
// Protocol machines stand on ports ([Host.Attach], see [Node]) and
// [World.Run] moves time from event to event. One goroutine, no clock, no
// lock: the same program with the same seed gives the same [TraceEvent]s,
// byte for byte. [World.At] scripts what happens to the network meanwhile:
// [Host.SetProfile], [Host.Cut], [Host.AddAddr], [NAT.Reboot].
//
// # Conns for real goroutines
//
// [Start] drives a world by the clock of the process, or of the
// testing/synctest bubble it is called in, and [Net.Listen] gives
// net.PacketConns on its hosts. Machines on ports work there, too. The order of
// goroutines is not ours, so traces of a driven world may differ from run to run.
//
// # Delays
//
// Each host and each box hangs on its network by one access link, and a
// datagram crosses the link of everything it passes: from a host through its
// box to a public host that is link(host) + link(box) + link(public host).
// Hosts on the same network reach each other over their two links.
//
// # Concurrency
//
// A World, and whatever belongs to it, is for one goroutine at a time. Between
// [Start] and [Net.Close] it belongs to the Net, and [Net.Do] is the way to it.
// Net and Conn may be used from anywhere.
//
// # Limits
//
// A world holds at most 4,194,304 events, a box 65,536 sessions, a Conn's
// queue 1,024 datagrams; each is a constant with its reason. Mistakes in the
// description of a network (an address given twice, a port taken, a loss above 1)
// panic, since they are mistakes in a test.
//
// # Not done
//
// No ICMP, no fragments (what is larger than a link's MTU is lost), no hop
// limit, no multicast, no TCP, no port mapping protocol at the box.
package simnet
