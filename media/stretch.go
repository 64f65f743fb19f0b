// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "math"

const (
	// stretchLeast and stretchMost bound the period that is taken out or put in:
	// 400 to 100 Hz. A higher voice repeats within, a lower one would need more
	// sound than a 20 ms frame has.
	stretchLeast = ClockRate / 400
	stretchMost  = ClockRate / 100
	// stretchCoarse is the step of the first search: 4 kHz are enough to find a
	// pitch, the best place is then found to the sample.
	stretchCoarse = 12
	// stretchQuiet is the amplitude under which a join cannot be heard, -60 dBov.
	stretchQuiet = 33
	// stretchPatience is after how many refusals a join is made as it is: noise
	// has no pitch, and hides a join.
	stretchPatience = 10
)

// How alike two periods must be for a join, by how much the delay is off.
const (
	likeSlow = 0.85
	likeFast = 0.6
	likeHard = 0.3
)

// Stretch makes sound shorter or longer without a click and without changing
// its pitch: it finds a pitch period, and takes it out or repeats it where the
// sound overlaps with itself best (WSOLA: Verhelst and Roelands 1993). It is
// pure. The zero value is not ready; see NewStretch.
type Stretch struct {
	channels int
	refused  int
	coarse   [maxPacketSamples / stretchCoarse]float32
	mono     [maxPacketSamples]float32
}

// NewStretch returns a Stretch for 48 kHz PCM of 1 or 2 interleaved channels.
func NewStretch(channels int) *Stretch { return &Stretch{channels: min(max(channels, 1), 2)} }

// Adjust shortens the sound in pcm by up to long samples when long is positive,
// or lengthens it by up to -long. It returns how many samples a channel it then
// has: the sound stays at the beginning of pcm, whose capacity must do for half
// as much again. Frames that offer no good place, and those under 5 ms, stay as
// they are; long is taken as a wish, and a period may go a little beyond.
func (s *Stretch) Adjust(pcm []int16, long int) int {
	n := len(pcm) / s.channels
	far := toDuration(int64(max(long, -long)))
	most := min(n/2, stretchMost)
	if long == 0 || most < stretchLeast || n > maxPacketSamples {
		return n
	}
	if far < stretchGentle { // a period much too long would swing to the other side
		most = max(min(most, max(long, -long)+stretchLeast), stretchLeast)
	}
	period, like, quiet := s.search(pcm, n, most)
	want := float32(likeSlow)
	switch {
	case far > stretchFar:
		want = likeHard
	case far > stretchGentle:
		want = likeFast
	}
	if !quiet && like < want && s.refused < stretchPatience {
		s.refused++
		return n
	}
	s.refused = 0
	if long > 0 {
		return s.shorten(pcm, n, period)
	}
	if cap(pcm) < (n+period)*s.channels {
		return n
	}
	return s.lengthen(pcm[:(n+period)*s.channels], n, period)
}

// search returns the distance at which the sound repeats itself best, and how
// well from -1 to 1.
func (s *Stretch) search(pcm []int16, n, most int) (period int, like float32, quiet bool) {
	loud := 0
	for i := range n {
		v := 0
		for c := range s.channels {
			x := int(pcm[i*s.channels+c])
			loud = max(loud, x, -x)
			v += x
		}
		s.mono[i] = float32(v)
	}
	if loud < stretchQuiet {
		return most, 1, true
	}
	m := n / stretchCoarse
	for i := range m {
		var v float32
		for _, x := range s.mono[i*stretchCoarse : (i+1)*stretchCoarse] {
			v += x
		}
		s.coarse[i] = v
	}
	best, at := float32(math.Inf(-1)), stretchLeast/stretchCoarse
	for p := stretchLeast / stretchCoarse; p <= most/stretchCoarse; p++ {
		if l := alike(s.coarse[:p], s.coarse[p:2*p]); l > best {
			best, at = l, p
		}
	}
	at *= stretchCoarse
	best = float32(math.Inf(-1))
	for p := max(at-stretchCoarse, stretchLeast); p <= min(at+stretchCoarse, most); p++ {
		if l := alike(s.mono[:p], s.mono[p:2*p]); l > best {
			best, period = l, p
		}
	}
	return period, best, false
}

// alike is the normalized cross-correlation.
func alike(a, b []float32) float32 {
	var ab, aa, bb float32
	b = b[:len(a)]
	for i, x := range a {
		y := b[i]
		ab += x * y
		aa += x * x
		bb += y * y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / float32(math.Sqrt(float64(aa)*float64(bb)))
}

// shorten blends the first period into the second: what comes before joins the
// first, what comes after follows the second.
func (s *Stretch) shorten(pcm []int16, n, period int) int {
	k := period * s.channels
	s.blend(pcm[:k], pcm[:k], pcm[k:2*k])
	copy(pcm[k:], pcm[2*k:n*s.channels])
	return n - period
}

// lengthen goes back one period after the first one.
func (s *Stretch) lengthen(pcm []int16, n, period int) int {
	k := period * s.channels
	copy(pcm[2*k:], pcm[k:n*s.channels]) // behind: from the second period on, as it was
	// In between: the second period turning into the first.
	s.blend(pcm[k:2*k], pcm[2*k:3*k], pcm[:k])
	return n + period
}

// blend fades from a to b.
func (s *Stretch) blend(dst, a, b []int16) {
	n := len(dst) / s.channels
	for i := range n {
		for c := range s.channels {
			j := i*s.channels + c
			dst[j] = int16((int(a[j])*(n-i) + int(b[j])*i) / n)
		}
	}
}
