// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "math"

// Silence is the lowest level there is, -127 dBov (RFC 6464 §3).
const Silence = 127

// Level measures PCM as RFC 6464 §3 has it: the root mean square in -dBov, 0
// for as loud as can be and 127 for silence.
func Level(pcm []int16) uint8 {
	if len(pcm) == 0 {
		return Silence
	}
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return Silence
	}
	// 0 dBov is the level of a square wave of full scale (RFC 6464 §3).
	db := 10 * math.Log10(sum/float64(len(pcm))/(32768*32768))
	return uint8(min(max(math.Round(-db), 0), Silence))
}

// Linear turns a level in -dBov into an audioLevel of W3C webrtc-stats: 1 for 0
// dBov, half for each 6 dB below, 0 for silence.
func Linear(level uint8) float64 {
	if level >= Silence {
		return 0
	}
	return math.Pow(10, -float64(level)/20)
}

const (
	// meterFall is how fast a meter's needle falls, in dB for each 20 ms: 60 dB
	// in a second, so that an eye can follow and a pause shows.
	meterFall = 1.2
	// voiceAbove is how many dB above the noise sound must be to count as
	// voice, voiceHold how many updates that is held between words (300 ms).
	voiceAbove = 9
	voiceHold  = 15
	// noiseRise is how fast the measure of noise creeps up in dB for each
	// update; it falls at once.
	noiseRise = 0.05
	// noiseLeast is taken for the noise of the quietest room.
	noiseLeast = -65
)

// Meter shows a level: up at once, down slowly, and whether somebody speaks.
// It is pure; the zero value is ready and shows silence.
type Meter struct {
	begun bool
	level float64 // dBov, falling
	noise float64
	hold  int
}

// Add takes the next piece of sound, 20 ms or thereabouts.
func (m *Meter) Add(pcm []int16) {
	now := -float64(Level(pcm))
	if !m.begun {
		*m = Meter{begun: true, level: -Silence, noise: max(now, noiseLeast)}
	}
	m.level = max(now, m.level-meterFall, -Silence)
	m.noise = max(min(now, m.noise+noiseRise), noiseLeast)
	if m.hold--; now > m.noise+voiceAbove {
		m.hold = voiceHold
	}
	m.hold = max(m.hold, 0)
}

// Level returns the needle in -dBov, 0 to 127.
func (m *Meter) Level() uint8 {
	if !m.begun {
		return Silence
	}
	return uint8(math.Round(-m.level))
}

// Voice says whether somebody speaks, or did just now (the V bit of RFC 6464).
func (m *Meter) Voice() bool { return m.hold > 0 }
