// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package sock is the node's socket: it tells datagrams apart by their first
// byte, keeps malformed STUN away from every parser, and hides from QUIC and
// media that a peer may be reached over several paths which come and go.
//
//   - Socket owns the local connections and reads them.
//   - Path is one way to a peer: a local connection and a remote address.
//   - Peer is the other end as QUIC knows it: one stable virtual address, the
//     paths its packets leave on, and the paths they may come from.
//   - Socket.QUIC is the path socket, the net.PacketConn for quic.Transport.
//
// A datagram from a path that is bound to a peer is shown to QUIC under that
// peer's virtual address. From unknown sources only QUIC Initials get in, as
// provisional peers, few and for seconds; Confirm keeps one, or makes it an
// alias of a peer that was known before. Everything else from strangers is
// dropped and counted, and costs no memory.
//
// All methods may be called from any goroutine. Callbacks of Config run on a
// reader's goroutine: they must not block, keep the slice they are given, or
// call Socket.Close.
//
// Not here: which path is best (package nat), relayed frames (overlay/relay),
// path MTU discovery (packets are 1,200 bytes everywhere).
package sock
