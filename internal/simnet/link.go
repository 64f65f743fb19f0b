// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Profile describes an access link; both directions have the same. The zero
// value is a perfect link of an ordinary MTU.
type Profile struct {
	Delay  time.Duration // one way
	Jitter time.Duration // each datagram is late by up to this much more, evenly spread; order is kept

	Loss      float64 // share of datagrams lost, 0–1
	Duplicate float64 // share that arrives twice
	Reorder   float64 // share held back by 25–50 ms more and overtaken by what follows

	// Burst is the mean number of datagrams lost in a row. 0 and 1 mean that
	// each is lost by itself; above, losses follow a two-state chain (Gilbert)
	// that keeps the share of Loss. A burst is never shorter than
	// Loss/(1−Loss), below which the share could not be reached.
	Burst float64

	MTU   int           // largest UDP payload in bytes; 0 = 1500 − 28
	Rate  int           // bit/s with IP and UDP headers; 0 = unlimited
	Queue time.Duration // what may wait in front of Rate, more is lost; 0 = 100 ms
}

const (
	defaultMTU   = 1500 - headerV4
	defaultQueue = 100 * time.Millisecond // a home router's buffer, neither tiny nor bloated

	headerV4 = 20 + 8
	headerV6 = 40 + 8

	// A datagram out of order is held back by more than one 20 ms voice frame,
	// or a steady stream of frames would never see it overtaken.
	holdMin  = 25 * time.Millisecond
	holdMore = 25 * time.Millisecond

	// The copy of a doubled datagram comes this much later at most (plus jitter).
	copyGap = time.Millisecond
)

// checked returns p with its defaults, or panics over what cannot be.
func (p Profile) checked() Profile {
	share := func(name string, v float64) {
		if !(v >= 0 && v <= 1) { // NaN too
			panic(fmt.Sprintf("simnet: %s is %v, not a share of 1", name, v))
		}
	}
	share("loss", p.Loss)
	share("duplicate", p.Duplicate)
	share("reorder", p.Reorder)
	if p.Delay < 0 || p.Jitter < 0 || p.Queue < 0 || p.MTU < 0 || p.Rate < 0 || !(p.Burst >= 0) {
		panic(fmt.Sprintf("simnet: negative value in %+v", p))
	}
	if p.MTU == 0 {
		p.MTU = defaultMTU
	}
	if p.Queue == 0 {
		p.Queue = defaultQueue
	}
	return p
}

// lane is one direction of an access link.
type lane struct {
	Profile
	free time.Duration // when the sender at its head has sent what waits
	last time.Duration // latest arrival so far, for order
	bad  bool          // inside a burst of losses
}

func newLane(p Profile) lane { return lane{Profile: p.checked()} }

// pass sends size bytes of payload over the lane. It returns when they arrive,
// when a second copy does (negative: there is none), or why they don't. A lane
// without chance in its profile draws no random numbers.
func (l *lane) pass(now time.Duration, size, header int, rng *rand.Rand) (at, again time.Duration, why Reason) {
	if size > l.MTU {
		return 0, 0, TooBig
	}
	at = now
	if l.Rate > 0 {
		begin := max(now, l.free)
		if begin-now > l.Queue {
			return 0, 0, QueueFull
		}
		bits := int64(size+header) * 8
		l.free = begin + time.Duration(bits*int64(time.Second)/int64(l.Rate))
		at = l.free
	}
	if l.lose(rng) {
		return 0, 0, Noise
	}
	at += l.Delay
	if l.Jitter > 0 {
		at += time.Duration(rng.Int64N(int64(l.Jitter)))
	}
	at = max(at, l.last)
	if l.Reorder > 0 && rng.Float64() < l.Reorder {
		at += holdMin + time.Duration(rng.Int64N(int64(holdMore)))
	} else {
		l.last = at
	}
	again = -1
	if l.Duplicate > 0 && rng.Float64() < l.Duplicate {
		again = at + time.Duration(rng.Int64N(int64(copyGap+l.Jitter)))
	}
	return at, again, 0
}

// lose steps the chain of losses by one datagram.
func (l *lane) lose(rng *rand.Rand) bool {
	if l.Loss == 0 {
		return false
	}
	if l.Burst <= 1 || l.Loss == 1 {
		return rng.Float64() < l.Loss
	}
	// The share of time in the bad state is enter/(enter+leave) = Loss.
	odds := l.Loss / (1 - l.Loss)
	burst := max(l.Burst, odds)
	if l.bad {
		l.bad = rng.Float64() >= 1/burst
	} else {
		l.bad = rng.Float64() < odds/burst
	}
	return l.bad
}
