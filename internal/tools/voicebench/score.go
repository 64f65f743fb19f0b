// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"math"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/tools/estoi"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/voice"
)

// result is how one cell of the table came out.
type result struct {
	estoi     float64       // 1 = every word as it was said
	mos       float64       // E-model, of the two numbers below
	live      float64       // what the call itself said meanwhile; 0 = nothing
	concealed float64       // share of what was heard that nobody said
	delay     time.Duration // mouth to ear, median over the speech
	worst     time.Duration // and the 95th percentile
	rate      float64       // bit/s on the wire, one way, all headers
}

// mean returns the average of two directions.
func mean(a, b result) result {
	return result{
		estoi: (a.estoi + b.estoi) / 2, mos: (a.mos + b.mos) / 2, live: (a.live + b.live) / 2,
		concealed: (a.concealed + b.concealed) / 2,
		delay:     (a.delay + b.delay) / 2, worst: max(a.worst, b.worst), rate: (a.rate + b.rate) / 2,
	}
}

const (
	// maxDelay is how late sound may be and still be found, 2.5 s: pion's buffer
	// begins with one.
	maxDelay = estoi.Rate * 25 / 10
	// before and spread are the range around the usual delay in which the playout
	// may have moved a piece, 100 ms and half a second.
	before = estoi.Rate / 10
	spread = estoi.Rate / 2
)

// rate rates what one heard against what the other said.
func rate(from, to *person, length time.Duration) (result, error) {
	clean, err := estoi.Resample(float(from.said), voice.SampleRate)
	if err != nil {
		return result{}, err
	}
	heard, err := estoi.Resample(float(to.heard), voice.SampleRate)
	if err != nil {
		return result{}, err
	}
	clean = clean[:min(len(clean), int(length.Seconds()*estoi.Rate))]
	base := max(0, usual(clean, heard)-before)
	aligned, lags := estoi.Align(clean, heard[base:], spread)
	var r result
	if r.estoi, err = estoi.Score(clean, aligned, estoi.Rate); err != nil {
		return r, err
	}
	slices.Sort(lags)
	at := func(share float64) time.Duration {
		lag := base + lags[int(share*float64(len(lags)-1))]
		return time.Duration(lag) * time.Second / estoi.Rate
	}
	r.delay, r.worst = at(0.5), at(0.95)
	c := to.count()
	if c.samples > 0 {
		r.concealed = float64(c.concealed) / float64(c.samples)
	}
	r.mos, r.live = media.MOS(r.delay, r.concealed), c.mos
	r.rate = float64(from.bytes) * 8 / (length + tail).Seconds()
	return r, nil
}

func float(pcm []int16) []float64 {
	x := make([]float64, len(pcm))
	for i, v := range pcm {
		x[i] = float64(v) / 32768
	}
	return x
}

// usual returns the delay at which the loudness of both goes together best.
func usual(clean, heard []float64) int {
	const grain = estoi.Rate / 100
	envelope := func(x []float64) []float64 {
		e := make([]float64, len(x)/grain)
		var sum float64
		for i := range e {
			for _, v := range x[i*grain : (i+1)*grain] {
				e[i] += v * v
			}
			e[i] = math.Sqrt(e[i])
			sum += e[i]
		}
		for i := range e {
			e[i] -= sum / float64(len(e))
		}
		return e
	}
	a, b := envelope(clean), envelope(heard)
	best, at := math.Inf(-1), 0
	for lag := range maxDelay / grain {
		var sum float64
		for i, v := range a {
			if i+lag < len(b) {
				sum += v * b[i+lag]
			}
		}
		if sum > best {
			best, at = sum, lag
		}
	}
	return at * grain
}

// chirps returns how long after it was said each chirp was heard, and how many
// were said; those that could not be recognized are left out. The first one is,
// too: a call has to begin.
func chirps(to *person, length time.Duration) (out []time.Duration, said int) {
	pattern := make([]int16, voice.ChirpSamples)
	for i := range pattern {
		pattern[i] = voice.ChirpAt(i)
	}
	p, err := estoi.Resample(float(pattern), voice.SampleRate)
	if err != nil {
		return nil, 0
	}
	heard, err := estoi.Resample(float(to.heard), voice.SampleRate)
	if err != nil {
		return nil, 0
	}
	// The ear's clock may run differently from the world's.
	stretch := to.period.Seconds() / piece.Seconds()
	const every = estoi.Rate * voice.ChirpEvery / voice.SampleRate
	for at := every; at+every <= int(length.Seconds()*estoi.Rate); at += every {
		said++
		from := int(float64(at) / stretch)
		if from >= len(heard) {
			break
		}
		lag, like := estoi.Find(p, heard[from:], every-len(p))
		if like < 0.5 {
			continue
		}
		when := float64(from+lag)*stretch - float64(at)
		out = append(out, time.Duration(when/estoi.Rate*float64(time.Second)))
	}
	return out, said
}

// median returns the middle one; zero of none.
func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
