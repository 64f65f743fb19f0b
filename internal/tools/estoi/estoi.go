// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package estoi rates how intelligible processed speech is: the extended
// short-time objective intelligibility of J. Jensen and C. H. Taal, "An
// Algorithm for Predicting the Intelligibility of Speech Masked by Modulated
// Noise Maskers", IEEE/ACM Transactions on Audio, Speech, and Language
// Processing 24(11), 2016.
//
// [Score] compares two recordings that start at the same moment; [Align] brings
// one in step with the other first, where playout has stretched it.
//
// The score is 1 for the same sound and near 0 for one that has nothing to do
// with it. The authors map it to words understood with a curve fitted to each
// listening test, so compare scores with each other and not with a MOS.
package estoi

import (
	"fmt"
	"math"
)

// Rate is what the measure works at, in samples a second.
const Rate = 10000

// The constants of the paper, section III; silence is removed as in the
// measure it extends (Taal et al. 2011, section II).
const (
	frame    = 256 // 25.6 ms
	hop      = frame / 2
	size     = 512 // of the transform
	bands    = 15  // a third of an octave each
	lowest   = 150 // Hz, centre of the first
	segment  = 30  // frames, 384 ms: the slowest modulation that counts
	dynRange = 40  // dB below the loudest frame, and softer, is silence
)

// Score rates degraded speech against clean, both mono at sampleRate. The
// longer one is cut. The error says that there is less than one segment, 0.4 s,
// of speech in clean.
func Score(clean, degraded []float64, sampleRate int) (float64, error) {
	n := min(len(clean), len(degraded))
	x, err := Resample(clean[:n], sampleRate)
	if err != nil {
		return 0, err
	}
	y, err := Resample(degraded[:n], sampleRate)
	if err != nil {
		return 0, err
	}
	x, y = removeSilence(x, y)
	xs, ys := spectrogram(x), spectrogram(y)
	if len(xs) < segment {
		return 0, fmt.Errorf("estoi: %d frames of speech, want at least %d", len(xs), segment)
	}
	var sum float64
	var xn, yn [bands][segment]float64
	for m := segment; m <= len(xs); m++ {
		normalize(&xn, xs[m-segment:m])
		normalize(&yn, ys[m-segment:m])
		for j := range bands {
			for k := range segment {
				sum += xn[j][k] * yn[j][k]
			}
		}
	}
	return sum / float64(segment*(len(xs)-segment+1)), nil
}

// window is a Hann window without its zeros at both ends.
func window() *[frame]float64 {
	var w [frame]float64
	for i := range w {
		w[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i+1)/(frame+1))
	}
	return &w
}

// removeSilence leaves out the frames in which clean speech x is silent, from
// both, and joins the rest by overlapping.
func removeSilence(x, y []float64) (xs, ys []float64) {
	w := window()
	var power []float64
	loudest := math.Inf(-1)
	for at := 0; at < len(x)-frame; at += hop {
		var e float64
		for i, g := range w {
			e += g * x[at+i] * g * x[at+i]
		}
		db := 20 * math.Log10(math.Sqrt(e)+eps)
		power = append(power, db)
		loudest = max(loudest, db)
	}
	xs, ys = make([]float64, len(x)), make([]float64, len(x))
	n := 0
	for i, p := range power {
		if p <= loudest-dynRange {
			continue
		}
		for k, g := range w {
			xs[n*hop+k] += g * x[i*hop+k]
			ys[n*hop+k] += g * y[i*hop+k]
		}
		n++
	}
	if n == 0 {
		return nil, nil
	}
	end := (n-1)*hop + frame
	return xs[:end], ys[:end]
}

// eps keeps silence finite.
const eps = 0x1p-52

// spectrogram returns the magnitude in each band of each frame.
func spectrogram(x []float64) [][bands]float64 {
	w, edges, fft := window(), edges(), newFFT(size)
	var out [][bands]float64
	buf := make([]complex128, size)
	for at := 0; at < len(x)-frame; at += hop {
		clear(buf)
		for i, g := range w {
			buf[i] = complex(g*x[at+i], 0)
		}
		fft.transform(buf)
		var b [bands]float64
		for j := range b {
			for k := edges[j][0]; k < edges[j][1]; k++ {
				re, im := real(buf[k]), imag(buf[k])
				b[j] += re*re + im*im
			}
			b[j] = math.Sqrt(b[j])
		}
		out = append(out, b)
	}
	return out
}

// edges returns the first bin of each band and the first behind it.
func edges() (e [bands][2]int) {
	bin := func(f float64) int { return int(math.Round(f * size / Rate)) }
	for j := range e {
		e[j][0] = bin(lowest * math.Pow(2, float64(2*j-1)/6))
		e[j][1] = bin(lowest * math.Pow(2, float64(2*j+1)/6))
	}
	return e
}

// normalize makes each band, then each frame, of mean 0 and length 1.
func normalize(out *[bands][segment]float64, in [][bands]float64) {
	for j := range bands {
		var mean float64
		for k := range segment {
			mean += in[k][j] / segment
		}
		var square float64
		for k := range segment {
			v := in[k][j] - mean
			out[j][k] = v
			square += v * v
		}
		scale := 1 / (math.Sqrt(square) + tiny)
		for k := range segment {
			out[j][k] *= scale
		}
	}
	for k := range segment {
		var mean float64
		for j := range bands {
			mean += out[j][k] / bands
		}
		var square float64
		for j := range bands {
			out[j][k] -= mean
			square += out[j][k] * out[j][k]
		}
		scale := 1 / (math.Sqrt(square) + tiny)
		for j := range bands {
			out[j][k] *= scale
		}
	}
}

// tiny is added to lengths, so that a band without any change counts nothing
// instead of dividing by zero. It is far below any sound of 16 bits.
const tiny = 1e-30
