// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import "time"

// queue is a heap of things that happen at a time. What was put in first comes
// out first among equals, so nothing depends on the heap's inner order. Four
// children to a node: half the depth of a binary heap, and siblings share
// cache lines.
type queue[P any] struct {
	items []timed[P]
	seq   uint64
}

type timed[P any] struct {
	at   time.Duration // since the world's start
	seq  uint64
	what P
}

func (q *queue[P]) len() int { return len(q.items) }

// next returns the time of the first item; the queue must not be empty.
func (q *queue[P]) next() time.Duration { return q.items[0].at }

func (q *queue[P]) push(at time.Duration, what P) {
	q.seq++
	it := timed[P]{at, q.seq, what}
	q.items = append(q.items, it)
	h := q.items
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !it.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = it
}

func (q *queue[P]) pop() (time.Duration, P) {
	h := q.items
	top := h[0]
	n := len(h) - 1
	it := h[n]
	h[n] = timed[P]{} // let go of what it points to
	q.items = h[:n]
	if n == 0 {
		return top.at, top.what
	}
	h = q.items
	i := 0
	for {
		first := 4*i + 1
		if first >= n {
			break
		}
		min := first
		for c := first + 1; c < first+4 && c < n; c++ {
			if h[c].before(&h[min]) {
				min = c
			}
		}
		if !h[min].before(&it) {
			break
		}
		h[i] = h[min]
		i = min
	}
	h[i] = it
	return top.at, top.what
}

func (t *timed[P]) before(o *timed[P]) bool {
	return t.at < o.at || t.at == o.at && t.seq < o.seq
}
