// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/p2pos/p2pos/media"
)

// MaxVoices is how many tracks a Mixer takes, as many as a group call has people.
const MaxVoices = 8

// ErrVoices reports a ninth track.
var ErrVoices = errors.New("voice: eight voices are mixed at most")

const (
	// mixPiece is how much is mixed at once: the gain moves in steps of 5 ms.
	mixPiece = SampleRate / 200
	// mixRise is by how much the gain rises in each piece after it fell: 6 dB in a
	// second, 2^(1/200).
	mixRise = 1.003472
)

// Mixer is one ear for many tracks: it decodes each, measures it, and sums. Where
// the sum would clip, all become softer, at once, and louder again by 6 dB in a
// second. A single voice passes through untouched. All methods may be called from
// anywhere.
type Mixer struct {
	channels int

	mu     sync.Mutex // guards what follows
	voices []*Speaker
	gain   float64
	one    [2 * mixPiece]int16
	sum    [2 * mixPiece]int32
}

// NewMixer returns a Mixer of 1 or 2 channels without tracks.
func NewMixer(channels int) *Mixer {
	return &Mixer{channels: min(max(channels, 1), 2), gain: 1}
}

// Add mixes a track in until it ends, from now on. dec makes as many channels as
// the Mixer has and belongs to this track alone, and nobody else may read in. The
// Speaker that is returned is for its Level. Error: ErrVoices.
func (m *Mixer) Add(in *media.In, dec media.Decoder) (*Speaker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.voices) == MaxVoices {
		return nil, ErrVoices
	}
	s := NewSpeaker(in, dec, m.channels)
	m.voices = append(m.voices, s)
	return s, nil
}

// Remove takes a track out before it ends. One that isn't in is no error.
func (m *Mixer) Remove(s *Speaker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.voices = slices.DeleteFunc(m.voices, func(v *Speaker) bool { return v == s })
}

// ReadPCM fills all of pcm with the sound of all to be heard from now on, silence
// without any; it is a [Source] as a Speaker is, that never ends.
func (m *Mixer) ReadPCM(pcm []int16) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pcm = pcm[:len(pcm)-len(pcm)%m.channels]
	for rest := pcm; len(rest) > 0; {
		n := min(len(rest), mixPiece*m.channels)
		m.piece(rest[:n])
		rest = rest[n:]
	}
	return len(pcm), nil
}

func (m *Mixer) piece(pcm []int16) {
	sum := m.sum[:len(pcm)]
	clear(sum)
	m.voices = slices.DeleteFunc(m.voices, func(s *Speaker) bool {
		one := m.one[:len(pcm)]
		_, err := s.ReadPCM(one)
		for i, v := range one { // silence after the end
			sum[i] += int32(v)
		}
		return errors.Is(err, io.EOF)
	})
	peak := int32(0)
	for _, v := range sum {
		peak = max(peak, v, -v-1) // there is a -32768, but no 32768
	}
	gain := min(m.gain*mixRise, 1)
	if most := 32767 / float64(max(peak, 1)); gain > most {
		gain = most
	}
	m.gain = gain
	if gain == 1 {
		for i, v := range sum {
			pcm[i] = int16(v)
		}
		return
	}
	for i, v := range sum {
		pcm[i] = int16(float64(v) * gain)
	}
}
