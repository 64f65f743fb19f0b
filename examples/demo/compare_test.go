// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/opus"
)

const second = media.ClockRate

func decoded(t *testing.T, b []byte, seconds int) []int16 {
	t.Helper()
	pcm, err := decode(fromMemory(b), seconds*second)
	if err != nil {
		t.Fatal(err)
	}
	return pcm
}

// lossy decodes the sample as a receiver does that misses a share of packets.
func lossy(t *testing.T, b []byte, loss float64) []int16 {
	t.Helper()
	dec, err := opus.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ogg.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]int16, opus.MaxSamples)
	var pcm []int16
	for len(pcm) < 6*second {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rng.Float64() < loss {
			p = nil
		}
		n, err := sound(dec, p, media.FrameSamples, buf)
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, buf[:n]...)
	}
	return pcm
}

// The measure passes what a person would call heard, and nothing else.
func TestCompare(t *testing.T) {
	t.Parallel()
	a, b := decoded(t, speechA, 6), decoded(t, speechB, 6)
	rng := rand.New(rand.NewPCG(3, 4))
	noise := make([]int16, len(a))
	for i := range noise {
		noise[i] = int16(rng.NormFloat64() * 3000)
	}
	silence := make([]int16, len(a))
	late := slices.Concat(silence[:second*3/10], a)
	soft := slices.Clone(a)
	mixed := slices.Clone(a)
	for i := range soft {
		soft[i] /= 4
		mixed[i] = int16(min(32767, max(-32768, int(a[i])+int(b[i]))))
	}
	// The playout buffer leaves out a frame here and inserts one there.
	const frame = media.FrameSamples
	slipped := slices.Concat(a[:100*frame], a[101*frame:200*frame], silence[:frame], a[200*frame:])
	// The machine stalls: a gap, and all that follows is played later.
	stalled := slices.Concat(a[:80*frame], silence[:12*frame], a[80*frame:160*frame], silence[:20*frame], a[160*frame:])
	backwards := slices.Clone(a)
	slices.Reverse(backwards)
	shuffled := slices.Concat(a[3*second:], a[:3*second])

	for _, c := range []struct {
		name string
		pcm  []int16
		want bool
	}{
		{"itself", a, true},
		{"late", late, true},
		{"early", a[second/2:], true},
		{"soft", soft, true},
		{"slipped", slipped, true},
		{"stalled", stalled, true},
		{"loss 1 %", lossy(t, speechA, 0.01), true},
		{"nothing", nil, false},
		{"a blink", a[:frame], false},
		{"silence", silence, false},
		{"noise", noise, false},
		{"the other speaker", b, false},
		{"both at once", mixed, false},
		{"first half", a[:3*second], false},
		{"second half", a[3*second:], false},
		{"half, then silence", slices.Concat(a[:3*second], silence[3*second:]), false},
		{"halves exchanged", shuffled, false},
		{"backwards", backwards, false},
		{"loss 60 %", lossy(t, speechA, 0.6), false},
	} {
		h := compare(a, c.pcm)
		t.Logf("%-20s share %.2f, correlation %.2f, lag %v", c.name, h.Share, h.Correlation, h.Lag)
		if h.enough() != c.want {
			t.Errorf("%s: heard is %v, want %v", c.name, h.enough(), c.want)
		}
	}
	for _, pcm := range [][]int16{nil, silence, a[:frame]} {
		if compare(pcm, a).enough() {
			t.Error("nothing was said, and it was heard")
		}
	}
	if h := compare(a, late); h.Lag.Milliseconds() != 300 {
		t.Errorf("lag %v, want 300 ms", h.Lag)
	}
}

// The samples are the project's own.
func TestSamples(t *testing.T) {
	for name, got := range map[string][]byte{"speech-a.ogg": speechA, "speech-b.ogg": speechB} {
		want, err := os.ReadFile(filepath.Join("..", "..", "media", "testdata", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from media/testdata: %v", name, err)
		}
	}
}
