// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

// A timer of a trail. Those whose reason has gone are skipped.
type timer struct {
	at    time.Duration
	t     *trail
	gen   uint32
	what  timerKind
	try   uint8 // or the number of copies
	again bool  // it was put off, as this node was late
}

type timerKind uint8

const (
	timeAck  timerKind = iota // a try's ACK is due
	timeMore                  // more copies are
	timeTook                  // who took delivery hasn't replied
	timeEnd                   // the trail's end, or its judgement
)

func (x *timer) live() bool {
	return x.gen == x.t.gen && (x.what != timeAck || x.t.tries[x.try].state == givenWaiting)
}

// timers is a binary heap, earliest first.
type timers []timer

func (h *timers) push(x timer) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *timers) pop() timer {
	s := *h
	top, last := s[0], len(s)-1
	s[0], s[last] = s[last], timer{}
	s = s[:last]
	for i := 0; ; {
		next := 2*i + 1
		if next >= last {
			break
		}
		if next+1 < last && s[next+1].at < s[next].at {
			next++
		}
		if s[i].at <= s[next].at {
			break
		}
		s[i], s[next] = s[next], s[i]
		i = next
	}
	if *h = s; last == 0 && cap(s) > keepTimers {
		*h = nil
	}
	return top
}

func (r *router) setTimer(at time.Duration, t *trail, what timerKind, try int) {
	r.timers.push(timer{at: at, t: t, gen: t.gen, what: what, try: uint8(try)})
}

// next returns the earliest timer that still means something.
func (r *router) next() (timer, bool) {
	for len(r.timers) > 0 {
		if r.timers[0].live() {
			return r.timers[0], true
		}
		r.timers.pop()
	}
	return timer{}, false
}
