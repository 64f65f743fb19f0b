// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"math/rand/v2"
	"testing"
)

// join cuts a signal into frames of 20 ms, has each stretched and puts them
// together again.
func joinStretched(s *Stretch, channels, frames, long int, f func(i, c int) int16) (out []int16, moved int) {
	buf := make([]int16, 0, 2*FrameSamples*channels)
	for k := range frames {
		pcm := buf[:FrameSamples*channels]
		for i := range FrameSamples {
			for c := range channels {
				pcm[i*channels+c] = f(k*FrameSamples+i, c)
			}
		}
		n := s.Adjust(pcm, long)
		moved += FrameSamples - n
		out = append(out, pcm[:n*channels:cap(pcm)]...)
	}
	return out, moved
}

// TestStretchVoices: sounds with a pitch get shorter and longer at once, without
// a step larger than the sound itself has, and keep their pitch.
func TestStretchVoices(t *testing.T) {
	for _, pitch := range []float64{105, 130, 180, 250, 390} {
		voice := func(i, _ int) int16 {
			x := 2 * math.Pi * pitch * float64(i) / ClockRate
			return int16(8000*math.Sin(x) + 4000*math.Sin(2*x+1) + 2000*math.Sin(3*x))
		}
		steepest := 0
		for i := range ClockRate {
			steepest = max(steepest, int(math.Abs(float64(voice(i+1, 0))-float64(voice(i, 0)))))
		}
		for _, long := range []int{4000, 1500, 600, -600, -1500, -4000} {
			out, moved := joinStretched(NewStretch(1), 1, 50, long, voice)
			if moved*long <= 0 || max(moved, -moved) < 50*stretchLeast {
				t.Errorf("%v Hz: %d samples taken out, wanted %d a frame", pitch, moved, long)
			}
			step, crossings := 0, 0
			for i := 1; i < len(out); i++ {
				step = max(step, int(out[i])-int(out[i-1]), int(out[i-1])-int(out[i]))
			}
			if step > steepest*3/2+2 {
				t.Errorf("%v Hz, %d: a step of %d, the sound's own is %d", pitch, long, step, steepest)
			}
			// The pitch by the number of periods: like the first quarter turn.
			for i := 1; i < len(out); i++ {
				if out[i-1] < 6000 && out[i] >= 6000 {
					crossings++
				}
			}
			if got := float64(crossings) / float64(len(out)) * ClockRate; math.Abs(got-pitch) > pitch*0.08 {
				t.Errorf("%v Hz, %d: now %.0f Hz", pitch, long, got)
			}
		}
	}
}

// TestStretchStereo: both channels are cut at the same place.
func TestStretchStereo(t *testing.T) {
	out, moved := joinStretched(NewStretch(2), 2, 20, 2000, func(i, c int) int16 {
		return hum(i) / int16(1+c)
	})
	if moved <= 0 || len(out) != 2*(20*FrameSamples-moved) {
		t.Fatalf("%d samples out, %d taken", len(out), moved)
	}
	for i := 0; i < len(out); i += 2 {
		if d := out[i]/2 - out[i+1]; d < -2 || d > 2 {
			t.Fatalf("sample %d: %d and %d", i/2, out[i], out[i+1])
		}
	}
}

// TestStretchRefuses: noise is left alone for a while, small frames always.
func TestStretchRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	noise := func(int, int) int16 { return int16(rng.IntN(20000) - 10000) }
	s := NewStretch(1)
	if _, moved := joinStretched(s, 1, stretchPatience, 600, noise); moved != 0 {
		t.Errorf("%d samples of noise taken out at once", moved)
	}
	if _, moved := joinStretched(s, 1, 1, 600, noise); moved <= 0 {
		t.Error("noise is never shortened")
	}
	if n := s.Adjust(make([]int16, 200), 600); n != 200 {
		t.Errorf("4 ms became %d samples", n)
	}
	if n := s.Adjust(make([]int16, 960), -600); n != 960 {
		t.Errorf("grew without room to %d", n)
	}
	if n := s.Adjust(nil, 5); n != 0 {
		t.Errorf("nothing became %d samples", n)
	}
}

// TestStretchSilence: silence goes in the largest pieces.
func TestStretchSilence(t *testing.T) {
	_, moved := joinStretched(NewStretch(1), 1, 1, 5000, func(int, int) int16 { return 0 })
	if moved != stretchMost {
		t.Errorf("%d samples of silence taken out", moved)
	}
}

func BenchmarkStretch(b *testing.B) {
	s := NewStretch(1)
	pcm := make([]int16, 960)
	for i := range pcm {
		pcm[i] = hum(i)
	}
	work := make([]int16, 960)
	b.ReportAllocs()
	for b.Loop() {
		copy(work, pcm)
		s.Adjust(work, 5000)
	}
}

// FuzzStretch: any sound, any wish: no panic, and a length within bounds.
func FuzzStretch(f *testing.F) {
	f.Add([]byte("some sound that repeats, some sound that repeats"), 500, 960)
	f.Add([]byte{0, 0x80, 0xff, 0x7f}, -5000, 5760)
	f.Fuzz(func(t *testing.T, b []byte, long, n int) {
		if len(b) < 2 || n < 0 || n > 2*maxPacketSamples {
			return
		}
		for channels := 1; channels <= 2; channels++ {
			pcm := make([]int16, n*channels, n*channels*3/2+stretchMost)
			for i := range pcm {
				pcm[i] = int16(b[2*i%(len(b)-1)]) | int16(b[(2*i+1)%len(b)])<<8
			}
			got := NewStretch(channels).Adjust(pcm, long)
			if got > n && long >= 0 || got < n && long <= 0 || got < n-stretchMost || got > n+stretchMost {
				t.Fatalf("%d samples became %d, wanted %d less", n, got, long)
			}
		}
	})
}
