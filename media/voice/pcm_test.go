// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestTone counts the tone's waves and looks at its height; in which pieces it
// is read does not matter.
func TestTone(t *testing.T) {
	pcm := make([]int16, SampleRate)
	whole, parts := &Tone{Hertz: 1000}, &Tone{Hertz: 1000}
	whole.ReadPCM(pcm)
	rises := 0
	for i := 1; i < len(pcm); i++ {
		if pcm[i-1] < 0 && pcm[i] >= 0 {
			rises++
		}
	}
	if rises != 999 || slices.Max(pcm) != tonePeak {
		t.Errorf("%d waves, %d high", rises, slices.Max(pcm))
	}
	var got []int16
	for len(got) < len(pcm) {
		piece := make([]int16, min(777, len(pcm)-len(got)))
		parts.ReadPCM(piece)
		got = append(got, piece...)
	}
	if !slices.Equal(got, pcm) {
		t.Error("read in pieces it is another tone")
	}
}

// TestChirp proves what the chirp is for: its correlation with itself has one
// sharp peak.
func TestChirp(t *testing.T) {
	c := &Chirp{}
	pcm := make([]int16, 2*ChirpEvery)
	c.ReadPCM(pcm[:1000])
	c.ReadPCM(pcm[1000:])
	for i, v := range pcm {
		if v != ChirpAt(i%ChirpEvery) {
			t.Fatalf("sample %d is %d", i, v)
		}
	}
	x := make([]float64, 2*ChirpSamples)
	for i := range ChirpSamples {
		x[i] = float64(ChirpAt(i))
	}
	var square float64
	for _, v := range x {
		square += v * v
	}
	for shift := 1; shift < ChirpSamples; shift += 1 + shift/16 {
		var sum float64
		for i := range ChirpSamples {
			sum += x[i] * x[i+shift]
		}
		if v := math.Abs(sum / square); shift > SampleRate/1000 && v > 0.3 || v > 0.999 {
			t.Errorf("at a shift of %d: %.3f", shift, v)
		}
	}
}

// tray takes sound and notes when.
type tray struct {
	start time.Time
	pcm   []int16
	when  []time.Duration
	err   error
}

func (x *tray) WritePCM(pcm []int16) error {
	x.pcm = append(x.pcm, pcm...)
	x.when = append(x.when, time.Since(x.start))
	return x.err
}

// roll is a source that ends, and may be slow once.
type roll struct {
	pcm   []int16
	stall time.Duration
	err   error
}

func (r *roll) ReadPCM(pcm []int16) (int, error) {
	if len(r.pcm) < SampleRate/2 && r.stall > 0 {
		time.Sleep(r.stall)
		r.stall = 0
	}
	n := copy(pcm, r.pcm)
	r.pcm = r.pcm[n:]
	if n == 0 {
		return 0, r.err
	}
	return n, nil
}

func TestCopy(t *testing.T) {
	for _, stall := range []time.Duration{0, 100 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			pcm := noise(SampleRate)
			dst := &tray{start: time.Now()}
			if err := Copy(t.Context(), dst, &roll{pcm: pcm, stall: stall, err: io.EOF}, 1); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(dst.pcm, pcm) {
				t.Errorf("%d values of %d, or others", len(dst.pcm), len(pcm))
			}
			want := time.Second - turn
			if stall > maxBehind {
				want += stall
			}
			if end := dst.when[len(dst.when)-1]; end < want || end > want+turn {
				t.Errorf("stall %v: the last piece came after %v, want %v", stall, end, want)
			}
		})
	}
}

func TestCopyErrors(t *testing.T) {
	boom := errors.New("boom")
	if err := Copy(t.Context(), &tray{}, &roll{err: boom}, 2); !errors.Is(err, boom) {
		t.Errorf("source: %v", err)
	}
	if err := Copy(t.Context(), &tray{err: boom}, Silence{}, 2); !errors.Is(err, boom) {
		t.Errorf("sink: %v", err)
	}
	if err := Copy(t.Context(), &tray{}, Silence{}, 3); err == nil {
		t.Error("three channels were taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ctx, &tray{err: nil}, Silence{}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("context: %v", err)
	}
}
