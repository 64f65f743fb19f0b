// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"slices"
	"time"
)

const (
	// delayWindow is how many packets the estimate remembers: 5 s at 20 ms,
	// long enough to see a jitter pattern, short enough to forget a bad minute.
	delayWindow = 250
	// delayEvery is how often the estimate is made anew, in packets. Sorting
	// the window each time would cost more than all else a packet costs.
	delayEvery = 10
	// delayRank is the share of packets that should be in time. One percent
	// lost costs as much MOS as 50 ms of delay near the usual working point, so
	// the 97th percentile is better than the 95th; the rest are concealed.
	delayRank = 97
	// delayMargin stands for the age of the estimate and the reader's wake-up.
	delayMargin = 10 * time.Millisecond
	// delayFall and delayFallShare are how much the wanted delay may shrink with
	// each estimate: one 20 ms frame a second, or a sixteenth of what is too much
	// where that is more. It grows at once.
	delayFall      = 4 * time.Millisecond
	delayFallShare = 16
	// delayHeadroom is kept free below the cap of the buffer, so that the wanted
	// delay itself can never make it overflow.
	delayHeadroom = 40 * time.Millisecond
)

// delay estimates when packets must be played so that nearly all have arrived.
// All its times are transits: arrival by our clock minus timestamp by theirs,
// known up to a constant.
type delay struct {
	floor, ceil time.Duration // of due-base

	transit [delayWindow]time.Duration // ring
	sorted  [delayWindow]time.Duration // scratch
	n, at   int
	fresh   int // packets since the last estimate

	base time.Duration // the fastest packet of the window
	prev time.Duration // base at the last estimate
	due  time.Duration // the transit at which packets are played
}

// reset forgets the packets, but keeps how far due was above base: a new
// timestamp base says nothing about the jitter.
func (d *delay) reset() { d.n, d.at, d.fresh = 0, 0, 0 }

// add notes the transit of one packet.
func (d *delay) add(transit time.Duration) {
	if d.n == 0 {
		spread := min(max(d.due-d.base, d.floor), d.ceil)
		d.base, d.due = transit, transit+spread
	}
	d.transit[d.at] = transit
	d.at = (d.at + 1) % delayWindow
	d.n = min(d.n+1, delayWindow)
	if transit < d.base {
		if d.n < delayEvery { // nothing is known but the fastest
			d.due -= d.base - transit
		}
		d.base = transit
		d.due = min(d.due, d.base+d.ceil)
	}
	if d.n < delayEvery {
		d.prev = d.base
	}
	if d.fresh++; d.fresh >= delayEvery {
		d.estimate()
	}
}

func (d *delay) estimate() {
	d.fresh = 0
	s := d.sorted[:d.n]
	copy(s, d.transit[:d.n])
	slices.Sort(s)
	d.base = s[0]
	// No delay within the cap saves what comes later than that, so it must not
	// make all others wait.
	n, _ := slices.BinarySearch(s, d.base+d.ceil)
	late := s[(max(n, 1)*delayRank+99)/100-1] + delayMargin
	want := d.base + min(max(late-d.base, d.floor), d.ceil)
	// A net that turned slower leaves due where it is, one that turned faster
	// takes it along.
	due := d.due - max(d.prev-d.base, 0)
	if want < due {
		want = max(want, due-max(delayFall, (due-want)/delayFallShare))
	}
	d.prev, d.due = d.base, min(want, d.base+d.ceil)
}

// target is the delay added to the fastest packet.
func (d *delay) target() time.Duration { return d.due - d.base }
