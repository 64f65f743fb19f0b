// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// Offer and answer of media, both a field list (≤ 512 bytes):
//
//	1 codecs, most wanted first: each payload type(1) clock rate(4) channels(1) name(vec8)
//	2 SSRC(4)
//	3 capabilities(4): bit 0 DTX, 1 in-band FEC, 2 RED, 3 video
//
// An answer names exactly one codec, under the payload type of the offer.

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/media"
)

const (
	maxOffer = 512
	// maxCodecs is four times what any build offers today; a longer list is
	// read to its end and the rest of it ignored.
	maxCodecs = 16
	// maxCodecName fits every audio and video subtype registered with IANA.
	maxCodecName = 32
)

// Capabilities are what a side can do beyond its codecs. Both sides' bits must
// be set for a feature to be used.
type Capabilities uint32

// The capabilities known today.
const (
	CapDTX Capabilities = 1 << iota
	CapFEC
	CapRED
	CapVideo
)

// Offer is what one side can send and receive in a call.
type Offer struct {
	Codecs       []media.Codec
	SSRC         uint32
	Capabilities Capabilities
}

// Params is what the two sides agreed on.
type Params struct {
	Codec        media.Codec
	LocalSSRC    uint32
	RemoteSSRC   uint32
	Capabilities Capabilities
}

// appendOffer encodes o. What does not fit (an own mistake in Options) is left
// out from the end of the list, never cut in the middle.
func appendOffer(b []byte, o Offer) []byte {
	var list []byte
	for i, c := range o.Codecs {
		if i == maxCodecs || len(c.Name) > maxCodecName || len(list)+7+len(c.Name) > maxOffer-32 {
			break
		}
		list = append(list, c.PayloadType)
		list = binary.BigEndian.AppendUint32(list, c.ClockRate)
		list = append(list, c.Channels)
		list = wire.AppendVec8(list, []byte(c.Name))
	}
	b = wire.AppendField(b, 1, list)
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, o.SSRC))
	return wire.AppendField(b, 3, binary.BigEndian.AppendUint32(nil, uint32(o.Capabilities)))
}

func parseOffer(b []byte) (o Offer, err error) {
	if len(b) > maxOffer {
		return o, fmt.Errorf("%w: offer of %d bytes", ErrMessage, len(b))
	}
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			for r.Len() > 0 && r.Err() == nil {
				c := media.Codec{PayloadType: r.U8(), ClockRate: r.U32(), Channels: r.U8()}
				name := r.Vec8()
				if r.Err() == nil && usable(c, name) && len(o.Codecs) < maxCodecs {
					c.Name = string(name)
					o.Codecs = append(o.Codecs, c)
				}
			}
		case 2:
			o.SSRC = r.U32()
		case 3:
			o.Capabilities = Capabilities(r.U32())
		default:
			return nil
		}
		return r.Done()
	})
	if err != nil {
		return Offer{}, fmt.Errorf("%w: offer: %w", ErrMessage, err)
	}
	if o.SSRC == 0 {
		return Offer{}, fmt.Errorf("%w: offer without SSRC", ErrMessage)
	}
	return o, nil
}

// usable tells whether a codec of an offer can be named at all. Payload types
// 64 to 95 would make RTP look like RTCP on one port (RFC 5761 §4).
func usable(c media.Codec, name []byte) bool {
	if c.PayloadType > 127 || c.PayloadType >= 64 && c.PayloadType <= 95 || c.ClockRate == 0 || c.Channels == 0 {
		return false
	}
	if len(name) == 0 || len(name) > maxCodecName {
		return false
	}
	for _, b := range name {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return true
}

func sameCodec(a, b media.Codec) bool {
	return strings.EqualFold(a.Name, b.Name) && a.ClockRate == b.ClockRate && a.Channels == b.Channels
}

// accept picks the first codec of the offer that we have too: the offerer's
// wish decides, as in RFC 3264 §6.1. ours carries our codecs, our fresh SSRC
// and our capabilities.
func accept(offer, ours Offer) (answer Offer, p Params, err error) {
	for _, c := range offer.Codecs {
		for _, o := range ours.Codecs {
			if !sameCodec(c, o) {
				continue
			}
			answer = Offer{Codecs: []media.Codec{c}, SSRC: ours.SSRC, Capabilities: ours.Capabilities}
			p = Params{Codec: c, LocalSSRC: ours.SSRC, RemoteSSRC: offer.SSRC, Capabilities: ours.Capabilities & offer.Capabilities}
			return answer, p, nil
		}
	}
	return Offer{}, Params{}, ErrIncompatible
}

// settle checks an answer against the offer it answers.
func settle(offer, answer Offer) (Params, error) {
	if len(answer.Codecs) != 1 {
		return Params{}, fmt.Errorf("%w: answer names %d codecs", ErrMessage, len(answer.Codecs))
	}
	if answer.SSRC == offer.SSRC {
		return Params{}, fmt.Errorf("%w: answer repeats our SSRC", ErrMessage)
	}
	got := answer.Codecs[0]
	for _, c := range offer.Codecs {
		if c.PayloadType == got.PayloadType && sameCodec(c, got) {
			return Params{Codec: c, LocalSSRC: offer.SSRC, RemoteSSRC: answer.SSRC, Capabilities: offer.Capabilities & answer.Capabilities}, nil
		}
	}
	return Params{}, fmt.Errorf("%w: answer names a codec that was not offered", ErrMessage)
}
