// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// numbered returns a datagram of n bytes that begins with i.
func numbered(i, n int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, n-4)...)
}

func TestQueueDropsOldest(t *testing.T) {
	var q queue
	q.push(0, numbered(1, 100))
	q.push(40*time.Millisecond, numbered(2, 100))
	q.push(maxWait, numbered(3, 100)) // the first is as old as allowed
	if q.frames != 3 || q.late != 0 {
		t.Fatalf("%d wait, %d late", q.frames, q.late)
	}
	got := q.pop(maxWait+1, nil, maxBatch)
	want := append(frame(numbered(2, 100)), frame(numbered(3, 100))...)
	if !bytes.Equal(got, want) || q.late != 1 || q.frames != 0 || q.size != 0 {
		t.Errorf("got %d bytes, %d late, %d left", len(got), q.late, q.frames)
	}
}

func TestQueueFull(t *testing.T) {
	var q queue
	const n, size = 1000, 1200
	for i := range n {
		q.push(0, numbered(i, size))
	}
	fit := maxQueue / (recordHeader + size)
	if q.frames != fit || q.full != uint64(n-fit) || q.late != 0 || len(q.ring) > maxQueue {
		t.Errorf("%d wait in %d bytes, %d had no room; want %d", q.frames, len(q.ring), q.full, fit)
	}
	for i := n - fit; i < n; i++ {
		if b := q.pop(0, nil, 1); !bytes.Equal(b, frame(numbered(i, size))) {
			t.Fatalf("datagram %d is not the next one", i)
		}
	}
}

func TestQueueBatches(t *testing.T) {
	var q queue
	for i := range 4 {
		q.push(0, numbered(i, 1000))
	}
	for _, want := range []int{1, 2, 1, 0} { // limits 1, 2004, all, all
		limit := map[int]int{4: 1, 3: 2 * 1002, 1: maxBatch, 0: maxBatch}[q.frames]
		if b := q.pop(0, nil, limit); len(b) != want*1002 {
			t.Errorf("%d bytes within %d", len(b), limit)
		}
	}
}

// Against a plain list, with rings that grow and wrap.
func TestQueueModel(t *testing.T) {
	type entry struct {
		at time.Duration
		b  []byte
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q queue
		var model []entry
		var now time.Duration
		expire := func() {
			for len(model) > 0 && now-model[0].at > maxWait {
				model = model[1:]
			}
		}
		for step := range 3000 {
			now += time.Duration(rng.IntN(2000)) * time.Microsecond
			if rng.IntN(3) > 0 {
				b := numbered(step, 4+rng.IntN(MaxDatagram-3))
				q.push(now, b)
				expire()
				model = append(model, entry{now, b})
			} else {
				got := q.pop(now, nil, 1)
				expire()
				var want []byte
				if len(model) > 0 {
					want, model = frame(model[0].b), model[1:]
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("seed %d, step %d: got %d bytes, want %d", seed, step, len(got), len(want))
				}
			}
			if q.frames != len(model) {
				t.Fatalf("seed %d, step %d: %d wait, want %d", seed, step, q.frames, len(model))
			}
		}
	}
}

func TestNextBatch(t *testing.T) {
	limit := nextBatch(maxBatch, time.Second)
	if limit != frameHeader+MaxDatagram {
		t.Errorf("after a slow write batches of %d", limit)
	}
	if nextBatch(limit, 10*time.Millisecond) != limit || nextBatch(limit, 0) != 2*limit || nextBatch(maxBatch, 0) != maxBatch {
		t.Error("batches don't grow back")
	}
}

func TestQuota(t *testing.T) {
	q := newQuota(4, 2)
	addr := netip.MustParseAddr
	for i, c := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1", true}, {"::ffff:192.0.2.9", true}, {"192.0.2.7", false}, // one /24
		{"2001:db8:1::1", true}, {"2001:db8:1:ffff::1", true}, {"2001:db8:2::1", false}, // full
	} {
		if got := q.take(addr(c.from)); got != c.want {
			t.Errorf("%d: %s allowed: %v", i, c.from, got)
		}
	}
	q.give(addr("192.0.2.1"))
	if !q.take(addr("2001:db8:2::1")) || q.take(addr("192.0.2.1")) {
		t.Error("a place given back is not there, or twice")
	}
	for _, a := range []string{"192.0.2.9", "2001:db8:1::1", "2001:db8:1::1", "2001:db8:2::1"} {
		q.give(addr(a))
	}
	if q.n != 0 || len(q.by) != 0 {
		t.Errorf("%d left, %v", q.n, q.by)
	}
	if !q.take(netip.Addr{}) { // a pipe
		t.Error("no address is no prefix")
	}
}
