// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/binary"
	"slices"
	"testing"
)

// A packet is known again for as long as two paths may differ, and nothing else passes for
// it: neither a shorter one nor one that was spoilt on the way.
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
	last := packet(3*maxCopies - 1)
	list := [][]byte{nil, {0x80}, make([]byte, rtpHeaderSize+tagSize), last[1:]}
	for i := range last {
		b := slices.Clone(last)
		b[i] ^= 1
		list = append(list, b)
	}
	for _, b := range list {
		if new(copies).again(b) || c.again(b) {
			t.Errorf("% x passes for a copy", b)
		}
	}
}
