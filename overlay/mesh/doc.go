// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package mesh holds the rules by which equal nodes form a network and carry
// each other's messages: which links to want and keep (the table), how a
// message finds its way over them (routing), and how two nodes that share a
// neighbour come to a link (introductions). See design/004-overlay.md.
//
// Everything here is pure: time and randomness are arguments, links are what
// the driver says they are. The same Machine runs in a node and, by the
// hundred thousand, in the simulation.
//
// A driver tells a Machine of links (LinkUp, LinkDown, Measured), gives it what
// neighbours send (Receive) and the time (Advance at Deadline), and sends what
// Poll returns. Events say what it should do: Wanted and Asked want a sealed
// offer (Introduce, Accept or Decline), Agreed a punch that ends in LinkUp or
// Failed, Carry a relayed flow for two neighbours that ends in CarryDown,
// Surplus names a link without a use. Send routes a message, Delivered and
// Answered are its other ends; Reply answers.
//
// # Concurrency
//
// None: one goroutine at a time uses a Machine. Drain Poll and NextEvent after
// every call that takes the time, until both are empty.
//
// # Limits
//
// A table holds 110 links, 60 behind an endpoint-dependent NAT, and as many
// sleeping nodes as admit.go says. Links that it has handed back stay in it
// until LinkDown: how many there are is up to the driver. Clocks of nodes need
// not agree. Not done: a relayed link is not tried directly again, unless the
// driver reports a direct one in its place.
package mesh
