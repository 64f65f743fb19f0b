// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"math"
)

// SampleRate is the rate of all PCM here, per channel.
const SampleRate = 48000

// A Source gives sound. Values are interleaved, left first.
type Source interface {
	// ReadPCM fills pcm with the next values and returns how many, a whole
	// multiple of the channels and at least one of them. At the end it returns
	// 0 and io.EOF. It may wait, as a sound card does.
	ReadPCM(pcm []int16) (n int, err error)
}

// A Sink takes sound: a whole multiple of the channels.
type Sink interface {
	WritePCM(pcm []int16) error
}

// Silence is a Source that is silent for ever.
type Silence struct{}

// ReadPCM fills all of pcm with zeros.
func (Silence) ReadPCM(pcm []int16) (int, error) {
	clear(pcm)
	return len(pcm), nil
}

// tonePeak is a quarter of full scale: clearly heard, never clipped.
const tonePeak = 8192

// Tone is a Source of a steady mono tone that never ends.
type Tone struct {
	Hertz float64 // 0 = 440
	at    int64
}

// ReadPCM fills all of pcm.
func (t *Tone) ReadPCM(pcm []int16) (int, error) {
	hz := t.Hertz
	if hz == 0 {
		hz = 440
	}
	for i := range pcm {
		_, part := math.Modf(hz * float64(t.at) / SampleRate)
		pcm[i] = int16(math.Round(tonePeak * math.Sin(2*math.Pi*part)))
		t.at++
	}
	return len(pcm), nil
}

// The chirp sweeps the band that every voice codec keeps, up to 3.4 kHz, in
// 200 ms: its correlation with itself has one sharp peak, so its arrival is
// known to a sample or two. One each 2 s leaves room to hear the delay.
const (
	ChirpSamples = SampleRate / 5
	ChirpEvery   = 2 * SampleRate
	chirpLow     = 300
	chirpHigh    = 3400
)

// Chirp is a Source of a mono chirp of 200 ms each 2 s, by
// which delay from mouth to ear is measured. It never ends.
type Chirp struct {
	at int64
}

// ReadPCM fills all of pcm.
func (c *Chirp) ReadPCM(pcm []int16) (int, error) {
	for i := range pcm {
		pcm[i] = ChirpAt(int(c.at % ChirpEvery))
		c.at++
	}
	return len(pcm), nil
}

// ChirpAt returns sample i of a chirp, 0 outside of it. It fades in and out over
// 10 ms, so that its ends are no clicks.
func ChirpAt(i int) int16 {
	if i < 0 || i >= ChirpSamples {
		return 0
	}
	const fade = SampleRate / 100
	gain := min(1, float64(min(i, ChirpSamples-1-i))/fade)
	t := float64(i) / SampleRate
	const slope = (chirpHigh - chirpLow) * SampleRate / float64(ChirpSamples)
	return int16(math.Round(tonePeak * gain * math.Sin(2*math.Pi*(chirpLow*t+slope*t*t/2))))
}
