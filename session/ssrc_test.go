// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func mediaPacket(ssrc uint32, n int) []byte {
	b := make([]byte, n)
	b[0], b[1] = 0x80, 111
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

func TestSSRCs(t *testing.T) {
	var s SSRCs[string]
	if _, ok := s.Lookup(mediaPacket(1, 40)); ok || s.Len() != 0 {
		t.Error("found in an empty list")
	}
	s.Remove(1)
	for i := range uint32(MaxSSRCs) {
		if err := s.Add(i+1, fmt.Sprint(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(1, "again"); !errors.Is(err, errSSRCTaken) {
		t.Errorf("listed twice: %v", err)
	}
	if err := s.Add(1000, "one too many"); !errors.Is(err, errSSRCFull) {
		t.Errorf("too many: %v", err)
	}
	if v, ok := s.Lookup(mediaPacket(7, 40)); !ok || v != "7" {
		t.Errorf("RTP: %q %t", v, ok)
	}
	rtcp := []byte{0x80, 201, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0}
	if v, ok := s.Lookup(rtcp); !ok || v != "8" {
		t.Errorf("RTCP: %q %t", v, ok)
	}
	before := s.Dropped()
	for _, pkt := range [][]byte{nil, {0x80}, mediaPacket(7, 40)[:11], mediaPacket(999, 40), {0x40, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}} {
		if _, ok := s.Lookup(pkt); ok {
			t.Errorf("%x found", pkt)
		}
	}
	if n := s.Dropped() - before; n != 5 {
		t.Errorf("%d dropped, want 5", n)
	}
	s.Remove(7)
	if _, ok := s.Lookup(mediaPacket(7, 40)); ok || s.Len() != MaxSSRCs-1 {
		t.Error("found after Remove")
	}
}

// A second's worth of strangers' packets leaves nothing but a count.
func TestSSRCFlood(t *testing.T) {
	var s SSRCs[int]
	s.Add(1, 1)
	pkt := mediaPacket(0, 1200)
	flood := func() {
		for i := range uint32(20000) {
			binary.BigEndian.PutUint32(pkt[8:], i+2)
			s.Lookup(pkt)
		}
	}
	allocs := testing.AllocsPerRun(1, flood)
	if allocs != 0 || s.Len() != 1 || s.Dropped() != 40000 {
		t.Errorf("%v allocations, %d listed, %d dropped", allocs, s.Len(), s.Dropped())
	}
}

func TestSSRCsConcurrently(t *testing.T) {
	var s SSRCs[uint32]
	var wg sync.WaitGroup
	for g := range uint32(4) {
		wg.Go(func() {
			for i := range uint32(2000) {
				if err := s.Add(g+1, g+1); err != nil {
					t.Error(err)
				}
				if v, ok := s.Lookup(mediaPacket(g+1, 40)); !ok || v != g+1 {
					t.Errorf("round %d: %d %t", i, v, ok)
				}
				s.Remove(g + 1)
			}
		})
	}
	wg.Wait()
	if s.Len() != 0 {
		t.Errorf("%d left", s.Len())
	}
}

func TestEarly(t *testing.T) {
	var e Early
	collect := func(ssrc uint32) (got []byte) {
		e.Drain(ssrc, func(pkt []byte) { got = append(got, pkt[12]) })
		return got
	}
	put := func(ssrc uint32, mark byte) bool {
		pkt := mediaPacket(ssrc, 40)
		pkt[12] = mark
		return e.Put(pkt)
	}
	if put(1, 1) || collect(1) != nil || e.slots != nil {
		t.Error("kept while nobody waits")
	}
	e.Release() // one too many is harmless
	e.Expect()
	e.Expect()
	for i := range byte(20) {
		if !put(1+uint32(i%2), i) {
			t.Fatal("not kept")
		}
	}
	if e.Put(mediaPacket(1, earlySize+1)) || e.Put([]byte{0x80, 1}) || e.Put(nil) {
		t.Error("kept what is too long or no packet")
	}
	if got := fmt.Sprint(collect(1)); got != "[4 6 8 10 12 14 16 18]" {
		t.Errorf("the newest 16 in order: %s", got)
	}
	if got := collect(1); got != nil {
		t.Errorf("drained twice: %v", got)
	}
	e.Release()
	if got := fmt.Sprint(collect(2)); got != "[5 7 9 11 13 15 17 19]" {
		t.Errorf("the other call's: %s", got)
	}
	put(3, 1)
	e.Release()
	if put(3, 2) || collect(3) != nil {
		t.Error("kept after the last call")
	}
}
