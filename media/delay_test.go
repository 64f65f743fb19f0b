// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"testing"
	"time"
)

func newDelay() delay { return delay{floor: 60 * ms, ceil: 460 * ms} }

func feed(d *delay, n int, transit time.Duration) {
	for range n {
		d.add(transit)
	}
}

// TestDelayFollowsTheNet: a net that turns slower moves base, not the moment of
// playing; one that turns faster takes both along.
func TestDelayFollowsTheNet(t *testing.T) {
	d := newDelay()
	feed(&d, 300, 100*ms)
	if d.base != 100*ms || d.due != 160*ms {
		t.Fatalf("base %v, due %v", d.base, d.due)
	}
	feed(&d, 100, 200*ms)
	if d.base != 100*ms || d.due != 200*ms+delayMargin {
		t.Errorf("2 s after the net turned slower: base %v, due %v", d.base, d.due)
	}
	feed(&d, 200, 200*ms)
	if d.base != 200*ms || d.due != 260*ms {
		t.Errorf("6 s after: base %v, due %v", d.base, d.due)
	}
	feed(&d, 10, 100*ms)
	if d.base != 100*ms || d.due != 200*ms+delayMargin {
		t.Errorf("when it turned faster: base %v, due %v", d.base, d.due)
	}
	feed(&d, 800, 100*ms)
	if d.due != 160*ms {
		t.Errorf("long after: due %v", d.due)
	}
}

// TestDelayCap: no single packet, however fast, may leave a target above the
// cap, not even until the next estimate.
func TestDelayCap(t *testing.T) {
	d := newDelay()
	feed(&d, 100, time.Second)
	d.add(0)
	if d.target() > d.ceil {
		t.Errorf("target %v", d.target())
	}
}

// TestDelayIgnoresWhatCannotBeSaved: packets an outage held back for longer than
// the cap do not lengthen the delay of those after it.
func TestDelayIgnoresWhatCannotBeSaved(t *testing.T) {
	d := newDelay()
	feed(&d, 50, 0)
	for i := range 50 {
		d.add(5*time.Second - time.Duration(i)*20*ms)
	}
	feed(&d, 10, 0)
	if d.target() != d.floor {
		t.Errorf("target %v", d.target())
	}
}

// TestDelayReset: new timestamps say nothing about jitter, so its measure stays.
func TestDelayReset(t *testing.T) {
	d := newDelay()
	for i := range 250 {
		d.add(time.Duration(i%2) * 200 * ms)
	}
	before := d.target()
	d.reset()
	d.add(-time.Hour)
	if before < 200*ms || d.target() != before {
		t.Errorf("target %v, before %v", d.target(), before)
	}
}
