// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package session is what two people's devices have on a link between their
// nodes: proof of who they are, calls, and the protection of a call's media.
//
// The protocol rules are pure: no goroutine, lock, socket or clock. In order of
// use:
//
//   - [NewProof] and [OpenProof] show each side who is behind a link. An asker
//     needs the callee's reach secret, from a ticket.
//   - [Machine] holds all calls of a node: commands and received messages in,
//     messages to send and events out. It knows ringing, busy, cancelling,
//     timeouts, and what happens when both sides call at once.
//   - [Answered] brings [Keys] and [Params], from which [NewStream] makes the
//     call's [Stream]: encoded frames to SRTP datagrams and back, with RTCP
//     reports; [VideoOutbound] and [VideoInbound] do it for a picture, with repair.
//   - [SSRCs] says which call a media datagram belongs to, before anything is
//     done with it; [Early] keeps what overtakes its ANSWER.
//
// The driver around them is [Hub]: it takes messages from the overlay's links,
// runs the Machine on one loop, and moves media between sockets and the tracks
// of each [Call].
//
// # What is proved
//
// An INVITE is sealed to the callee's device and signed over both ends, the
// link's two node IDs included; an ANSWER signs the hash of the INVITE. Media
// keys come from a hybrid of ML-KEM-768 and X25519 that lives for one call, and
// from every byte of both messages. A message that is changed, repeated, too
// old, passed on by a third party or made for someone else is dropped with an
// error that says so, and counted; it leaves nothing behind.
//
// Two clocks may differ by an hour. Inside that window an INVITE works once
// because its call is remembered, not because of the time in it.
//
// # Concurrency
//
// A Machine, a Protect, an Unprotect, either half of a Stream and an Early
// belong to one owner at a time. SSRCs, Hub and Call may be used from anywhere.
//
// # Limits
//
// Eight calls at a time, or as [Options] says; one call with the same Peer; five devices rung at once. A peer may send ten INVITEs in
// a row, then one in three seconds.
//
// Not done yet: transfer, changing keys in mid-call, video.
package session
