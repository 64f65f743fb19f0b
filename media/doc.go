// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package media carries sound as encoded Opus frames between an app and a
// session. It never sends: the session numbers, protects and sends what comes
// out of here, and pushes in what it has received and authenticated.
//
// In order of use:
//
//   - [Frame] is one Opus packet with its time; [OpusSamples] measures one.
//   - [Out] is the track an app writes frames to, [In] the one it reads them
//     from: as frames in real time ([In.ReadFrame]), or as PCM at the pace of a
//     sound card ([Sound], with a [Decoder]).
//   - [Out.Advice] tells an encoder what the network can carry now.
//   - [Packetizer] numbers outgoing packets, [Playout] puts incoming ones back
//     in order and in time, [Player] makes sound of them, [Stretch] makes sound
//     shorter or longer.
//   - [Redundancy] and [RED] carry copies of earlier frames (RFC 2198);
//     [Arrivals] and [Receipts] tell the sender what came and when (RFC 8888);
//     [Rate] decides from that what to send.
//   - [Sending] and [Reception] keep the statistics of RTCP; [Stats] gathers
//     all, [MOS] rates a call, [Quality] keeps a minute of it and warns.
//   - [VideoIn] and [VideoOut] are the tracks of a picture: RTP payloads that pass
//     through untouched ([Packet]; [In.ReadPacket] does that for sound).
//     [Missing] asks for what is lost, [VideoRate] decides what to send,
//     [Numbers] joins packets of several sources.
//   - [Keypad] and [Keys] send and hear the keys of a telephone as an [Event]
//     each (RFC 4733), [Level] and [Meter] measure loudness.
//
// An app that writes nothing is silent: Out.Keep sends a tiny packet for it ten
// times a second, and its clock runs on.
//
// In, Out, VideoIn and VideoOut may be used from any goroutine, one reader at a
// time; a Sound from one. All other types are pure: no lock, clock or goroutine;
// their owner calls them in turn and hands in the time.
//
// Limits: payloads up to 1200 bytes; a playout buffer of 64 packets and at most
// 500 ms; copies of frames at most 140 ms old; 12 to 40 kb/s of sound, 19.5 to
// 100 kb/s on the wire. A reader of encoded frames can only leave out or repeat
// whole ones, silence first; a Player stretches by pitch periods of 2.5 to 10
// ms. Pictures are not coded here: up to 1195 bytes a packet, 50 kb/s to 2.5
// Mb/s.
//
// Subpackages: ogg reads and writes files; opus and libopus code.
package media
