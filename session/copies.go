// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// maxCopies packets are remembered to know a second copy by: 640 ms of voice, more
// than two paths of a call differ by.
const maxCopies = 32

// copies knows the latest genuine packets of a call again. While packets go over
// two paths, each comes twice, and the later one, which replay protection drops,
// still says that its own path is alive. All that somebody gains who repeats a
// packet from the address of another path is that this path is not doubted, while
// the packet has come anyway.
type copies struct {
	tags [maxCopies][tagSize]byte // how each ended: the tag, or half of it and SRTCP's index
	next int
}

// note remembers a genuine packet.
func (c *copies) note(pkt []byte) {
	copy(c.tags[c.next][:], pkt[len(pkt)-tagSize:])
	c.next = (c.next + 1) % maxCopies
}

// again says whether a packet was noted lately.
func (c *copies) again(pkt []byte) bool {
	if len(pkt) < rtpHeaderSize+tagSize {
		return false
	}
	end := [tagSize]byte(pkt[len(pkt)-tagSize:])
	for i := range c.tags {
		if c.tags[i] == end {
			return end != [tagSize]byte{}
		}
	}
	return false
}
