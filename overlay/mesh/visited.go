// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "encoding/binary"

// maxVisited bounds how many nodes one copy of a message may be given to, its
// origin included. It is the copy's whole budget: there is no other counter to
// forge. Routes have 9 hops at the most in networks of 10⁶ nodes (p99), so two
// thirds are left for detours when half the nodes are dead.
const maxVisited = 32

// visited is the set of nodes that a copy of a message was given to, as
// two-byte fingerprints: 64 bytes at the most, 10 on a usual route. A Bloom
// filter of that size would always cost 64 bytes, and whoever fills it with
// ones bars every node; of fingerprints a liar can name no more than 31.
// A node looks visited by chance once in 2,000 full sets; the target itself is
// never asked (see choose).
type visited struct {
	n uint8
	f [maxVisited]uint16
}

// fingerprint names a node within one message. It depends on the message, so
// that two nodes which collide do so once and not for ever.
func fingerprint(t *Trace, id *ID) uint16 {
	x := binary.BigEndian.Uint64(t[:]) ^ binary.BigEndian.Uint64(id[24:])
	// The finalizer of MurmurHash3: each bit of x moves half of the result.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return uint16(x >> 48)
}

func (v *visited) list() []uint16 { return v.f[:v.n] }

func (v *visited) full() bool { return v.n == maxVisited }

func (v *visited) has(f uint16) bool {
	for _, o := range v.list() {
		if o == f {
			return true
		}
	}
	return false
}

// add reports whether there was room.
func (v *visited) add(f uint16) bool {
	if v.full() {
		return false
	}
	v.f[v.n] = f
	v.n++
	return true
}

// merge adds what is not in the set yet, as far as there is room.
func (v *visited) merge(list []uint16) {
	for _, f := range list {
		if !v.has(f) && !v.add(f) {
			return
		}
	}
}
