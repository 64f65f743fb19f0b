// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package libopus

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable says that this program was built without libopus, and how to
// build it with it.
var ErrUnavailable = errors.New("libopus: not in this build; install the library (Debian: apt install libopus-dev pkg-config; macOS: brew install opus pkg-config) and build with CGO_ENABLED=1 and -tags libopus,nolibopusfile")

// ErrPacket reports bytes that libopus refuses to decode.
var ErrPacket = errors.New("libopus: malformed packet")

const (
	// SampleRate is the rate of all PCM in this package, per channel.
	SampleRate = 48000

	// MaxSamples is the longest packet, 120 ms, in samples per channel
	// (RFC 6716 §3.4 R5). A pcm slice of MaxSamples × channels fits any packet.
	MaxSamples = 5760

	// MaxPacket bounds what an Encoder makes, in bytes: the longest frame
	// (RFC 6716 §3.4 R2) and a TOC byte. At MaxBitrate 60 ms need about 300.
	MaxPacket = 1276

	// MinBitrate and MaxBitrate bound what is worth sending for voice, in
	// bits per second: below, speech turns muffled; above, nobody hears more.
	MinBitrate = 12000
	MaxBitrate = 40000

	// DefaultBitrate is full-band speech of good quality.
	DefaultBitrate = 24000

	// DefaultComplexity is libopus's own choice: about 0.3 ms of CPU for a
	// 20 ms frame, against 0.15 ms at 5.
	DefaultComplexity = 9

	// DefaultFrame trades header bytes (50 packets/s) for delay as every
	// telephone does.
	DefaultFrame = 20 * time.Millisecond
)

// EncoderConfig sets up an Encoder. The zero value is mono voice at 24 kb/s in
// 20 ms frames, without FEC or DTX.
type EncoderConfig struct {
	// Channels is 1 or 2. Zero means 1.
	Channels int

	// Bitrate in bits per second, MinBitrate to MaxBitrate. Zero means
	// DefaultBitrate. The encoder varies around it.
	Bitrate int

	// Complexity is 1 (least CPU) to 10. Zero means DefaultComplexity.
	Complexity int

	// FEC adds a coarse copy of the previous frame to packets, as far as
	// LossPercent justifies. With LossPercent 0 it costs and does nothing.
	FEC bool

	// LossPercent is the packet loss to prepare for, 0 to 100.
	LossPercent int

	// DTX makes packets of at most 2 bytes while nobody speaks; these need not
	// be sent.
	DTX bool

	// Frame is the duration of a packet: 10, 20, 40 or 60 ms. Zero means
	// DefaultFrame.
	Frame time.Duration
}

// withDefaults returns c with zero fields filled in, or why it can't work.
func (c EncoderConfig) withDefaults() (EncoderConfig, error) {
	if c.Channels == 0 {
		c.Channels = 1
	}
	if c.Bitrate == 0 {
		c.Bitrate = DefaultBitrate
	}
	if c.Complexity == 0 {
		c.Complexity = DefaultComplexity
	}
	if c.Frame == 0 {
		c.Frame = DefaultFrame
	}
	if err := checkChannels(c.Channels); err != nil {
		return c, err
	}
	if err := checkBitrate(c.Bitrate); err != nil {
		return c, err
	}
	if err := checkLoss(c.LossPercent); err != nil {
		return c, err
	}
	if err := checkComplexity(c.Complexity); err != nil {
		return c, err
	}
	return c, checkFrame(c.Frame)
}

func checkComplexity(n int) error {
	if n < 1 || n > 10 {
		return fmt.Errorf("libopus: complexity %d, want 1 to 10", n)
	}
	return nil
}

func checkFrame(d time.Duration) error {
	switch d {
	case 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond:
		return nil
	}
	return fmt.Errorf("libopus: frame of %v, want 10, 20, 40 or 60 ms", d)
}

func checkChannels(n int) error {
	if n != 1 && n != 2 {
		return fmt.Errorf("libopus: %d channels, want 1 or 2", n)
	}
	return nil
}

func checkBitrate(bps int) error {
	if bps < MinBitrate || bps > MaxBitrate {
		return fmt.Errorf("libopus: bitrate %d, want %d to %d", bps, MinBitrate, MaxBitrate)
	}
	return nil
}

func checkLoss(percent int) error {
	if percent < 0 || percent > 100 {
		return fmt.Errorf("libopus: loss of %d percent, want 0 to 100", percent)
	}
	return nil
}
