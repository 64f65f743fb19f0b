// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"errors"
	"fmt"
)

// ClockRate is the RTP clock of all audio here: Opus always counts at 48 kHz,
// whatever it encodes (RFC 7587 §4.1).
const ClockRate = 48000

// FrameSamples is the usual frame, 20 ms.
const FrameSamples = 960

// MaxPayload bounds an encoded frame: with RTP and SRTP around it, it still
// fits a datagram that every path carries.
const MaxPayload = 1200

// Frame is one encoded piece of sound.
type Frame struct {
	// Payload is one Opus packet. Empty means that nothing arrived for this
	// time, lost or not sent (DTX): let the decoder conceal Samples samples.
	Payload []byte
	// Timestamp counts samples at 48 kHz and wraps. A writer that leaves it at
	// zero, or whose value does not reach the end of the frame before, means
	// "directly after the frame before".
	Timestamp uint32
	// Samples is the duration at 48 kHz; 960 is 20 ms.
	Samples int
	// Marker is set on the first frame after silence (RFC 3551 §4.1).
	Marker bool
	// Lost says that the sender sent something here which is not there to be
	// played. An empty frame that is not lost is silence of the sender's making.
	Lost bool
	// FEC is set on a lost frame when the packet behind it has come and carries
	// in-band FEC (RFC 6716 §2.1.7): a decoder that can restores the frame from
	// it. Only reading sets it.
	FEC []byte
	// Long is by how many samples the delay is too long when this frame is
	// played, negative for too short, zero when it is about right. A reader that
	// decodes may shorten or lengthen the sound accordingly, see [Stretch]. Only
	// Pop of a buffer with PlayoutConfig.Stretch sets it.
	Long int
}

// A Decoder makes sound of Opus packets. Packages media/libopus and media/opus
// have one each.
type Decoder interface {
	// Decode writes the sound of a packet to pcm, channels interleaved, and
	// returns the samples of each channel.
	Decode(packet []byte, pcm []int16) (samples int, err error)
	// Conceal invents samples in the place of a packet that is not there.
	Conceal(pcm []int16, samples int) int
}

// A FECDecoder is a Decoder that reads in-band FEC as well.
type FECDecoder interface {
	Decoder
	// DecodeFEC restores the samples before packet next out of it.
	DecodeFEC(next []byte, pcm []int16, samples int) (int, error)
}

// Codec describes what a track carries, as negotiated.
type Codec struct {
	PayloadType uint8
	ClockRate   uint32
	Channels    uint8
	Name        string
}

// Opus returns the one audio codec of this version. RFC 7587 §7 fixes the
// channels at two in the description; packets may be mono all the same.
func Opus() Codec {
	return Codec{PayloadType: 111, ClockRate: ClockRate, Channels: 2, Name: "opus"}
}

// ErrPayload is wrapped by every PayloadError.
var ErrPayload = errors.New("media: not an Opus packet")

// PayloadError reports bytes that are no Opus packet we can carry.
type PayloadError struct {
	Len  int    // bytes given
	What string // the rule that was broken
}

func (e *PayloadError) Error() string {
	return fmt.Sprintf("media: payload of %d bytes: %s", e.Len, e.What)
}

// Unwrap makes errors.Is(err, ErrPayload) true.
func (e *PayloadError) Unwrap() error { return ErrPayload }
