// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package media carries sound as encoded Opus frames between an app and a
// session. It never sends: the session numbers, protects and sends what comes
// out of here, and pushes in what it has received and authenticated.
//
// In order of use:
//
//   - [Frame] is one Opus packet with its time; [OpusSamples] measures one.
//   - [Out] is the track an app writes frames to, [In] the one it reads them
//     from, paced in real time.
//   - [Packetizer] numbers outgoing packets, [Playout] puts incoming ones back
//     in order and in time.
//   - [Sending] and [Reception] keep the statistics of RTCP; [Stats] gathers
//     all, and [MOS] rates a call.
//
// In and Out may be used from any goroutine, one reader at a time. All other
// types are pure: no lock, clock or goroutine; their owner calls them in turn
// and hands in the time.
//
// Limits: payloads up to 1200 bytes; a playout buffer of 64 packets and at most
// 500 ms. The buffer corrects its delay by whole frames: it leaves out or
// conceals one at a time, silence first. It does not stretch sound, which needs
// the decoded signal, and so it also leaves in-band FEC to the decoder's owner.
// A muted track sends when frames are written; an app that stops writing stops
// sending. Redundancy (RFC 2198), rate control and video are not there yet.
//
// Subpackages: ogg reads and writes files; opus and libopus code.
package media
