// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"sync"

	"github.com/p2pos/p2pos/media"
)

// Speaker gives the sound of a track to whoever pulls it, a sound card's
// callback for instance. It never blocks: where nothing has come, there is
// silence or what the decoder invents. All methods may be called from anywhere.
type Speaker struct {
	mu       sync.Mutex // guards what follows
	sound    *media.Sound
	channels int
}

// NewSpeaker returns a Speaker of 1 or 2 channels, as many as dec makes. Nobody
// else may read in meanwhile.
func NewSpeaker(in *media.In, dec media.Decoder, channels int) *Speaker {
	channels = min(max(channels, 1), 2)
	return &Speaker{sound: media.NewSound(in, dec, channels), channels: channels}
}

// ReadPCM fills all of pcm with the sound to be heard from now on. It is a
// [Source] whose reader sets the pace: one that is faster or slower than 48 kHz
// by the usual inaccuracy of clocks hears the sound a little slower or faster,
// and one that stopped goes on with what is said now. After the end of the track
// pcm is silence and the error io.EOF.
func (s *Speaker) ReadPCM(pcm []int16) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pcm = pcm[:len(pcm)-len(pcm)%s.channels]
	if err := s.sound.Read(pcm); err != nil {
		return 0, err
	}
	return len(pcm), nil
}

// Level returns how loud the sound is, in -dBov from 0 to 127, falling slowly as
// a meter does, and whether somebody speaks.
func (s *Speaker) Level() (level uint8, voice bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sound.Level()
}
