// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestLevel: 0 dBov is a square wave of full scale, a sine is 3 dB below its
// peak (RFC 6464 §3).
func TestLevel(t *testing.T) {
	wave := func(f func(i int) float64) []int16 {
		pcm := make([]int16, 960)
		for i := range pcm {
			pcm[i] = int16(f(i))
		}
		return pcm
	}
	sine := func(peak float64) []int16 {
		return wave(func(i int) float64 { return peak * math.Sin(2*math.Pi*float64(i)/96) })
	}
	for _, tt := range []struct {
		pcm  []int16
		want uint8
	}{
		{wave(func(i int) float64 { return -32768 }), 0},
		{wave(func(i int) float64 { return 32767 * float64(i%2*2-1) }), 0},
		{sine(32767), 3},
		{sine(3276.7), 23},
		{sine(327), 43},
		{wave(func(i int) float64 { return float64(i % 2) }), 93},
		{make([]int16, 960), 127},
		{nil, 127},
	} {
		if got := Level(tt.pcm); got != tt.want {
			t.Errorf("level %d, want %d", got, tt.want)
		}
	}
}

// TestMeter: up at once, down slowly; voice above whatever noise there is.
func TestMeter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	sound := func(amplitude int) []int16 {
		pcm := make([]int16, 960)
		for i := range pcm {
			pcm[i] = int16(rng.IntN(2*amplitude+1) - amplitude)
		}
		return pcm
	}
	var m Meter
	if m.Level() != Silence || m.Voice() {
		t.Errorf("before any sound: %d, %v", m.Level(), m.Voice())
	}
	for range 100 {
		m.Add(sound(300)) // a noisy room
	}
	if m.Voice() {
		t.Error("noise is voice")
	}
	for range 5 {
		m.Add(sound(6000))
	}
	loud := m.Level()
	if !m.Voice() || loud > 22 {
		t.Errorf("voice at %d: %v", loud, m.Voice())
	}
	m.Add(sound(300))
	if !m.Voice() || m.Level() < loud || m.Level() > loud+2 {
		t.Errorf("between words: %d after %d, voice %v", m.Level(), loud, m.Voice())
	}
	for range 40 {
		m.Add(sound(300))
	}
	if m.Voice() || m.Level() < 40 {
		t.Errorf("after speaking: %d, voice %v", m.Level(), m.Voice())
	}
}
