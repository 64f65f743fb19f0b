// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import "math"

const (
	// fadeSamples is how long concealment stays audible: one usual frame,
	// 20 ms. Repeating longer than that is heard as a buzz.
	fadeSamples = 960

	// joinSamples is the cross-fade back into decoded sound, 2.5 ms: long
	// enough to hide a step, too short to soften a consonant.
	joinSamples = 120
)

// concealer invents the sound of lost frames. It plays the last fadeSamples
// backwards while fading them out. Going backwards needs no pitch search and
// starts on the very sample where the sound broke off, so there is no step.
type concealer struct {
	channels int
	tail     []int16 // last decoded sound, interleaved, fadeSamples long
	filled   int     // samples per channel of tail that are real, at its end
	pos      int     // samples per channel concealed since
	active   bool    // concealing: the next decoded frame needs a cross-fade
}

func newConcealer(channels int) concealer {
	return concealer{channels: channels, tail: make([]int16, fadeSamples*channels)}
}

// fill writes the next samples of concealment into all of pcm.
func (c *concealer) fill(pcm []int16) {
	c.active = true
	for len(pcm) > 0 {
		if c.pos >= c.filled {
			clear(pcm)
			return
		}
		c.frame(pcm[:c.channels])
		pcm = pcm[c.channels:]
	}
}

// frame writes one sample for each channel and moves on.
func (c *concealer) frame(out []int16) {
	if c.pos >= c.filled {
		clear(out)
		return
	}
	// Raised cosine: flat where it begins and where it ends.
	gain := 0.5 + 0.5*math.Cos(math.Pi*float64(c.pos)/float64(c.filled))
	at := len(c.tail) - (c.pos+1)*c.channels
	for i := range out {
		out[i] = int16(gain * float64(c.tail[at+i]))
	}
	c.pos++
}

// decoded takes note of a decoded frame and, right after a loss, fades from
// the concealment into it.
func (c *concealer) decoded(pcm []int16) {
	if c.active {
		c.join(pcm)
		c.active = false
	}
	c.pos = 0
	n := copy(c.tail, c.tail[min(len(pcm), len(c.tail)):])
	copy(c.tail[n:], pcm[max(0, len(pcm)-len(c.tail)):])
	c.filled = min(fadeSamples, c.filled+len(pcm)/c.channels)
}

func (c *concealer) join(pcm []int16) {
	var old [2]int16
	n := min(joinSamples, len(pcm)/c.channels)
	for i := range n {
		c.frame(old[:c.channels])
		for ch := range c.channels {
			s := &pcm[i*c.channels+ch]
			*s = int16((int(*s)*i + int(old[ch])*(n-i)) / n)
		}
	}
}
