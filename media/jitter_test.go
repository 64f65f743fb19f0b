// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"testing"
	"time"
)

func newJitter() jitter { return jitter{floor: 60 * ms, ceil: 460 * ms} }

// step adds a packet that comes long after the one before.
func (j *jitter) step(transit time.Duration) { j.add(j.lastAt+20*ms, transit) }

func feed(d *jitter, n int, transit time.Duration) {
	for range n {
		d.step(transit)
	}
}

// TestJitterFollowsTheNet: a net that turns slower moves base, not the moment of
// playing; one that turns faster takes both along.
func TestJitterFollowsTheNet(t *testing.T) {
	d := newJitter()
	feed(&d, 300, 100*ms)
	if d.base != 100*ms || d.due != 160*ms {
		t.Fatalf("base %v, due %v", d.base, d.due)
	}
	feed(&d, 100, 200*ms)
	if d.base != 100*ms || d.due != 200*ms+jitterMargin {
		t.Errorf("2 s after the net turned slower: base %v, due %v", d.base, d.due)
	}
	feed(&d, 200, 200*ms)
	if d.base != 200*ms || d.due != 260*ms {
		t.Errorf("6 s after: base %v, due %v", d.base, d.due)
	}
	feed(&d, 10, 100*ms)
	if d.base != 100*ms || d.due != 200*ms+jitterMargin {
		t.Errorf("when it turned faster: base %v, due %v", d.base, d.due)
	}
	feed(&d, 800, 100*ms)
	if d.due != 160*ms {
		t.Errorf("long after: due %v", d.due)
	}
}

// TestJitterCap: no single packet, however fast, may leave a target above the
// cap, not even until the next estimate.
func TestJitterCap(t *testing.T) {
	d := newJitter()
	feed(&d, 100, time.Second)
	d.step(0)
	if d.target() > d.ceil {
		t.Errorf("target %v", d.target())
	}
}

// TestJitterIgnoresWhatCannotBeSaved: packets an outage held back for longer than
// the cap do not lengthen the delay of those after it.
func TestJitterIgnoresWhatCannotBeSaved(t *testing.T) {
	d := newJitter()
	feed(&d, 50, 0)
	for i := range 50 {
		d.step(5*time.Second - time.Duration(i)*20*ms)
	}
	feed(&d, 10, 0)
	if d.target() != d.floor {
		t.Errorf("target %v", d.target())
	}
}

// TestJitterReset: new timestamps say nothing about jitter, so its measure stays.
func TestJitterReset(t *testing.T) {
	d := newJitter()
	for i := range 250 {
		d.step(time.Duration(i%2) * 200 * ms)
	}
	before := d.target()
	d.reset()
	d.step(-time.Hour)
	if before < 200*ms || d.target() != before {
		t.Errorf("target %v, before %v", d.target(), before)
	}
}

// TestJitterStall: the packets a stall held back count as one event, not as so
// many reasons to wait; three stalls within the window do count.
func TestJitterStall(t *testing.T) {
	stall := func(j *jitter) {
		at := j.lastAt + 400*ms
		for i := range 20 {
			j.add(at, 380*ms-time.Duration(i)*20*ms)
		}
		feed(j, 40, 0)
	}
	j := jitter{floor: 20 * ms, ceil: 460 * ms}
	feed(&j, 60, 0)
	stall(&j)
	if j.target() > 40*ms {
		t.Errorf("target %v after one stall", j.target())
	}
	stall(&j)
	stall(&j)
	if j.target() < 300*ms {
		t.Errorf("target %v after three stalls in four seconds", j.target())
	}
}

// TestJitterWaits: it waits for copies as long as they save more than waiting
// costs, and forgets them when the loss is over.
func TestJitterWaits(t *testing.T) {
	j := jitter{floor: 20 * ms, ceil: 460 * ms}
	lose := func(n int, after ...time.Duration) {
		for i := range n {
			if i%10 == 9 {
				j.restored(after[i/10%len(after)])
			} else {
				j.step(0)
			}
		}
	}
	feed(&j, 100, 0)
	lose(200, 40*ms, 40*ms, 100*ms)
	if got := j.target(); got != 110*ms {
		t.Errorf("target %v for copies after 40 and 100 ms, want 110 ms", got)
	}
	feed(&j, 2000, 0)
	if got := j.target(); got != 20*ms {
		t.Errorf("target %v long after the loss", got)
	}
	j.restored(time.Second) // longer than is ever waited
	feed(&j, 20, 0)
	if got := j.target(); got != 20*ms {
		t.Errorf("target %v for a copy that takes a second", got)
	}
}
