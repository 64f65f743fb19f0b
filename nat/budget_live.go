// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

// The mappings held are a binary heap of the times when they end, since the
// punches of a node differ in how long theirs last.

func (b *Budget) push(end time.Duration) {
	h := append(b.live, end) // never above maxLive: take sees to it
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	b.live = h
}

// expire drops the mappings that have ended.
func (b *Budget) expire(now time.Duration) {
	h := b.live
	for len(h) > 0 && h[0] <= now {
		n := len(h) - 1
		h[0] = h[n]
		h = h[:n]
		for i := 0; ; {
			least := i
			for c := 2*i + 1; c <= 2*i+2 && c < n; c++ {
				if h[c] < h[least] {
					least = c
				}
			}
			if least == i {
				break
			}
			h[i], h[least] = h[least], h[i]
			i = least
		}
	}
	b.live = h
}
