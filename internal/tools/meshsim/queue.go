// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import "time"

// event is something that will happen: a message arrives at a node, a node's
// timer is due, or whatever do does.
type event struct {
	to   *node
	from *node // of a message; nil for a timer
	tie  *tie
	body []byte
	do   func()
}

// queue holds events in order of time, and of arrival where times are equal,
// so that a run has one order only. The heap moves small keys; events stay
// where they are.
type queue struct {
	heap []dueKey
	slab []event
	free []int32
	seq  uint64
}

type dueKey struct {
	at   time.Duration
	seq  uint64
	slot int32
}

func (k *dueKey) before(o *dueKey) bool { return k.at < o.at || k.at == o.at && k.seq < o.seq }

func (q *queue) push(at time.Duration, e event) {
	var slot int32
	if n := len(q.free); n > 0 {
		slot, q.free = q.free[n-1], q.free[:n-1]
		q.slab[slot] = e
	} else {
		slot = int32(len(q.slab))
		q.slab = append(q.slab, e)
	}
	q.seq++
	q.heap = append(q.heap, dueKey{at, q.seq, slot})
	s := q.heap
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 4
		if s[up].before(&s[i]) {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

// pop takes the first event when it is due by end.
func (q *queue) pop(end time.Duration) (at time.Duration, e event, ok bool) {
	s := q.heap
	if len(s) == 0 || s[0].at > end {
		return 0, event{}, false
	}
	top, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	q.heap = s
	for i := 0; ; {
		first := 4*i + 1
		if first >= last {
			break
		}
		least := first
		for c := first + 1; c < min(first+4, last); c++ {
			if s[c].before(&s[least]) {
				least = c
			}
		}
		if s[i].before(&s[least]) {
			break
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
	e, q.slab[top.slot] = q.slab[top.slot], event{}
	q.free = append(q.free, top.slot)
	return top.at, e, true
}
