// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !(cgo && libopus)

package libopus

import "time"

// Available says whether this build has libopus.
const Available = false

// Encoder is out of reach in this build: NewEncoder returns ErrUnavailable.
type Encoder struct{}

// NewEncoder returns ErrUnavailable, or what is wrong with c.
func NewEncoder(c EncoderConfig) (*Encoder, error) {
	if _, err := c.withDefaults(); err != nil {
		return nil, err
	}
	return nil, ErrUnavailable
}

// Channels returns 0.
func (*Encoder) Channels() int { return 0 }

// SetFrame returns ErrUnavailable.
func (*Encoder) SetFrame(d time.Duration) error { return ErrUnavailable }

// SetComplexity returns ErrUnavailable.
func (*Encoder) SetComplexity(n int) error { return ErrUnavailable }

// Samples returns 0.
func (*Encoder) Samples() int { return 0 }

// Encode returns ErrUnavailable.
func (*Encoder) Encode(pcm []int16, packet []byte) (n int, err error) { return 0, ErrUnavailable }

// SetBitrate returns ErrUnavailable.
func (*Encoder) SetBitrate(bps int) error { return ErrUnavailable }

// SetLoss returns ErrUnavailable.
func (*Encoder) SetLoss(percent int) error { return ErrUnavailable }

// SetFEC returns ErrUnavailable.
func (*Encoder) SetFEC(on bool) error { return ErrUnavailable }

// SetDTX returns ErrUnavailable.
func (*Encoder) SetDTX(on bool) error { return ErrUnavailable }

// Decoder is out of reach in this build: NewDecoder returns ErrUnavailable.
type Decoder struct{}

// NewDecoder returns ErrUnavailable, or what is wrong with channels.
func NewDecoder(channels int) (*Decoder, error) {
	if err := checkChannels(channels); err != nil {
		return nil, err
	}
	return nil, ErrUnavailable
}

// Decode returns ErrUnavailable.
func (*Decoder) Decode(packet []byte, pcm []int16) (samplesPerChannel int, err error) {
	return 0, ErrUnavailable
}

// DecodeFEC returns ErrUnavailable.
func (*Decoder) DecodeFEC(next []byte, pcm []int16, samples int) (int, error) {
	return 0, ErrUnavailable
}

// Conceal returns 0.
func (*Decoder) Conceal(pcm []int16, samples int) int { return 0 }
