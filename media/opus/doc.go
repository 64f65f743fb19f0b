// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package opus decodes Opus (RFC 6716) in pure Go, on every platform and
// without cgo. The bits are decoded by github.com/pion/opus; this package
// takes packets apart, bounds what hostile ones can do, and conceals losses.
//
// [NewDecoder] gives a [Decoder] for one stream. Call [Decoder.Decode] for
// each packet in order and [Decoder.Conceal] for each one that is lost.
//
// A Decoder is a plain state machine: no goroutine, no clock, no lock. One
// goroutine at a time may use it.
//
// A packet holds at most 120 ms of sound. Ordinary ones allocate next to
// nothing, random bytes about 6 kB each, of which less than a megabyte stays.
// Concealment is a fade to silence: no extrapolation of speech, no use of
// in-band FEC, no comfort noise.
//
// It cannot encode ([ErrNoEncoder]). media/libopus does, has better
// concealment and FEC, and needs cgo and libopus.
package opus
