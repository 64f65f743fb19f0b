// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// Offer and answer of media, both a field list (≤ 512 bytes):
//
//	1 codecs, most wanted first: each payload type(1) clock rate(4) channels(1) name(vec8)
//	2 SSRC(4)
//	3 capabilities(4): bit 0 DTX, 1 in-band FEC, 2 RED, 3 video,
//	  4 keys (RFC 4733), 5 understands a recording's UPDATE
//	4 video codecs, as 1      5 video SSRC(4)      both or neither
//
// An answer names exactly one codec, under the payload type of the offer, and
// one video codec or, without fields 4 and 5, takes the call as voice.

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
	CapKeys
	CapRecord
)

// Offer is what one side can send and receive in a call.
type Offer struct {
	Codecs       []media.Codec
	SSRC         uint32
	Capabilities Capabilities
	Video        []media.Codec // nil = voice alone
	VideoSSRC    uint32        // 0 = voice alone
}

// Params is what the two sides agreed on.
type Params struct {
	Codec        media.Codec
	LocalSSRC    uint32
	RemoteSSRC   uint32
	Capabilities Capabilities

	Video           media.Codec // without a name = voice alone
	LocalVideoSSRC  uint32
	RemoteVideoSSRC uint32
}

// HasVideo says whether the call has a picture beside the voice.
func (p *Params) HasVideo() bool { return p.Video.Name != "" }

// voice takes the picture out of an answer.
func (o Offer) voice() Offer {
	o.Video, o.VideoSSRC = nil, 0
	o.Capabilities &^= CapVideo
	return o
}

// appendOffer encodes o. What does not fit (an own mistake in Options) is left
// out from the end of a list, never cut in the middle.
func appendOffer(b []byte, o Offer) []byte {
	room := maxOffer - 48
	list := appendCodecs(o.Codecs, room)
	b = wire.AppendField(b, 1, list)
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, o.SSRC))
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint32(nil, uint32(o.Capabilities)))
	if video := appendCodecs(o.Video, room-len(list)); o.VideoSSRC != 0 && len(video) > 0 {
		b = wire.AppendField(b, 4, video)
		b = wire.AppendField(b, 5, binary.BigEndian.AppendUint32(nil, o.VideoSSRC))
	}
	return b
}

func appendCodecs(codecs []media.Codec, room int) (list []byte) {
	for i, c := range codecs {
		if i == maxCodecs || len(c.Name) > maxCodecName || len(list)+7+len(c.Name) > room {
			break
		}
		list = append(list, c.PayloadType)
		list = binary.BigEndian.AppendUint32(list, c.ClockRate)
		list = append(list, c.Channels)
		list = wire.AppendVec8(list, []byte(c.Name))
	}
	return list
}

func parseCodecs(r *wire.Reader) (list []media.Codec) {
	for r.Len() > 0 && r.Err() == nil {
		c := media.Codec{PayloadType: r.U8(), ClockRate: r.U32(), Channels: r.U8()}
		name := r.Vec8()
		if r.Err() == nil && usable(c, name) && len(list) < maxCodecs {
			c.Name = string(name)
			list = append(list, c)
		}
	}
	return list
}

func parseOffer(b []byte) (o Offer, err error) {
	video := false
	if len(b) > maxOffer {
		return o, fmt.Errorf("%w: offer of %d bytes", ErrMessage, len(b))
	}
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			o.Codecs = parseCodecs(r)
		case 2:
			o.SSRC = r.U32()
		case 3:
			o.Capabilities = Capabilities(r.U32())
		case 4:
			o.Video = parseCodecs(r)
		case 5:
			o.VideoSSRC = r.U32()
			video = true
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
	if video && (o.VideoSSRC == 0 || o.VideoSSRC == o.SSRC) {
		// A receiver picks the stream by SSRC.
		return Offer{}, fmt.Errorf("%w: video without an SSRC of its own", ErrMessage)
	}
	if !video || len(o.Video) == 0 || o.Capabilities&CapVideo == 0 {
		o = o.voice()
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

// common picks the first codec of theirs that we have too: the offerer's wish
// decides, as in RFC 3264 §6.1.
func common(theirs, ours []media.Codec) (media.Codec, bool) {
	for _, c := range theirs {
		for _, o := range ours {
			if sameCodec(c, o) {
				return c, true
			}
		}
	}
	return media.Codec{}, false
}

// accept answers an offer. ours carries our codecs, our fresh SSRCs and our
// capabilities.
func accept(offer, ours Offer) (answer Offer, p Params, err error) {
	c, ok := common(offer.Codecs, ours.Codecs)
	if !ok {
		return Offer{}, Params{}, ErrIncompatible
	}
	answer = ours.voice()
	answer.Codecs = []media.Codec{c}
	p = Params{Codec: c, LocalSSRC: ours.SSRC, RemoteSSRC: offer.SSRC, Capabilities: answer.Capabilities & offer.Capabilities}
	if v, ok := common(offer.Video, ours.Video); ok {
		answer.Video, answer.VideoSSRC = []media.Codec{v}, ours.VideoSSRC
		answer.Capabilities |= CapVideo
		p.Video, p.LocalVideoSSRC, p.RemoteVideoSSRC = v, ours.VideoSSRC, offer.VideoSSRC
	}
	return answer, p, nil
}

// settle checks an answer against the offer it answers.
func settle(offer, answer Offer) (Params, error) {
	if len(answer.Codecs) != 1 {
		return Params{}, fmt.Errorf("%w: answer names %d codecs", ErrMessage, len(answer.Codecs))
	}
	for _, ssrc := range []uint32{offer.SSRC, offer.VideoSSRC} {
		if ssrc != 0 && (answer.SSRC == ssrc || answer.VideoSSRC == ssrc) {
			return Params{}, fmt.Errorf("%w: answer repeats our SSRC", ErrMessage)
		}
	}
	c, ok := offered(offer.Codecs, answer.Codecs[0])
	if !ok {
		return Params{}, fmt.Errorf("%w: answer names a codec that was not offered", ErrMessage)
	}
	p := Params{Codec: c, LocalSSRC: offer.SSRC, RemoteSSRC: answer.SSRC, Capabilities: offer.Capabilities & answer.Capabilities}
	if len(answer.Video) == 0 {
		return p, nil
	}
	if len(answer.Video) != 1 {
		return Params{}, fmt.Errorf("%w: answer names %d video codecs", ErrMessage, len(answer.Video))
	}
	if p.Video, ok = offered(offer.Video, answer.Video[0]); !ok {
		return Params{}, fmt.Errorf("%w: answer names a video codec that was not offered", ErrMessage)
	}
	p.LocalVideoSSRC, p.RemoteVideoSSRC = offer.VideoSSRC, answer.VideoSSRC
	return p, nil
}

// offered returns the codec of ours that an answer names.
func offered(ours []media.Codec, got media.Codec) (media.Codec, bool) {
	for _, c := range ours {
		if c.PayloadType == got.PayloadType && sameCodec(c, got) {
			return c, true
		}
	}
	return media.Codec{}, false
}
