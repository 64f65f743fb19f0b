// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/binary"
	"testing"
)

// A packet is known again for as long as two paths may differ, by its end alone, and
// nothing else passes for it.
func TestCopies(t *testing.T) {
	packet := func(n uint32) []byte {
		b := make([]byte, rtpHeaderSize+20+tagSize)
		binary.BigEndian.PutUint32(b[len(b)-tagSize:], n+1)
		return b
	}
	var c copies
	for n := range uint32(3 * maxCopies) {
		if c.again(packet(n)) {
			t.Fatalf("%d is known before it came", n)
		}
		c.note(packet(n))
		for k := range uint32(maxCopies) {
			if k <= n && !c.again(packet(n-k)) {
				t.Fatalf("%d is forgotten %d packets later", n-k, k)
			}
		}
		if n >= maxCopies && c.again(packet(n-maxCopies)) {
			t.Fatalf("%d is known for ever", n-maxCopies)
		}
	}
	b := packet(3*maxCopies - 1)
	b[len(b)-1] ^= 1
	for _, b := range [][]byte{nil, {0x80}, make([]byte, rtpHeaderSize+tagSize), b} {
		if new(copies).again(b) || c.again(b) {
			t.Errorf("% x passes for a copy", b)
		}
	}
}
