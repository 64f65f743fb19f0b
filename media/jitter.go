// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"slices"
	"time"
)

const (
	// jitterWindow is how many packets the estimate remembers: 5 s at 20 ms,
	// long enough to see a jitter pattern, short enough to forget a bad minute.
	jitterWindow = 250
	// jitterEvery is how often the estimate is made anew, in packets. Sorting
	// the window each time would cost more than all else a packet costs.
	jitterEvery = 10
	// jitterMiss is the share of packets that may be late, in percent. One
	// percent lost costs as much MOS as 50 ms of delay near the usual working
	// point, so three are better than five; the rest are concealed.
	jitterMiss = 3
	// One packet in jitterYoung of a young window may be late, up to jitterOdd:
	// a stall right after the start must not make all others wait.
	jitterYoung = 10
	jitterOdd   = 3
	// jitterMargin stands for the age of the estimate and the reader's wake-up.
	jitterMargin = 10 * time.Millisecond
	// jitterFall and jitterFallShare are how much the wanted delay may shrink
	// with each estimate: one 20 ms frame a second, or a sixteenth of what is
	// too much where that is more. It grows at once.
	jitterFall      = 4 * time.Millisecond
	jitterFallShare = 16
	// jitterHeadroom is kept free below the cap of the buffer, so that the
	// wanted delay itself can never make it overflow.
	jitterHeadroom = 40 * time.Millisecond

	// A stall ends with all its packets at once, each 20 ms less late than the
	// one before. Only the first stallCount of such a run count: one freeze of
	// half a second is one event, and no reason to talk half a second apart for
	// the five seconds after it. Three freezes in five seconds are.
	stallCount = 3
	stallGap   = 5 * time.Millisecond

	// needUnit and needUnits are the grid of how much later than a packet its
	// copy comes; 160 ms is as long as a frame may wait for one.
	needUnit  = 20 * time.Millisecond
	needUnits = 9
	// needKeep is what is left of a count at each estimate: half after 3.5 s.
	needKeep = 0.96
	// What a millisecond of waiting and a share of frames lost cost, in points
	// of the E-model's R (ITU-T G.107): 0.024 up to 177 ms and 0.134 above, so
	// something in between; 95/25.1 for each percent.
	needWait = 0.03
	needLoss = 95 / 25.1 * 100
)

// jitter estimates when packets must be played so that nearly all have arrived.
// All its times are transits: arrival by our clock minus timestamp by theirs,
// known up to a constant. It keeps the packets themselves and not a histogram
// of their delays, because the fastest one moves when clocks drift or routes
// change, and with it all delays.
type jitter struct {
	floor, ceil time.Duration // of due-base

	transit [jitterWindow]time.Duration // ring
	sorted  [jitterWindow]time.Duration // scratch
	n, at   int
	fresh   int // packets since the last estimate

	base time.Duration // the fastest packet of the window
	prev time.Duration // base at the last estimate
	due  time.Duration // the transit at which packets are played

	lastAt      time.Duration // arrival and transit of the packet before
	lastTransit time.Duration
	run         int // packets of one stall so far

	need [needUnits]float32 // packets by how much later their first copy came
}

// reset forgets the packets, but keeps how far due was above base: a new
// timestamp base says nothing about the jitter.
func (j *jitter) reset() { j.n, j.at, j.fresh, j.run = 0, 0, 0, 0 }

// begin sets the delay to start with.
func (j *jitter) begin(d time.Duration) { j.due = j.base + d }

// add notes a packet that came at a time with a transit.
func (j *jitter) add(at, transit time.Duration) {
	if j.n == 0 {
		spread := min(max(j.due-j.base, j.floor), j.ceil)
		j.base, j.due = transit, transit+spread
	}
	j.need[0]++
	switch stalled := j.stalled(at, transit); {
	case stalled && transit > j.due:
		return
	case stalled && transit < j.base: // only now is known how late the run was
		j.transit[(j.at+jitterWindow-1)%jitterWindow] = transit
	default:
		j.transit[j.at] = transit
		j.at = (j.at + 1) % jitterWindow
		j.n = min(j.n+1, jitterWindow)
		j.fresh++
	}
	if transit < j.base {
		if j.n < jitterEvery { // nothing is known but the fastest
			j.due -= j.base - transit
		}
		j.base = transit
		j.due = min(j.due, j.base+j.ceil)
	}
	if j.n < jitterEvery {
		j.prev = j.base
	}
	if j.fresh >= jitterEvery {
		j.estimate()
	}
}

// stalled says whether a packet is one too many of a stall.
func (j *jitter) stalled(at, transit time.Duration) bool {
	drained := at-j.lastAt < stallGap && transit < j.lastTransit
	j.lastAt, j.lastTransit = at, transit
	if !drained {
		j.run = 1
		return false
	}
	j.run++
	return j.run > stallCount
}

// restored notes that what a lost packet held came with a later one.
func (j *jitter) restored(after time.Duration) {
	u := max(int((after+needUnit-1)/needUnit), 1)
	if u < needUnits {
		j.need[u]++
	}
}

// wait returns how long it pays to wait for copies.
func (j *jitter) wait() time.Duration {
	var left, all, least float32
	for _, n := range j.need {
		all += n
	}
	left = all
	best := 0
	for i, n := range j.need {
		left -= n // what comes later still
		cost := needWait*float32(i)*float32(needUnit/time.Millisecond) + needLoss*left/max(all, 1)
		if i == 0 || cost < least {
			best, least = i, cost
		}
		j.need[i] *= needKeep
	}
	return time.Duration(best) * needUnit
}

func (j *jitter) estimate() {
	j.fresh = 0
	s := j.sorted[:j.n]
	copy(s, j.transit[:j.n])
	slices.Sort(s)
	j.base = s[0]
	// No delay within the cap saves what comes later than that, so it must not
	// make all others wait.
	n, _ := slices.BinarySearch(s, j.base+j.ceil)
	n = max(n, 1)
	miss := max(n*jitterMiss/100, min(n/jitterYoung, jitterOdd))
	late := s[n-1-miss] + jitterMargin + j.wait()
	want := j.base + min(max(late-j.base, j.floor), j.ceil)
	// A net that turned slower leaves due where it is, one that turned faster
	// takes it along.
	due := j.due - max(j.prev-j.base, 0)
	if want < due {
		want = max(want, due-max(jitterFall, (due-want)/jitterFallShare))
	}
	j.prev, j.due = j.base, min(want, j.base+j.ceil)
}

// target is the delay added to the fastest packet.
func (j *jitter) target() time.Duration { return j.due - j.base }
