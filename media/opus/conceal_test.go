// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"math"
	"testing"

	"github.com/p2pos/p2pos/media/opus"
)

// loud is the index of a packet in the middle of a vowel of speech-a.ogg.
const loud = 70

func step(a, b int16) int { return int(math.Abs(float64(a) - float64(b))) }

// biggest returns the largest step between neighbours.
func biggest(pcm []int16) int {
	m := 0
	for i := 1; i < len(pcm); i++ {
		m = max(m, step(pcm[i-1], pcm[i]))
	}
	return m
}

func rms(pcm []int16) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(pcm))))
}

// TestConcealIsClickFree loses packets in the middle of a vowel: neither where
// the sound breaks off nor where it comes back may a step be larger than the
// steps of the speech around it, and what lies between dies away.
func TestConcealIsClickFree(t *testing.T) {
	for _, lost := range []int{1, 2, 5} {
		packets := sample(t, "speech-a.ogg")
		d := newDecoder(t, 1)
		before := decodeAll(t, d, packets[loud-10:loud])
		last := before[len(before)-960:]
		if rms(last) < 500 {
			t.Fatalf("packet %d is too quiet (%.0f): choose another", loud, rms(last))
		}
		limit := biggest(before)

		gap := make([]int16, lost*960)
		for i := range lost {
			if n := d.Conceal(gap[i*960:], 960); n != 960 {
				t.Fatalf("concealed %d samples, want 960", n)
			}
		}
		if got := step(last[959], gap[0]); got > limit {
			t.Errorf("%d lost: step of %d into the gap, speech has %d", lost, got, limit)
		}
		if got := biggest(gap); got > limit {
			t.Errorf("%d lost: step of %d in the gap, speech has %d", lost, got, limit)
		}
		if got := rms(gap[:480]); got < rms(last)/4 {
			t.Errorf("%d lost: gap starts at %.0f after %.0f: a hole", lost, got, rms(last))
		}
		if got := rms(gap[900:]); got > 50 {
			t.Errorf("%d lost: %.0f left after the fade", lost, got)
		}

		after := decodeAll(t, d, packets[loud+lost:loud+lost+3])
		if got := step(gap[len(gap)-1], after[0]); got > limit {
			t.Errorf("%d lost: step of %d out of the gap, speech has %d", lost, got, limit)
		}
		if got := rms(after); got < 500 {
			t.Errorf("%d lost: speech comes back at only %.0f", lost, got)
		}
	}
}

// TestConcealShort joins in the middle of the fade.
func TestConcealShort(t *testing.T) {
	packets := sample(t, "speech-a.ogg")
	d := newDecoder(t, 1)
	before := decodeAll(t, d, packets[loud-10:loud])
	gap := make([]int16, 240)
	if n := d.Conceal(gap, 960); n != 240 {
		t.Fatalf("concealed %d samples in room for 240", n)
	}
	after := decodeAll(t, d, packets[loud:loud+1])
	if got, limit := step(gap[239], after[0]), biggest(before); got > limit {
		t.Errorf("step of %d out of the gap, speech has %d", got, limit)
	}
}

func TestConcealBounds(t *testing.T) {
	d := newDecoder(t, 2)
	pcm := []int16{9, 9, 9, 9, 9}
	if n := d.Conceal(pcm, 960); n != 2 || pcm[0] != 0 || pcm[3] != 0 || pcm[4] != 9 {
		t.Errorf("fresh decoder: %d samples, %v", n, pcm)
	}
	if n := d.Conceal(pcm, -1); n != 0 {
		t.Errorf("concealed %d of -1 samples", n)
	}
	if n := d.Conceal(nil, 960); n != 0 {
		t.Errorf("concealed %d samples in no room", n)
	}
}

// TestSilentFrames decodes what an encoder sends while nobody speaks.
func TestSilentFrames(t *testing.T) {
	packets := sample(t, "speech-a.ogg")
	pcm := make([]int16, opus.MaxSamples)
	for _, silent := range [][]byte{{0x78}, {0x78, 0}, {0x7b, 2}, {0x48}, {0xf8}} {
		d := newDecoder(t, 1)
		decodeAll(t, d, packets[loud-10:loud])
		for range 5 {
			if n, err := d.Decode(silent, pcm); err != nil || n%960 != 0 || n == 0 {
				t.Fatalf("% x: %d samples, error %v", silent, n, err)
			}
		}
		if got := biggest(pcm[:960]); got != 0 || pcm[0] != 0 {
			t.Errorf("% x: not silent after 100 ms", silent)
		}
	}
}
