// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"

	"github.com/pion/rtp"
)

// Packetizer numbers the packets of one outgoing stream. It is pure; its owner
// marshals and protects what it fills in.
type Packetizer struct {
	ssrc   uint32
	kind   uint8
	seq    uint16
	offset uint32
	time   timeline
	quiet  bool // the last frame was silence
}

// NewPacketizer returns a Packetizer for one SSRC. The timestamp begins
// anywhere (RFC 3550 §5.1); the sequence number in the lower half of its range,
// so that losing the first packets around a wrap cannot leave the receiver with
// a wrong rollover counter (RFC 3711 §3.3.1).
func NewPacketizer(ssrc uint32, payloadType uint8, rng *rand.Rand) *Packetizer {
	return &Packetizer{
		ssrc:   ssrc,
		kind:   payloadType,
		seq:    uint16(rng.Uint32N(1 << 15)),
		offset: rng.Uint32(),
	}
}

// Next fills h for frame f and counts on. The marker is set on the first frame
// with sound and on the first after silence (RFC 3551 §4.1), be it DTX or time
// in which nothing was sent, and where the app asks for it. Samples of zero are
// read from the payload.
func (p *Packetizer) Next(f Frame, h *rtp.Header) {
	samples := f.Samples
	if samples <= 0 {
		samples = FrameSamples
		if len(f.Payload) > 0 {
			if n, err := OpusSamples(f.Payload); err == nil {
				samples = n
			}
		}
	}
	ts, gap := p.time.next(f.Timestamp, samples, 0)
	quiet := isSilence(f.Payload)
	*h = rtp.Header{
		Version:        2,
		Marker:         f.Marker || !quiet && (gap || p.quiet),
		PayloadType:    p.kind,
		SequenceNumber: p.seq,
		Timestamp:      p.offset + ts,
		SSRC:           p.ssrc,
	}
	p.seq++
	p.quiet = quiet
}

// Event fills h for a packet beside the sound, a key for instance, and counts on.
// All packets of one event have the timestamp of its start (RFC 4733 §2.5.1.2),
// ts, by the clock of those that Next fills in.
func (p *Packetizer) Event(ts uint32, marker bool, payloadType uint8, h *rtp.Header) {
	*h = rtp.Header{
		Version:        2,
		Marker:         marker,
		PayloadType:    payloadType,
		SequenceNumber: p.seq,
		Timestamp:      ts,
		SSRC:           p.ssrc,
	}
	p.seq++
}

// Clock returns where the sound has come to: the timestamp behind the last
// frame.
func (p *Packetizer) Clock() uint32 { return p.offset + p.time.out + p.time.span }
