// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"math"
	"math/cmplx"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestToneLoops plays tone.ogg three times on end. In every 25 ms of it the
// 440 Hz wave must have the same strength and phase, seams included, and
// nothing else may be heard.
func TestToneLoops(t *testing.T) {
	packets := sample(t, "tone.ogg")
	if len(packets) != 100 {
		t.Fatalf("%d packets, want 100: 2 s", len(packets))
	}
	if fi, err := os.Stat(filepath.Join("..", "testdata", "tone.ogg")); err != nil || fi.Size() > 12<<10 {
		t.Errorf("tone.ogg is too large or missing: %v", err)
	}
	pcm := decodeAll(t, newDecoder(t, 1), slices.Concat(packets, packets, packets))
	pcm = pcm[10*960:] // a fresh decoder settles
	first := wave(pcm, 0, len(pcm))
	if level := cmplx.Abs(first); level < 2000 || level > 4000 {
		t.Errorf("amplitude %.0f, want soft but audible", level)
	}
	// 1,200 samples are 11 whole waves, so that a window sees no more than
	// its own part of the tone.
	for at := 0; at+1200 <= len(pcm); at += 120 {
		here := wave(pcm, at, 1200)
		if off := cmplx.Abs(here-first) / cmplx.Abs(first); off > 0.06 {
			t.Fatalf("at %d ms the tone is %.0f %% off in strength or phase", 200+at/48, off*100)
		}
	}
	// A sine obeys x[n] = 2cos(ω)x[n-1] - x[n-2]; a click does not.
	twice := 2 * math.Cos(omega)
	for i := 2; i < len(pcm); i++ {
		if off := float64(pcm[i]) - twice*float64(pcm[i-1]) + float64(pcm[i-2]); math.Abs(off) > 12 {
			t.Fatalf("click of %.0f at %d ms", off, 200+i/48)
		}
	}
}

const omega = 2 * math.Pi * 440 / 48000

// wave returns the complex amplitude of 440 Hz in n samples from at on.
func wave(pcm []int16, at, n int) complex128 {
	var sum complex128
	for i := at; i < at+n; i++ {
		sum += complex(float64(pcm[i])*2/float64(n), 0) * cmplx.Exp(complex(0, -omega*float64(i)))
	}
	return sum
}
