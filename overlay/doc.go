// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package overlay is a node's place in the network: its socket, its
// authenticated QUIC links to other nodes over whichever path is best, and
// the introductions that bring nodes behind NATs together.
//
// New opens an Overlay on the sockets it is given. Dial links to an address,
// Reach finds the nodes of a ticket. What happens comes out of Next: PeerUp,
// PeerDown, Message, PathChanged. A Peer is a node for as long as it is known,
// a Link one connection to it.
//
// # Structure
//
// One loop (internal/drive) owns the core: the peers with their path machines
// (nat.Paths), and the machines of mesh, directory and relay. Goroutines: the loop, the
// acceptor, a reader for each link, a writer while a link has frames to write,
// one for each handshake; Close waits for all of them. Sockets and the path
// socket are internal/sock.
//
// # Concurrency
//
// All methods may be called from anywhere. Those of Peer and Overlay that ask
// the loop wait for it, so they must not be called from code that the loop
// itself waits for; there is none outside this package.
//
// # Limits today
//
// TURN servers are used for calls, not for links of the mesh. In networks of more
// than ten nodes a port search needs two relays, or an introducer and a relay, from different
// networks that see the other side.
package overlay
