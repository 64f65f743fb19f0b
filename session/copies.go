// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"hash/maphash"
	"slices"
)

// maxCopies packets are remembered to know a second copy by: 640 ms of voice, more
// than two paths of a call differ by.
const maxCopies = 32

// copies knows the latest genuine packets of a call again. While packets go over
// two paths, each comes twice, and the later one, which replay protection drops,
// still says that its own path is alive and leaves them whole. All that somebody gains
// who repeats a packet from the address of another path is that this path is not
// doubted, while the packet has come anyway.
type copies struct {
	seed maphash.Seed // drawn with the first packet, so that nobody can make another one that passes
	sums [maxCopies]uint64
	n    int // noted so far
}

// note remembers a genuine packet.
func (c *copies) note(pkt []byte) {
	if c.n == 0 {
		c.seed = maphash.MakeSeed()
	}
	c.sums[c.n%maxCopies] = maphash.Bytes(c.seed, pkt)
	c.n++
}

// again says whether a packet was noted lately, each byte of it.
func (c *copies) again(pkt []byte) bool {
	if c.n == 0 || len(pkt) < rtpHeaderSize+tagSize {
		return false
	}
	return slices.Contains(c.sums[:min(c.n, maxCopies)], maphash.Bytes(c.seed, pkt))
}
