// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"encoding/binary"
	"math/bits"
)

// nearer reports whether a is nearer to key than b.
func nearer(key, a, b *ID) bool {
	for i := 0; i < len(key); i += 8 {
		k := binary.BigEndian.Uint64(key[i:])
		x, y := binary.BigEndian.Uint64(a[i:])^k, binary.BigEndian.Uint64(b[i:])^k
		if x != y {
			return x < y
		}
	}
	return false
}

// prefixLen returns how many leading bits a and b share: the bucket of b in
// a's table, and of a in b's. 256 when they are equal.
func prefixLen(a, b *ID) int {
	for i := 0; i < len(a); i += 8 {
		if x := binary.BigEndian.Uint64(a[i:]) ^ binary.BigEndian.Uint64(b[i:]); x != 0 {
			return i*8 + bits.LeadingZeros64(x)
		}
	}
	return 8 * len(a)
}
