// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/p2pos/p2pos/identity"
)

// Salt is a secret that the two ends of a link share, and nobody else: bytes
// of its TLS exporter. It keeps those who saw a ring's trace elsewhere from
// guessing the labels it left on this link.
type Salt [16]byte

// ShortLabel returns the label of the flow that a ring leaves on a link which
// it passed from one node to the other. Both ends compute it, so nobody has to
// ask for it:
//
//	first 31 bits of SHA-256("p2pos short flow v1" || salt || trace || from || to)
func ShortLabel(salt Salt, trace [16]byte, from, to identity.NodeID) Label {
	h := sha256.New()
	h.Write([]byte("p2pos short flow v1"))
	h.Write(salt[:])
	h.Write(trace[:])
	h.Write(from[:])
	h.Write(to[:])
	var sum [sha256.Size]byte
	return Label(binary.BigEndian.Uint32(h.Sum(sum[:0]))) | shortBit
}

// newLabel draws a label that self gives out for its link to node. Who wants to
// send into a flow from a forged address must guess it: hence no common
// generator, whose state some labels would give away.
func newLabel(self, node identity.NodeID) Label {
	var r [4]byte
	rand.Read(r[:]) // never fails, by its documentation
	l := Label(binary.BigEndian.Uint32(r[:])) &^ (shortBit | largerBit)
	if node.Less(self) {
		l |= largerBit
	}
	return l
}
