// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package ogg reads and writes Opus sound in Ogg files (RFC 3533, RFC 7845),
// without touching the sound itself.
//
// [NewReader] and [Reader.Next] give the packets of a file, [NewWriter] and
// [Writer.WritePacket] make one. [Play] sends a file to a track in real time,
// [Record] writes what a track gives.
//
// A Reader or Writer belongs to one goroutine. Play and Record block and start
// none; their context ends them.
//
// Limits: one mono or stereo Opus stream; streams beside it are skipped and
// streams chained behind it are not read; packets up to 64 KiB. Pages are
// checked by their checksum, damage is reported once and reading goes on behind
// it. There is no seeking. Play ignores pre-skip, gain and the trimming of the
// end, which concern the decoded sound.
package ogg
