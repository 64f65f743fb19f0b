// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus

import (
	"fmt"
	"time"

	"github.com/hraban/opus"
)

// Available says whether this build has libopus.
const Available = true

// Encoder turns PCM into Opus packets of one frame each.
type Encoder struct {
	enc      *opus.Encoder
	channels int
	samples  int
}

// NewEncoder returns an Encoder for c.
func NewEncoder(c EncoderConfig) (*Encoder, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	enc, err := opus.NewEncoder(SampleRate, c.Channels, opus.AppVoIP)
	if err != nil {
		return nil, fmt.Errorf("libopus: new encoder: %w", err)
	}
	e := &Encoder{enc: enc, channels: c.Channels, samples: int(c.Frame * SampleRate / time.Second)}
	if err := e.SetComplexity(c.Complexity); err != nil {
		return nil, err
	}
	if err := e.SetBitrate(c.Bitrate); err != nil {
		return nil, err
	}
	if err := e.SetFEC(c.FEC); err != nil {
		return nil, err
	}
	if err := e.SetLoss(c.LossPercent); err != nil {
		return nil, err
	}
	return e, e.SetDTX(c.DTX)
}

// Channels returns how many channels the encoder takes, interleaved.
func (e *Encoder) Channels() int { return e.channels }

// Samples returns how many samples per channel a frame has.
func (e *Encoder) Samples() int { return e.samples }

// SetFrame changes the duration of a frame, and so Samples, from the next one
// on: 10, 20, 40 or 60 ms.
func (e *Encoder) SetFrame(d time.Duration) error {
	if err := checkFrame(d); err != nil {
		return err
	}
	e.samples = int(d * SampleRate / time.Second)
	return nil
}

// SetComplexity changes how much CPU goes into a frame, 1 to 10.
func (e *Encoder) SetComplexity(n int) error {
	if err := checkComplexity(n); err != nil {
		return err
	}
	if err := e.enc.SetComplexity(n); err != nil {
		return fmt.Errorf("libopus: set complexity: %w", err)
	}
	return nil
}

// Encode encodes one frame, exactly Samples × channels values, into packet and
// returns the packet's length. MaxPacket bytes always suffice; a shorter
// packet is filled with lower quality. With DTX a length of at most 2 means
// that nothing needs sending.
func (e *Encoder) Encode(pcm []int16, packet []byte) (n int, err error) {
	if len(pcm) != e.samples*e.channels {
		return 0, fmt.Errorf("libopus: %d values of PCM, want %d", len(pcm), e.samples*e.channels)
	}
	// The library below writes up to the capacity, not the length.
	room := min(len(packet), MaxPacket)
	packet = packet[:room:room]
	if n, err = e.enc.Encode(pcm, packet); err != nil {
		return 0, fmt.Errorf("libopus: encode into %d bytes: %w", room, err)
	}
	return n, nil
}

// SetBitrate changes the bitrate from the next frame on, in bits per second.
func (e *Encoder) SetBitrate(bps int) error {
	if err := checkBitrate(bps); err != nil {
		return err
	}
	if err := e.enc.SetBitrate(bps); err != nil {
		return fmt.Errorf("libopus: set bitrate: %w", err)
	}
	return nil
}

// SetLoss tells the encoder what packet loss to prepare for, 0 to 100 percent.
func (e *Encoder) SetLoss(percent int) error {
	if err := checkLoss(percent); err != nil {
		return err
	}
	if err := e.enc.SetPacketLossPerc(percent); err != nil {
		return fmt.Errorf("libopus: set loss: %w", err)
	}
	return nil
}

// SetFEC turns in-band FEC on or off.
func (e *Encoder) SetFEC(on bool) error {
	if err := e.enc.SetInBandFEC(on); err != nil {
		return fmt.Errorf("libopus: set FEC: %w", err)
	}
	return nil
}

// SetDTX turns discontinuous transmission on or off.
func (e *Encoder) SetDTX(on bool) error {
	if err := e.enc.SetDTX(on); err != nil {
		return fmt.Errorf("libopus: set DTX: %w", err)
	}
	return nil
}
