// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package webrtc makes a page in a browser the microphone, camera, loudspeaker
// and screen of a node. Nothing is decoded on the way: RTP payloads go through
// untouched, so the browser brings echo cancelling, codecs and playout.
//
// In order of use:
//
//   - [Door] serves the page, to this computer and to nobody but it: it checks
//     Host, Origin, and a token that stands in the fragment of the URL.
//   - [Open] answers the page's SDP offer. The [Edge] it returns has a UDP socket
//     of its own, on the loopback address.
//   - [Edge.Bridge] joins an Edge and the [Tracks] of a call until either ends.
//
// All methods may be called from anywhere; one Bridge runs at a time. Close
// waits for every goroutine.
//
// # What is refused
//
// Data channels (an offer with an application section), more than one sound and
// one picture, simulcast, candidates of the browser (they are not looked at: the
// Edge is an ICE-lite agent, which writes to nobody but who has asked it with the
// password of the answer), and on the socket everything but well-formed binding
// messages, DTLS handshakes, and RTP of the streams the offer names. See SECURITY.md for the holes this keeps shut.
//
// # Limits
//
// One page is one Edge. The picture is VP8, or H264 where [Config] says so. Lips
// and voice are in step as far as both arrive in step. Tried with Chromium;
// Firefox pairs loopback addresses only with each other and needs Config.Listen
// set to another address of this computer.
package webrtc
