// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package ogg reads and writes Opus sound in Ogg files (RFC 3533, RFC 7845),
// without touching the sound itself.
//
// [NewReader] and [Reader.Next] give the packets of a file, [NewWriter] and
// [Writer.WritePacket] make one. [Play] sends a file to a track in real time,
// [Record] writes what a track gives. A [Tape] records one or both sides of a
// call while they run; [Recorder] is the rule behind it.
//
// Two sides make one file with one voice on each ear. That is a stereo file of
// two mono streams (RFC 7845 §5.1.1.2), not two streams side by side in one
// file, of which players play only the first, and not a mix, which would have
// to be decoded and encoded again.
//
// A Reader, Writer or Recorder belongs to one goroutine, a Tape to all. Play and
// Record block and start none; their context ends them.
//
// Limits: a Reader reads one mono or stereo Opus stream, which a recording of
// two sides is not; streams beside it are skipped and streams chained behind it
// are not read; packets up to 64 KiB. Pages are checked by their checksum,
// damage is reported once and reading goes on behind it. There is no seeking.
// Play ignores pre-skip, gain and the trimming of the end, which concern the
// decoded sound.
package ogg
