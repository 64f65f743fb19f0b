// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package estoi

import "math"

const (
	// piece is compared at once, 160 ms, and step is how often: long enough to
	// be unlike its neighbours by a pitch period, short enough that playout
	// changes its delay at most once in it.
	piece = Rate * 160 / 1000
	step  = Rate * 40 / 1000
	// jump is what a change of delay must gain in correlation, summed over
	// pieces. Neighbouring pitch periods look alike, and a lost piece like
	// anything; neither may move the delay.
	jump = 0.6
	// quiet is how far below the loudest piece one counts for nothing, 30 dB.
	quiet = 0.03
	// fade joins two delays, 5 ms.
	fade = Rate * 5 / 1000
)

// Align brings degraded in step with clean, both at Rate and begun at the same
// moment, where it lags by 0 to limit samples and the lag may change. It
// returns degraded in the time of clean and the lag for each step of 40 ms.
//
// The lags are those that explain the whole best: the correlation of all pieces
// with speech in them, less a price for each change.
func Align(clean, degraded []float64, limit int) (aligned []float64, lags []int) {
	n := max(0, (len(clean)-piece)/step+1)
	lags = trace(match(clean, degraded, limit, n))
	aligned = make([]float64, len(clean))
	for t := range aligned {
		if n == 0 {
			break
		}
		// A piece speaks for the time around its middle.
		at := t - (piece-step)/2
		i := min(max(at, 0)/step, n-1)
		v := sample(degraded, t+lags[i])
		if into := at - i*step; i > 0 && into >= 0 && into < fade && lags[i] != lags[i-1] {
			old := sample(degraded, t+lags[i-1])
			v = old + (v-old)*float64(into)/fade
		}
		aligned[t] = v
	}
	return aligned, lags
}

func sample(x []float64, i int) float64 {
	if i < 0 || i >= len(x) {
		return 0
	}
	return x[i]
}

// match returns, for each piece and lag, the normalized correlation, weighted
// by whether there is speech.
func match(clean, degraded []float64, limit, n int) [][]float64 {
	c := newCorrelator(piece + limit)
	power := make([]float64, n)
	var loudest float64
	for i := range power {
		power[i] = energy(clean[i*step : i*step+piece])
		loudest = max(loudest, power[i])
	}
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, limit+1)
		weight := math.Sqrt(power[i] / (loudest + tiny))
		if weight < quiet {
			continue
		}
		in := degraded[min(i*step, len(degraded)):]
		in = in[:min(len(in), piece+limit)]
		product := c.correlate(clean[i*step:i*step+piece], in)
		e := energy(in[:min(len(in), piece)])
		floor := 1e-6 * power[i]
		for lag := range out[i] {
			out[i][lag] = min(1, 4*weight) * real(product[lag]) / math.Sqrt(power[i]*(max(e, 0)+floor)+tiny)
			gone, come := sample(in, lag), sample(in, lag+piece)
			e += come*come - gone*gone
		}
	}
	return out
}

func energy(x []float64) (e float64) {
	for _, v := range x {
		e += v * v
	}
	return e
}

// trace finds the lags of the highest sum (Viterbi). Moving by one sample is
// free, which lets clocks drift.
func trace(score [][]float64) []int {
	if len(score) == 0 {
		return nil
	}
	states := len(score[0])
	from := make([][]int32, len(score))
	sum := append([]float64(nil), score[0]...)
	next := make([]float64, states)
	for i := 1; i < len(score); i++ {
		from[i] = make([]int32, states)
		best := argmax(sum)
		for s := range next {
			p := s
			if s > 0 && sum[s-1] > sum[p] {
				p = s - 1
			}
			if s+1 < states && sum[s+1] > sum[p] {
				p = s + 1
			}
			v := sum[p]
			if sum[best]-jump > v {
				p, v = best, sum[best]-jump
			}
			next[s], from[i][s] = v+score[i][s], int32(p)
		}
		sum, next = next, sum
	}
	lags := make([]int, len(score))
	s := argmax(sum)
	for i := len(score) - 1; i >= 0; i-- {
		lags[i] = s
		if i > 0 {
			s = int(from[i][s])
		}
	}
	return lags
}

func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// Find returns where in x a pattern begins that looks like it the most, up to
// limit, and how much: 1 is the same at any loudness, near 0 is chance.
func Find(pattern, x []float64, limit int) (at int, like float64) {
	x = x[:min(len(x), len(pattern)+limit)]
	product := newCorrelator(len(pattern)+limit).correlate(pattern, x)
	want := energy(pattern)
	have := energy(x[:min(len(x), len(pattern))])
	for i := 0; i <= limit && i < len(x); i++ {
		// What has next to no sound in it is not like anything.
		if l := real(product[i]) / math.Sqrt(want*max(have, 1e-6*want)+tiny); l > like {
			at, like = i, l
		}
		gone, come := sample(x, i), sample(x, i+len(pattern))
		have += come*come - gone*gone
	}
	return at, like
}
