// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"slices"
	"time"
)

const (
	// trendRoom holds trendSpan of 10 ms packets with room to spare.
	trendRoom = 128
	// trendSpan is what a slope is measured over: long enough for ten packets of
	// 60 ms, short enough to see a 300 ms queue fill.
	trendSpan = time.Second
	// trendLeast is how many packets a slope needs.
	trendLeast = 8
	// trendSure is how many standard errors a slope must be away from zero:
	// jitter makes slopes too, of either sign.
	trendSure = 3
	// trendRecent packets make the present delay, by their median.
	trendRecent = 9
	// trendBase is how long the fastest packet stands for an empty queue; it is
	// found anew after that, for clocks drift and routes change.
	trendBase = 15 * time.Second
)

// trend follows the one-way delay of packets, known up to a constant.
type trend struct {
	ring [trendRoom]trendPoint
	n    int // points ever noted
	base [2]float64
	turn time.Duration // when base[1] began
}

type trendPoint struct {
	at    time.Duration // arrival, by the receiver's clock
	delay float64       // ms
	size  int           // bytes on the wire
}

// reset forgets what an empty queue is like, for a new path.
func (t *trend) reset() { *t = trend{} }

func (t *trend) add(at time.Duration, delay float64, size int) {
	if t.n == 0 {
		t.base = [2]float64{delay, delay}
		t.turn = at
	} else if at-t.turn > trendBase {
		t.base = [2]float64{t.base[1], delay}
		t.turn = at
	}
	t.base[1] = min(t.base[1], delay)
	t.ring[t.n%trendRoom] = trendPoint{at, delay, size}
	t.n++
}

// last returns the newest points, at most n, of the last trendSpan.
func (t *trend) last(n int, f func(trendPoint)) {
	if t.n == 0 {
		return
	}
	end := t.ring[(t.n-1)%trendRoom].at
	for i := range min(n, t.n, trendRoom) {
		p := t.ring[(t.n-1-i)%trendRoom]
		if end-p.at > trendSpan {
			return
		}
		f(p)
	}
}

// queue returns how much longer packets take now than through an empty queue,
// in ms.
func (t *trend) queue() float64 {
	var recent [trendRecent]float64
	n := 0
	t.last(trendRecent, func(p trendPoint) { recent[n] = p.delay; n++ })
	if n == 0 {
		return 0
	}
	slices.Sort(recent[:n])
	return max(recent[n/2]-min(t.base[0], t.base[1]), 0)
}

// slope returns by how many ms the delay grows in a second, and whether that is
// more than chance; rise is by how many ms it has grown.
func (t *trend) slope() (slope, rise float64, sure bool) {
	var n, sx, sy float64
	var first, end time.Duration
	t.last(trendRoom, func(p trendPoint) {
		if n == 0 {
			end = p.at
		}
		n, first = n+1, p.at
		sx += (p.at - end).Seconds()
		sy += p.delay
	})
	if n < trendLeast || end <= first {
		return 0, 0, false
	}
	var sxx, sxy, syy float64
	t.last(trendRoom, func(p trendPoint) {
		x, y := (p.at-end).Seconds()-sx/n, p.delay-sy/n
		sxx += x * x
		sxy += x * y
		syy += y * y
	})
	if sxx == 0 {
		return 0, 0, false
	}
	slope = sxy / sxx
	left := max(syy-slope*sxy, 0) // what the line doesn't explain
	chance := math.Sqrt(left / (n - 2) / sxx)
	return slope, slope * (end - first).Seconds(), math.Abs(slope) > trendSure*chance
}

// rate returns the bits per second that arrived; ok is false when too few did.
func (t *trend) rate() (bits float64, ok bool) {
	n, size := 0, 0
	var first, end time.Duration
	t.last(trendRoom, func(p trendPoint) {
		if n == 0 {
			end = p.at
		}
		n, first = n+1, p.at
		size += p.size
	})
	if n < trendLeast || end-first < trendSpan/4 {
		return 0, false
	}
	// The first one's time of sending lies before the span.
	return float64(size) * 8 * float64(n-1) / float64(n) / (end - first).Seconds(), true
}
