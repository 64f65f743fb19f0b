// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package estoi

import (
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/opus"
)

// speech returns a committed sample at Rate.
func speech(t *testing.T, name string) []float64 {
	t.Helper()
	f, err := os.Open("../../../media/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ogg.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := opus.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	var x []float64
	pcm := make([]int16, opus.MaxSamples)
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := dec.Decode(b, pcm)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range pcm[:n] {
			x = append(x, float64(v)/32768)
		}
	}
	x, err = Resample(x, opus.SampleRate)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func score(t *testing.T, x, y []float64) float64 {
	t.Helper()
	d, err := Score(x, y, Rate)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func scaled(x []float64, by float64) []float64 {
	y := slices.Clone(x)
	for i := range y {
		y[i] *= by
	}
	return y
}

// noisy adds white noise at an SNR in dB.
func noisy(x []float64, snr float64, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 0))
	sigma := math.Sqrt(energy(x)/float64(len(x))) * math.Pow(10, -snr/20)
	y := slices.Clone(x)
	for i := range y {
		y[i] += sigma * rng.NormFloat64()
	}
	return y
}

// TestReference holds the whole measure to a number that a separate program,
// written after the published description with a discrete Fourier transform by
// definition, gives for the same modulated noise and tone.
func TestReference(t *testing.T) {
	const want = 0.6412176471127439
	n := 20000
	lcg := func(s uint64) []float64 {
		out := make([]float64, n)
		for i := range out {
			s = s*6364136223846793005 + 1442695040888963407
			out[i] = float64(s>>33)/(1<<31)*2 - 1
		}
		return out
	}
	carrier, masker := lcg(1), lcg(2)
	x, y := make([]float64, n), make([]float64, n)
	for i := range x {
		ti := 2 * math.Pi * float64(i) / Rate
		x[i] = carrier[i]*(0.55+0.45*math.Sin(4*ti)) + 0.8*math.Sin((200+100*math.Sin(1.5*ti))*ti)*(0.5+0.5*math.Sin(2.5*ti))
		if i >= 8000 && i < 11000 {
			x[i] *= 0.0005 // a pause, which must not count
		}
		y[i] = x[i] + 0.7*masker[i]
	}
	if got := score(t, x, y); math.Abs(got-want) > 1e-9 {
		t.Errorf("score %.12f, want %.12f", got, want)
	}
}

// TestPublished holds speech in noise to what the reference implementation in
// Python that the literature uses (pystoi, extended=True) gives for the same
// samples, to all nine digits that it was asked for.
func TestPublished(t *testing.T) {
	want := map[string][5]float64{
		"speech-a.ogg": {0.964941314, 0.697446716, 0.529657687, 0.351151316, 0.100607596},
		"speech-b.ogg": {0.926988467, 0.654068195, 0.517933328, 0.353120672, 0.089505159},
	}
	for name, scores := range want {
		x := speech(t, name)[:8*Rate]
		for i, snr := range []float64{20, 5, 0, -5, -15} {
			if got := score(t, x, noisy(x, snr, uint64(i+3))); math.Abs(got-scores[i]) > 1e-6 {
				t.Errorf("%s at %v dB: %.9f, want %.9f", name, snr, got, scores[i])
			}
		}
	}
}

func TestIdentical(t *testing.T) {
	for _, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		x := speech(t, name)
		if d := score(t, x, x); math.Abs(d-1) > 1e-9 {
			t.Errorf("%s against itself: %v, want 1", name, d)
		}
	}
}

// TestLevel proves that neither loudness nor polarity counts.
func TestLevel(t *testing.T) {
	x := speech(t, "speech-a.ogg")[:5*Rate]
	y := noisy(x, 5, 1)
	want := score(t, x, y)
	for _, by := range []float64{0.01, 0.5, 3, -1} {
		if d := score(t, x, scaled(y, by)); math.Abs(d-want) > 1e-9 {
			t.Errorf("times %v: %v, want %v", by, d, want)
		}
		if d := score(t, scaled(x, by), y); math.Abs(d-want) > 1e-6 {
			t.Errorf("clean times %v: %v, want %v", by, d, want)
		}
	}
}

// TestNoise proves that the score falls with the signal-to-noise ratio, from
// near 1 to near 0, the range and order the authors report for speech in noise.
func TestNoise(t *testing.T) {
	for _, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		x := speech(t, name)[:5*Rate]
		last := 1.0
		for snr := 40.0; snr >= -25; snr -= 5 {
			d := score(t, x, noisy(x, snr, 2))
			if d >= last {
				t.Errorf("%s at %v dB: %.3f, at 5 dB more %.3f", name, snr, d, last)
			}
			if snr == 40 && d < 0.9 || snr == -25 && math.Abs(d) > 0.1 {
				t.Errorf("%s at %v dB: %.3f", name, snr, d)
			}
			last = d
		}
	}
}

// TestUnrelated proves that other speech scores as nothing.
func TestUnrelated(t *testing.T) {
	if d := score(t, speech(t, "speech-a.ogg"), speech(t, "speech-b.ogg")); math.Abs(d) > 0.15 {
		t.Errorf("other speech scores %v", d)
	}
}

// TestGaps proves that the score falls with the share of 20 ms frames that are
// silent, which is what it is used for here.
func TestGaps(t *testing.T) {
	x := speech(t, "speech-a.ogg")
	last := 1.0
	for _, share := range []float64{0.05, 0.1, 0.2, 0.4, 0.6} {
		rng := rand.New(rand.NewPCG(3, 0))
		y := slices.Clone(x)
		for at := 0; at+Rate/50 < len(y); at += Rate / 50 {
			if rng.Float64() < share {
				clear(y[at : at+Rate/50])
			}
		}
		d := score(t, x, y)
		if d >= last || d < 0 {
			t.Errorf("%.0f %% lost scores %.3f, less lost %.3f", 100*share, d, last)
		}
		last = d
	}
}

func TestShort(t *testing.T) {
	for _, x := range [][]float64{nil, make([]float64, 100), noisy(make([]float64, 2000), 0, 1)} {
		if _, err := Score(x, x, Rate); err == nil {
			t.Errorf("%d samples were rated", len(x))
		}
	}
	if _, err := Score(make([]float64, 8000), make([]float64, 8000), 8000); err == nil {
		t.Error("8 kHz was rated")
	}
}

// TestResample sends tones through the filter: what 10 kHz can hold passes,
// the rest does not come back as something else.
func TestResample(t *testing.T) {
	for _, c := range []struct {
		from int
		hz   float64
		gain float64
	}{{48000, 300, 1}, {48000, 4300, 1}, {16000, 4300, 1}, {44100, 1000, 1}, {48000, 5700, 0}, {48000, 12000, 0}} {
		x := make([]float64, c.from)
		for i := range x {
			x[i] = math.Sin(2 * math.Pi * c.hz * float64(i) / float64(c.from))
		}
		y, err := Resample(x, c.from)
		if err != nil || len(y) != Rate {
			t.Fatalf("%d samples, %v", len(y), err)
		}
		var worst float64
		for i := 500; i < len(y)-500; i++ {
			worst = max(worst, math.Abs(y[i]-c.gain*math.Sin(2*math.Pi*c.hz*float64(i)/Rate)))
		}
		if worst > 0.002 {
			t.Errorf("%v Hz from %d: off by %.4f", c.hz, c.from, worst)
		}
	}
}

// TestAlign delays speech, lengthens it in one place and shortens it in
// another, and expects the delays back and the score of what was not lost.
func TestAlign(t *testing.T) {
	x := speech(t, "speech-a.ogg")
	const first, second, third = 731, 931, 480
	cut, cut2 := 4*Rate, 8*Rate
	y := slices.Concat(make([]float64, first), x[:cut], make([]float64, second-first), x[cut:cut2], x[cut2+second-third:])
	aligned, lags := Align(x, noisy(y, 30, 4), 2000)
	var loudest float64
	for i := range lags {
		loudest = max(loudest, energy(x[i*step:i*step+piece]))
	}
	for i, lag := range lags {
		if energy(x[i*step:i*step+piece]) < 0.01*loudest {
			continue // in a pause, any lag is right
		}
		want := first
		switch at := i*step + piece/2; {
		case at > cut2+piece && at < len(x)-2*piece:
			want = third
		case at > cut+piece && at < cut2-piece:
			want = second
		case at > cut-piece:
			continue
		}
		if lag < want-2 || lag > want+2 {
			t.Errorf("at %.2f s the lag is %d, want %d", float64(i*step)/Rate, lag, want)
		}
	}
	plain, better := score(t, x, y[:len(x)]), score(t, x, aligned)
	if better < 0.85 || plain > 0.5 {
		t.Errorf("score %.3f, aligned %.3f", plain, better)
	}
	t.Logf("score %.3f, aligned %.3f", plain, better)
}

// TestAlignLeavesLosses proves that alignment does not mend what is missing: it
// must not find a better score than is there.
func TestAlignLeavesLosses(t *testing.T) {
	x := speech(t, "speech-b.ogg")
	rng := rand.New(rand.NewPCG(5, 0))
	y := slices.Clone(x)
	for at := 0; at+Rate/50 < len(y); at += Rate / 50 {
		if rng.Float64() < 0.3 {
			clear(y[at : at+Rate/50])
		}
	}
	aligned, lags := Align(x, y, 2000)
	moved := 0
	for _, lag := range lags {
		if lag > 2 {
			moved++
		}
	}
	if moved > len(lags)/50 {
		t.Errorf("%d of %d pieces moved", moved, len(lags))
	}
	if a, b := score(t, x, y), score(t, x, aligned); math.Abs(a-b) > 0.02 {
		t.Errorf("score %.3f, aligned %.3f", a, b)
	}
}

func TestFFT(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	x := make([]complex128, 64)
	for i := range x {
		x[i] = complex(rng.Float64(), rng.Float64())
	}
	y := slices.Clone(x)
	f := newFFT(64)
	f.transform(y)
	var sum complex128
	for _, v := range x {
		sum += v
	}
	if d := sum - y[0]; math.Hypot(real(d), imag(d)) > 1e-12 {
		t.Errorf("bin 0 is %v, want %v", y[0], sum)
	}
	f.inverse(y)
	for i := range x {
		if d := x[i] - y[i]; math.Hypot(real(d), imag(d)) > 1e-12 {
			t.Errorf("sample %d: %v came back as %v", i, x[i], y[i])
		}
	}
}

func TestFind(t *testing.T) {
	x := speech(t, "speech-a.ogg")
	pattern := x[2*Rate : 3*Rate]
	if at, like := Find(pattern, scaled(x, 0.3), 5*Rate); at != 2*Rate || like < 0.999 {
		t.Errorf("found at %d, %.3f alike", at, like)
	}
	if at, like := Find(pattern, noisy(x, 10, 1), 5*Rate); at != 2*Rate || like < 0.9 {
		t.Errorf("in noise found at %d, %.3f alike", at, like)
	}
	if _, like := Find(pattern, speech(t, "speech-b.ogg"), 5*Rate); like > 0.4 {
		t.Errorf("other speech is %.3f alike", like)
	}
	if _, like := Find(pattern, make([]float64, 6*Rate), 5*Rate); like > 1e-6 {
		t.Errorf("silence is %.9f alike", like)
	}
}
