// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// preSkip is what an Ogg player drops at the start (RFC 7845 §4.2).
const preSkip = 312

// TestSpeechSamples checks that the samples are what they are for: clear
// speech of 10 to 12 s, loud enough, not clipped, every sentence there.
func TestSpeechSamples(t *testing.T) {
	for _, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		pcm := decodeAll(t, newDecoder(t, 1), sample(t, name))
		seconds := float64(len(pcm)) / 48000
		if seconds < 10 || seconds > 12 {
			t.Errorf("%s: %.1f s", name, seconds)
		}
		if fi, err := os.Stat(filepath.Join("..", "testdata", name)); err != nil || fi.Size() > 45<<10 {
			t.Errorf("%s: too large or missing: %v", name, err)
		}
		peak := 0
		for _, v := range pcm {
			peak = max(peak, step(v, 0))
		}
		if peak < 8000 || peak > 32000 {
			t.Errorf("%s: peak %d", name, peak)
		}
		// Sentences are what lies between pauses of 250 ms.
		const frame, quiet = 960, 60
		var sentences, spoken, pause, longest int
		for i := 0; i+frame <= len(pcm); i += frame {
			if rms(pcm[i:i+frame]) < quiet {
				pause++
				longest = max(longest, pause)
				continue
			}
			if sentences == 0 || pause*20 >= 250 {
				sentences++
			}
			pause = 0
			spoken++
		}
		if sentences < 3 || spoken*20 < 7000 || longest*20 > 1000 {
			t.Errorf("%s: %d stretches of speech, %d ms spoken, longest pause %d ms", name, sentences, spoken*20, longest*20)
		}
	}
}

// TestAgainstOpusdec compares with the reference decoder's sound.
func TestAgainstOpusdec(t *testing.T) {
	tool, err := exec.LookPath("opusdec")
	if err != nil {
		t.Skip("opusdec is not installed (Debian: opus-tools)")
	}
	for _, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		raw := filepath.Join(t.TempDir(), "pcm")
		cmd := exec.Command(tool, "--quiet", "--no-dither", "--rate", "48000", filepath.Join("..", "testdata", name), raw+".raw")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("opusdec: %v: %s", err, out)
		}
		b, err := os.ReadFile(raw + ".raw")
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int16, len(b)/2)
		for i := range want {
			want[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
		}
		got := decodeAll(t, newDecoder(t, 1), sample(t, name))[preSkip:]
		if len(got) < len(want) {
			t.Fatalf("%s: %d samples, opusdec has %d", name, len(got), len(want))
		}
		c, off := correlation(got, want), make([]int16, len(want))
		for i, v := range want {
			off[i] = got[i] - v
		}
		t.Logf("%s: correlation %.6f with opusdec, RMS difference %.2f", name, c, rms(off))
		if c < 0.999 || rms(off) > 10 {
			t.Errorf("%s: not the sound that opusdec makes", name)
		}
	}
}

func correlation(a, b []int16) float64 {
	var ab, aa, bb float64
	for i := range b {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}
