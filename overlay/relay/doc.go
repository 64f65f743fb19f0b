// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package relay lets ordinary nodes carry each other's datagrams: two
// neighbours of a node that can't reach each other yet talk through it, under
// limits that it sets itself. See design/005-relay.md.
//
// In order of use:
//
//   - [Limits] is what a node gives to others;
//   - [Forwarder] is the packet path: a frame comes in from one neighbour, its
//     label is changed, and it goes out to another one;
//   - [Server] decides who may have a flow, and tells the driver of the
//     Forwarder with [FlowUp] and [FlowDown];
//   - [Client] asks neighbours for flows, answers when others ask for one to
//     this node, and keeps what it has;
//   - [Conn] is the net.PacketConn through which the node's socket uses its own
//     flows: each is an address there, and a path like any other;
//   - [Choose] says which relays a call should use.
//
// A driver gives a message that came over a link to Server.Receive, and to
// Client.Receive when that returns false. It opens a flow of the node's own
// ([Opened]) in the Forwarder, with the zero peer as far end, and in the Conn.
// A frame from a neighbour goes to Forwarder.Forward, and then to the peer that
// it returns or, when that is the zero one, to Conn.Deliver.
//
// A relay sees two neighbours, sizes and times, and nothing of what it carries:
// QUIC and SRTP go from end to end. It sends a frame to nobody but a neighbour
// that agreed to get it, so it can be aimed at nobody.
//
// # Concurrency
//
// Server and Client are pure machines: no goroutine, lock, socket or clock; one
// goroutine at a time may use each. Choose is a pure function. Forwarder and
// Conn may be used from any goroutine.
//
// # Limits
//
// By default 2 calls, 32 relayed links and 8 flows that rings left, 1 Mbit/s
// together. Every flow is promised a rate that the others can't take from it,
// and may have more while there is room. See Limits and the constants.
//
// # Not done yet
//
// Nothing is paid back: who relays much for others gets no better service for it.
package relay
