// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hraban/opus"
)

// plcStep is the unit of concealment, 2.5 ms: libopus refuses others.
const plcStep = 120

// Decoder turns Opus packets into PCM. A mono stream plays on both channels of
// a stereo Decoder and a stereo stream is mixed down for a mono one.
type Decoder struct {
	dec      *opus.Decoder
	channels int
}

// NewDecoder returns a Decoder for 1 or 2 channels.
func NewDecoder(channels int) (*Decoder, error) {
	if err := checkChannels(channels); err != nil {
		return nil, err
	}
	dec, err := opus.NewDecoder(SampleRate, channels)
	if err != nil {
		return nil, fmt.Errorf("libopus: new decoder: %w", err)
	}
	return &Decoder{dec: dec, channels: channels}, nil
}

// Decode decodes packet into pcm and returns how many samples it holds per
// channel. MaxSamples × channels always suffice; if pcm is shorter than the
// packet the error wraps io.ErrShortBuffer. A packet that is not valid Opus
// gives ErrPacket; the caller conceals instead.
func (d *Decoder) Decode(packet []byte, pcm []int16) (samplesPerChannel int, err error) {
	if len(packet) == 0 {
		return 0, fmt.Errorf("%w: empty", ErrPacket)
	}
	pcm = d.clip(pcm, MaxSamples)
	if len(pcm) == 0 {
		return 0, fmt.Errorf("libopus: no room for PCM: %w", io.ErrShortBuffer)
	}
	n, err := d.dec.Decode(packet, pcm)
	if err != nil {
		return 0, decodeError(err, len(packet), len(pcm))
	}
	return n, nil
}

// DecodeFEC fills pcm with the lost frame of samples per channel that came
// before the packet next, from the copy that next may carry, and returns how
// many it wrote. Without a copy in it the loss is concealed. Afterwards next
// must still be decoded by Decode. Like Conceal it works in steps of 2.5 ms.
func (d *Decoder) DecodeFEC(next []byte, pcm []int16, samples int) (int, error) {
	pcm = d.steps(pcm, samples)
	if len(next) == 0 {
		return 0, fmt.Errorf("%w: empty", ErrPacket)
	}
	if len(pcm) == 0 {
		return 0, fmt.Errorf("libopus: no room for a lost frame: %w", io.ErrShortBuffer)
	}
	if err := d.dec.DecodeFEC(next, pcm); err != nil {
		return 0, decodeError(err, len(next), len(pcm))
	}
	return len(pcm) / d.channels, nil
}

// Conceal fills pcm with up to samples per channel in place of a lost packet,
// going on from the sound before, and returns how many it wrote: fewer when
// pcm is shorter, a whole multiple of 2.5 ms (120 samples), at most
// MaxSamples.
func (d *Decoder) Conceal(pcm []int16, samples int) int {
	pcm = d.steps(pcm, samples)
	if len(pcm) == 0 {
		return 0
	}
	if err := d.dec.DecodePLC(pcm); err != nil {
		// libopus conceals any whole number of steps; should a version
		// disagree, silence is the best guess at a lost frame.
		clear(pcm)
	}
	return len(pcm) / d.channels
}

// steps cuts pcm to samples per channel, rounded down to whole steps.
func (d *Decoder) steps(pcm []int16, samples int) []int16 {
	n := min(samples, len(pcm)/d.channels)
	return d.clip(pcm, max(0, n-n%plcStep))
}

// clip cuts pcm to at most samples per channel and ends its capacity there,
// because the library below writes up to the capacity, not the length.
func (d *Decoder) clip(pcm []int16, samples int) []int16 {
	n := min(samples, len(pcm)/d.channels, MaxSamples) * d.channels
	return pcm[:n:n]
}

func decodeError(err error, packet, pcm int) error {
	if errors.Is(err, opus.ErrBufferTooSmall) {
		return fmt.Errorf("libopus: packet does not fit pcm of %d: %w", pcm, io.ErrShortBuffer)
	}
	return fmt.Errorf("%w: %d bytes: %w", ErrPacket, packet, err)
}
