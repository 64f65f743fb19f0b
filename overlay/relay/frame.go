// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"

	"github.com/p2pos/p2pos/internal/wire"
)

// A relayed frame:
//
//	 0        1                                   5
//	+--------+--------+--------+--------+--------+----------------- - -
//	| 4      | label (32)                        | inner datagram
//	+--------+--------+--------+--------+--------+----------------- - -
//
// The label has a meaning on one link only. A relay puts the next link's in
// its place, so a frame is 5 bytes longer at any number of hops.
const (
	firstByte = 4

	// HeaderLen is what a relayed frame adds to its inner datagram.
	HeaderLen = wire.RelayHeader

	// MaxFrame bounds a frame: what internal/sock reads at most.
	MaxFrame = 1500
)

// Label names a flow on one link, in both directions:
//
//	bit 31      1 = both ends have computed it from a ring's trace (ShortLabel)
//	bit 30      of the others, who gave it out: 0 = the smaller node ID of the two
//	bits 29–0   random, so that whoever forges a source address must guess them
//
// So labels that the two ends of a link give out at the same time can't meet.
type Label uint32

const (
	shortBit  Label = 1 << 31
	largerBit Label = 1 << 30
)

// LabelOf returns a frame's label; ok is false when b is no relayed frame.
func LabelOf(b []byte) (l Label, ok bool) {
	if len(b) <= HeaderLen || len(b) > MaxFrame || b[0] != firstByte {
		return 0, false
	}
	return Label(binary.BigEndian.Uint32(b[1:])), true
}

// AppendFrame appends a frame.
func AppendFrame(b []byte, l Label, inner []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, firstByte), uint32(l))
	return append(b, inner...)
}

// nested reports whether a frame's inner datagram is a relayed frame again,
// and whether it is a whole one that nests no further.
func nested(b []byte) (yes, ok bool) {
	if b[HeaderLen] != firstByte {
		return false, true
	}
	return true, len(b) > 2*HeaderLen && b[2*HeaderLen] != firstByte
}
