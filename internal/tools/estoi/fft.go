// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package estoi

import (
	"fmt"
	"math"
	"math/bits"
	"math/cmplx"
)

// fft is the radix-2 transform of one size, a power of two.
type fft struct {
	twiddle []complex128
}

func newFFT(n int) *fft {
	f := &fft{twiddle: make([]complex128, n/2)}
	for i := range f.twiddle {
		f.twiddle[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/float64(n))
	}
	return f
}

// transform replaces x by its spectrum.
func (f *fft) transform(x []complex128) {
	n := len(x)
	shift := 64 - bits.TrailingZeros(uint(n))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for half := 1; half < n; half *= 2 {
		step := n / (2 * half)
		for at := 0; at < n; at += 2 * half {
			for k := range half {
				a, b := x[at+k], x[at+k+half]*f.twiddle[k*step]
				x[at+k], x[at+k+half] = a+b, a-b
			}
		}
	}
}

// inverse replaces a spectrum by its signal.
func (f *fft) inverse(x []complex128) {
	for i := range x {
		x[i] = cmplx.Conj(x[i])
	}
	f.transform(x)
	for i := range x {
		x[i] = cmplx.Conj(x[i]) / complex(float64(len(x)), 0)
	}
}

// correlator finds how alike a piece is to sound at each lag.
type correlator struct {
	fft  *fft
	a, b []complex128
}

// newCorrelator returns one for sound of up to n samples.
func newCorrelator(n int) *correlator {
	size := 2
	for size < n {
		size *= 2
	}
	return &correlator{newFFT(size), make([]complex128, size), make([]complex128, size)}
}

// correlate returns the product of the piece with the sound at each lag, as far
// as all of the piece lies within the n samples. It is valid until the next call.
func (c *correlator) correlate(piece, sound []float64) []complex128 {
	// Two real signals in one transform: its even part is the first one's
	// spectrum, its odd part the second one's.
	clear(c.a)
	for i, v := range piece {
		c.a[i] = complex(v, 0)
	}
	for i, v := range sound {
		c.a[i] += complex(0, v)
	}
	c.fft.transform(c.a)
	n := len(c.a)
	for k := range c.a {
		x, y := c.a[k], cmplx.Conj(c.a[(n-k)%n])
		p, s := (x+y)/2, (x-y)/2i
		c.b[k] = s * cmplx.Conj(p)
	}
	c.fft.inverse(c.b)
	return c.b
}

const (
	// taps is half the length of the resampling filter in periods of the lower
	// rate: a transition of about 200 Hz, well above the highest band.
	taps = 32
	// beta shapes its Kaiser window for 80 dB of stop band.
	beta = 8
)

// Resample brings x to 10 kHz by windowed-sinc interpolation.
func Resample(x []float64, from int) ([]float64, error) {
	if from < Rate {
		return nil, fmt.Errorf("estoi: %d samples a second, want at least %d", from, Rate)
	}
	if from == Rate {
		return x, nil
	}
	// Output i lies at i×up/down of the input: only down different filters.
	g := gcd(from, Rate)
	up, down := from/g, Rate/g
	filters := make([][]float64, down)
	ratio := float64(from) / Rate
	reach := int(math.Ceil(taps * ratio))
	norm := 1 / (bessel(beta) * ratio)
	for p := range filters {
		filters[p] = make([]float64, 2*reach+1)
		part := float64(p*up%down) / float64(down)
		for k := range filters[p] {
			d := (float64(k-reach) - part) / ratio
			u := min(1, math.Abs(d)/taps)
			filters[p][k] = sinc(d) * bessel(beta*math.Sqrt(1-u*u)) * norm
		}
	}
	out := make([]float64, len(x)*down/up)
	for i := range out {
		first := i*up/down - reach
		var sum float64
		for k, c := range filters[i%down] {
			if j := first + k; j >= 0 && j < len(x) {
				sum += c * x[j]
			}
		}
		out[i] = sum
	}
	return out, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel is the modified Bessel function of the first kind, order 0.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}
