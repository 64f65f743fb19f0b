// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

const (
	// keptVideo is how many datagrams are kept to be sent again: a second of 2
	// Mb/s, more than repair goes on for (design/012).
	keptVideo = 256
	// resendMost is how often one of them is sent again, resendEvery the least
	// time between: whoever asks more often does not listen.
	resendMost  = 3
	resendEvery = 20 * time.Millisecond

	// receiptsEvery is how often a picture is acknowledged: three times in the
	// time in which a queue of 300 ms fills.
	receiptsEvery = 100 * time.Millisecond

	// voiceFirst is how long no picture is sent after a call has come to be
	// relayed: the flow that a ring leaves, and goes on for a moment, holds 64
	// kb/s, and the voice is on it.
	voiceFirst = 1500 * time.Millisecond

	// usualRTT is taken where nothing is measured yet.
	usualRTT = 100 * time.Millisecond
)

// errNumber reports a sequence number that was used: a second packet under it
// would share the first one's nonce.
var errNumber = errors.New("session: sequence number used before")

// VideoOutbound is the sending half of a call's picture. It is pure and not safe
// for concurrent use.
type VideoOutbound struct {
	ssrc    uint32
	remote  uint32
	kind    uint8
	protect *Protect
	offset  uint16
	stamp   uint32
	numbers media.Numbers // of what was protected
	rate    *media.VideoRate
	kept    [keptVideo]keptPacket
	header  rtp.Header
	told    int // bit rate
	relayed bool
	from    time.Time // nothing is sent before
	packets uint64
	bytes   uint64
	resent  uint64
}

type keptPacket struct {
	seq   uint16
	times int
	at    time.Time
	b     []byte
}

// NewVideoOutbound returns the sending half under the call's video key.
func NewVideoOutbound(k Keys, p Params, rng *rand.Rand) (*VideoOutbound, error) {
	protect, err := NewProtect(k.SendVideo)
	if err != nil {
		return nil, err
	}
	return &VideoOutbound{
		ssrc: p.LocalVideoSSRC, remote: p.RemoteVideoSSRC, kind: p.Video.PayloadType, protect: protect,
		// As for sound: see media.NewPacketizer.
		offset: uint16(rng.Uint32N(1 << 15)), stamp: rng.Uint32(),
		rate: media.NewVideoRate(),
	}, nil
}

// Send protects a packet and returns the datagram, which is kept for a while and
// must not be changed; nil while the voice goes first. Its numbers must step as
// media.Numbers makes them.
func (o *VideoOutbound) Send(now time.Time, p *media.Packet) ([]byte, error) {
	if n := len(p.Payload); n == 0 || n > media.MaxVideoPayload {
		return nil, fmt.Errorf("session: send: %w", &media.PayloadError{Len: n, What: "not what a datagram holds"})
	}
	if o.relayed && now.Before(o.from) {
		return nil, nil
	}
	check := *p
	if !o.numbers.Next(now, media.VideoClockRate, &check) || check.Sequence != p.Sequence {
		return nil, errNumber
	}
	o.header = rtp.Header{
		Version: 2, Marker: p.Marker, PayloadType: o.kind,
		SequenceNumber: p.Sequence + o.offset, Timestamp: p.Timestamp + o.stamp, SSRC: o.ssrc,
	}
	k := &o.kept[o.header.SequenceNumber%keptVideo]
	b, err := o.protect.RTP(k.b[:0], &o.header, p.Payload)
	if err != nil {
		return nil, err
	}
	*k = keptPacket{seq: o.header.SequenceNumber, at: now, b: b}
	o.packets++
	o.bytes += uint64(len(p.Payload))
	o.rate.Sent(now, k.seq, o.header.Timestamp, len(p.Payload))
	return b, nil
}

// Resend returns the datagram of a number that the peer has missed; nil when it
// is gone, or was sent often or lately enough.
func (o *VideoOutbound) Resend(now time.Time, seq uint16) []byte {
	k := &o.kept[seq%keptVideo]
	if k.seq != seq || len(k.b) == 0 || k.times == resendMost || now.Sub(k.at) < resendEvery {
		return nil
	}
	k.times++
	k.at = now
	o.resent++
	o.rate.Missed(seq)
	return k.b
}

// Feedback takes in what the peer reports.
func (o *VideoOutbound) Feedback(f *VideoFeedback) {
	if f.receipts == 0 {
		return
	}
	if r, err := media.ParseReceipts(f.raw[:f.receipts], o.ssrc); err == nil {
		o.rate.Receipts(f.At, &r)
	}
}

// NewPath tells that packets take another way from now on, and whether others
// carry them.
func (o *VideoOutbound) NewPath(now time.Time, relayed bool) {
	if relayed && !o.relayed {
		o.from = now.Add(voiceFirst)
	}
	o.relayed = relayed
	o.rate.NewPath(relayed)
}

// Bitrate returns how many bits per second of payload can be carried.
func (o *VideoOutbound) Bitrate() int {
	o.told = o.rate.Bitrate(o.told)
	return o.told
}

// Reply appends protected feedback about the peer's picture to dst: receipts,
// numbers to be sent again, a wish for a key frame. Each is a packet of its own
// (RFC 5506); without any it appends nothing.
func (o *VideoOutbound) Reply(receipts []byte, missing []uint16, keyframe bool, dst []byte) ([]byte, error) {
	compound := receipts
	if len(missing) > 0 {
		nack := rtcp.TransportLayerNack{SenderSSRC: o.ssrc, MediaSSRC: o.remote, Nacks: rtcp.NackPairsFromSequenceNumbers(missing)}
		b, err := nack.Marshal()
		if err != nil {
			return dst, fmt.Errorf("session: reply: %w", err)
		}
		compound = append(compound, b...)
	}
	if keyframe {
		pli := rtcp.PictureLossIndication{SenderSSRC: o.ssrc, MediaSSRC: o.remote}
		b, err := pli.Marshal()
		if err != nil {
			return dst, fmt.Errorf("session: reply: %w", err)
		}
		compound = append(compound, b...)
	}
	if len(compound) == 0 {
		return dst, nil
	}
	return o.protect.RTCP(dst, compound)
}

// Stats fills in what sending knows.
func (o *VideoOutbound) Stats(s *media.VideoStats) {
	s.PacketsSent, s.BytesSent, s.PacketsResent = o.packets, o.bytes, o.resent
	o.rate.Stats(s)
}
