// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"testing"
	"time"
)

// TestMOS checks the table that design decisions were made with: rows are
// one-way delay, columns the share of concealed sound.
func TestMOS(t *testing.T) {
	loss := []float64{0, 0.01, 0.03, 0.05, 0.09, 0.15, 0.20}
	for delay, want := range map[time.Duration][7]float64{
		50 * ms:  {4.38, 4.30, 4.09, 3.87, 3.45, 2.92, 2.57},
		150 * ms: {4.33, 4.23, 4.00, 3.77, 3.33, 2.79, 2.44},
		200 * ms: {4.23, 4.11, 3.85, 3.60, 3.14, 2.59, 2.25},
		300 * ms: {3.71, 3.54, 3.22, 2.93, 2.44, 1.92, 1.62},
		400 * ms: {3.05, 2.86, 2.52, 2.23, 1.78, 1.37, 1.17},
	} {
		for i, w := range want {
			if got := MOS(delay, loss[i]); math.Abs(got-w) > 0.006 {
				t.Errorf("MOS(%v, %v) = %.3f, want %.2f", delay, loss[i], got, w)
			}
		}
	}
}

func TestMOSBounds(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, time.Second, time.Hour, math.MaxInt64} {
		for _, c := range []float64{math.Inf(-1), -1, 0, 0.5, 1, 2, math.Inf(1), math.NaN()} {
			if m := MOS(d, c); !(m >= 1 && m <= 4.5) {
				t.Errorf("MOS(%v, %v) = %v", d, c, m)
			}
		}
	}
}

func TestScore(t *testing.T) {
	var s Stats
	s.Score(&Stats{})
	if s.Concealed != 0 || s.MOS < 4.3 {
		t.Errorf("nothing known: %v, MOS %v", s.Concealed, s.MOS)
	}
	prev := Stats{TotalSamplesReceived: 48000, ConcealedSamples: 48000}
	s = Stats{
		TotalSamplesReceived: 96000, ConcealedSamples: 48000 + 2400,
		JitterBufferDelay: 40000 * 60 * ms, JitterBufferEmittedCount: 40000,
		RoundTripTime: 127 * ms,
	}
	s.Score(&prev)
	// 63.5 + 26.5 + 60 = 150 ms, 5 %
	if s.Concealed != 0.05 || math.Abs(s.MOS-3.77) > 0.006 {
		t.Errorf("concealed %v, MOS %v", s.Concealed, s.MOS)
	}
}
