// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package nat finds and keeps ways for datagrams between two nodes, most of
// which sit behind routers that let nobody in.
//
// In order of use:
//
//   - [Hosts] lists this machine's own addresses as [Candidate] values;
//   - [Offer] carries them, with a [Cred] to probe us by, through an introducer
//     to the other node, and the other's back;
//   - [Paths] probes all candidates from both sides at once, which opens the
//     routers on the way, chooses a path, keeps it open and changes over when
//     it dies or a better one is found;
//   - [ProbeTag] and [TxID] tell a driver which Paths a datagram is for;
//   - [Watch] tells when this machine's network has become another one;
//   - [Classifier] learns from ordinary peers what the routers do, with the help
//     of their [Vantage], and says so as a [Behaviour];
//   - [MakePlan] turns two behaviours into what each side does to reach the
//     other, and [Puncher] does it, within the [Budget] of the node;
//   - [KeepaliveOf] fits the keepalives to the router, [ServerCheck] asks a STUN
//     server for its opinion;
//   - [Appointments] are how two nodes meet again with nobody else alive.
//
// Probes are STUN binding requests (RFC 8489) used in the manner of ICE
// connectivity checks (RFC 8445), without its roles, priorities and phases:
// paths are checked, chosen and replaced for as long as two nodes know each
// other. Requests and answers are proved with the key of the node that is asked.
//
// # Concurrency
//
// Paths, Classifier, Vantage, Puncher and Appointments are pure machines: no
// goroutine, lock, socket or clock. One goroutine at a time may use each. All
// other functions may be called from anywhere.
//
// # Limits
//
// A Paths holds 16 paths and 64 events. An address that never answered with the
// peer's key gets 3 packets unasked, or 7 over 3 s and then one every 5 s for
// ten minutes if a third side attests it; and in return for each genuine request
// from it an answer and a probe at most, all strangers together 10 a second after
// the first 96. An address is used only after it has answered.
// Whoever sits on a path can hold up probes on it, and thereby make us use
// another; it can't make us use one that doesn't lead to the peer.
//
// Only Linux tells of network changes at once, and can send single datagrams with a
// TTL of their own; elsewhere the interfaces are looked at every 5 s, and first
// shots go out like all others.
package nat
