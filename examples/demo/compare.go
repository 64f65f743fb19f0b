// SPDX-License-Identifier: 0BSD

package main

import (
	"math"
	"time"

	"github.com/p2pos/p2pos/media"
)

// What was heard is compared with what was said in blocks of 200 ms, by the
// correlation of their waveforms at 8 kHz. Blocks, since the playout buffer
// may leave out or insert a frame now and then, and waits longer for what comes
// after a busy machine has stalled all nodes, which moves all that follows;
// waveforms, since energies alone are much the same for anybody's speech.
const (
	lowRate   = 8000
	decimate  = media.ClockRate / lowRate
	blockLow  = lowRate / 5   // samples of a block
	searchLow = lowRate / 2   // how far the next block may have moved
	envLow    = lowRate / 100 // samples of the envelope's steps

	// sameSound is from which correlation on a block counts as heard, and
	// enoughHeard the share of the speech that has to be. Without losses both
	// are 1; a lost packet spoils the waveform for longer than it is heard, so
	// this lets some 2 % of losses pass. Other voices and noise stay below 0.4.
	sameSound   = 0.7
	enoughHeard = 0.8

	// quietBelow is the level, in the speech's own, below which a block is a
	// pause, and nobody is asked whether they heard it.
	quietBelow = 0.1
)

// block is a stretch of what was said.
type block struct {
	Speech      bool    // else it is a pause
	Correlation float64 // with what was heard, 0 to 1
}

// heard is what came of what was said.
type heard struct {
	Blocks      []block
	Share       float64       // of the speech that was heard, 0 to 1
	Correlation float64       // mean over all speech
	Lag         time.Duration // how much later it is in the recording
}

func (h heard) enough() bool { return h.Share >= enoughHeard }

// compare looks for what was said in a recording, both at 48 kHz.
func compare(said, recorded []int16) heard {
	s, r := lower(said), lower(recorded)
	var h heard
	level := rms(s)
	lag := roughLag(s, r)
	var speech, found, sum float64
	var lags []int
	for at := 0; at+blockLow <= len(s); at += blockLow {
		b := s[at : at+blockLow]
		var judged block
		if own := rms(b); own > 0 && own >= quietBelow*level {
			var best int
			judged.Speech = true
			judged.Correlation, best = find(b, r, at+lag)
			speech++
			sum += judged.Correlation
			if judged.Correlation >= sameSound {
				found++
				lag = best - at
				lags = append(lags, lag)
			}
		}
		h.Blocks = append(h.Blocks, judged)
	}
	if speech > 0 {
		h.Share, h.Correlation = found/speech, sum/speech
	}
	if len(lags) > 0 {
		h.Lag = time.Duration(lags[len(lags)/2]) * time.Second / lowRate
	}
	return h
}

// find returns where in r, around at, b correlates best, and how well.
func find(b, r []float64, at int) (correlation float64, best int) {
	best = at
	look := func(from, to int) {
		for i := max(from, 0); i <= min(to, len(r)-len(b)); i++ {
			if c := correlate(b, r[i:i+len(b)]); c > correlation {
				correlation, best = c, i
			}
		}
	}
	look(at-1, at+1) // most often it has not moved
	if correlation < sameSound {
		look(at-searchLow, at+searchLow)
	}
	return correlation, best
}

// correlate is the normalized correlation of two sounds of one length.
func correlate(a, b []float64) float64 {
	var ab, aa, bb float64
	for i, v := range a {
		ab += v * b[i]
		aa += v * v
		bb += b[i] * b[i]
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// roughLag returns how much later s is in r, to a hundredth of a second, by
// the rise and fall of their energies.
func roughLag(s, r []float64) int {
	a, b := envelope(s), envelope(r)
	best, lag := 0.0, 0
	for l := -len(a); l <= len(b); l++ {
		sum := 0.0
		for i := max(0, -l); i < min(len(a), len(b)-l); i++ {
			sum += a[i] * b[i+l]
		}
		if sum > best {
			best, lag = sum, l
		}
	}
	return lag * envLow
}

// envelope is the level in steps of 10 ms, with the mean taken off.
func envelope(s []float64) []float64 {
	e := make([]float64, len(s)/envLow)
	mean := 0.0
	for i := range e {
		e[i] = rms(s[i*envLow : (i+1)*envLow])
		mean += e[i] / float64(len(e))
	}
	for i := range e {
		e[i] -= mean
	}
	return e
}

// lower brings 48 kHz to 8 kHz by averaging, which is filter enough for speech.
func lower(pcm []int16) []float64 {
	out := make([]float64, len(pcm)/decimate)
	for i := range out {
		sum := 0
		for _, v := range pcm[i*decimate : (i+1)*decimate] {
			sum += int(v)
		}
		out[i] = float64(sum) / decimate
	}
	return out
}

func rms[T int16 | float64](s []T) float64 {
	if len(s) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range s {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(s)))
}
