// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"sync/atomic"
	"time"
)

// bucket is a token bucket that any number of goroutines may draw from: one
// instant, the time at which it would be full again (GCRA, the virtual
// scheduling of ITU-T I.371), moved by compare-and-swap.
type bucket struct {
	perByte int64 // ns; 0 = no limit
	depth   int64 // ns
	full    atomic.Int64
}

// set gives the bucket its rate in bit/s and its burst in bytes; a rate of 0
// or less lets nothing through, unlimited everything.
func (b *bucket) set(bits int64, burst int) {
	switch {
	case bits >= unlimited:
		b.perByte, b.depth = 0, 0
	case bits <= 0:
		b.perByte, b.depth = 1, 0
	default:
		b.perByte = 8 * int64(time.Second) / bits
		b.depth = b.perByte * int64(burst)
	}
}

// unlimited is the rate in bit/s from which a bucket doesn't count: a byte
// takes less than its resolution of a nanosecond.
const unlimited = 8 * int64(time.Second)

// take draws n bytes, if they are there.
func (b *bucket) take(now time.Duration, n int) bool {
	if b.perByte == 0 {
		return true
	}
	cost := b.perByte * int64(n)
	for {
		full := b.full.Load()
		next := max(full, int64(now)) + cost
		if next-int64(now) > b.depth {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// charge draws n bytes whether they are there or not. The debt never exceeds
// one burst: what was promised may not silence the others for long.
func (b *bucket) charge(now time.Duration, n int) {
	if b.perByte == 0 {
		return
	}
	cost := b.perByte * int64(n)
	for {
		full := b.full.Load()
		next := min(max(full, int64(now))+cost, int64(now)+2*b.depth)
		if b.full.CompareAndSwap(full, max(full, next)) {
			return
		}
	}
}
