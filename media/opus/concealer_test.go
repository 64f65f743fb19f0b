// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import (
	"math"
	"testing"
)

// sine returns n samples of 200 Hz from sample number at on.
func sine(at, n int) []int16 {
	b := make([]int16, n)
	for i := range b {
		b[i] = int16(10000 * math.Sin(2*math.Pi*200*float64(at+i)/SampleRate))
	}
	return b
}

// TestConcealerMirrors feeds frames shorter than the fade: what it plays back
// must be the last 20 ms of all of them, from the end on.
func TestConcealerMirrors(t *testing.T) {
	for _, size := range []int{120, 480, 960, 2880} {
		c := newConcealer(1)
		for at := 0; at < 5760; at += size {
			c.decoded(sine(at, size))
		}
		gap := make([]int16, fadeSamples)
		c.fill(gap)
		heard := sine(5760-fadeSamples, fadeSamples)
		for i, v := range gap {
			gain := 0.5 + 0.5*math.Cos(math.Pi*float64(i)/fadeSamples)
			want := gain * float64(heard[fadeSamples-1-i])
			if math.Abs(float64(v)-want) > 1 {
				t.Fatalf("frames of %d: sample %d is %d, want %.0f", size, i, v, want)
			}
		}
	}
}

// TestConcealerJoins comes back at the top of a wave, out of silence and out
// of half a fade, twice: no step may be larger than the cross-fade's slope and
// the wave's own.
func TestConcealerJoins(t *testing.T) {
	const limit = 2*20000/joinSamples + 300
	for _, gap := range []int{240, 960, 4800} {
		c := newConcealer(1)
		all := sine(0, 960)
		c.decoded(all)
		for range 2 {
			lost := make([]int16, gap)
			c.fill(lost)
			if lost[120] == 0 {
				t.Errorf("gap of %d: silent at once", gap)
			}
			back := sine(60, 960) // a quarter of a wave on: its top
			c.decoded(back)
			if back[joinSamples] != sine(60, 960)[joinSamples] {
				t.Errorf("gap of %d: the join is longer than it should be", gap)
			}
			all = append(append(all, lost...), back...)
		}
		for i := 1; i < len(all); i++ {
			if d := int(all[i]) - int(all[i-1]); d > limit || d < -limit {
				t.Errorf("gap of %d: step of %d at sample %d", gap, d, i)
			}
		}
	}
}
