// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// reportEvery is the mean spacing of RTCP reports, varied by a half to both
// sides (RFC 3550 §6.3.1). A report with all around it is about 300 bytes, 5 %
// of a 24 kb/s voice; the 5 s minimum of RFC 3550 is waived as RFC 4585 §3.4
// allows, because a changed path must show in the round trip at once.
const reportEvery = time.Second

// redPayloadType is under which copies travel along (RFC 2198), the number that
// browsers use; redOther where the codec has that.
const (
	redPayloadType = 63
	redOther       = 62
)

// eventType returns the payload type of keys (RFC 4733).
func eventType(codec uint8) uint8 {
	if codec == media.EventPayloadType {
		return media.EventPayloadType - 1
	}
	return media.EventPayloadType
}

// redType returns the payload type of packets with copies.
func redType(codec uint8) uint8 {
	if codec == redPayloadType {
		return redOther
	}
	return redPayloadType
}

// Outbound is the sending half of a Stream. It is not safe for concurrent use.
type Outbound struct {
	ssrc       uint32
	packetizer *media.Packetizer
	protect    *Protect
	sending    media.Sending
	rate       *media.Rate
	codec      uint8
	red        bool // copies were agreed on
	events     bool // and keys
	keyTS      uint32
	keyed      bool // a key was sent: keyTS is its timestamp
	fec        bool // the last frame had in-band FEC
	redundancy media.Redundancy
	payload    []byte // with copies, or of a key
	copies     uint64
	header     rtp.Header
	cname      string
	rng        *rand.Rand
	reportAt   time.Time
}

// NewOutbound returns the sending half for key k.
func NewOutbound(now time.Time, k Key, p Params, rng *rand.Rand) (*Outbound, error) {
	protect, err := NewProtect(k)
	if err != nil {
		return nil, err
	}
	// RFC 7022 §4.2: 96 random bits, new for each call, so that two calls
	// cannot be linked by it.
	name := binary.BigEndian.AppendUint64(nil, rng.Uint64())
	name = binary.BigEndian.AppendUint32(name, rng.Uint32())
	return &Outbound{
		ssrc:       p.LocalSSRC,
		packetizer: media.NewPacketizer(p.LocalSSRC, p.Codec.PayloadType, rng),
		protect:    protect,
		rate:       media.NewRate(),
		codec:      p.Codec.PayloadType,
		red:        p.Capabilities&CapRED != 0,
		events:     p.Capabilities&CapKeys != 0,
		payload:    make([]byte, 0, media.REDRoom),
		cname:      base64.RawStdEncoding.EncodeToString(name),
		rng:        rng,
		// RFC 3550 §6.2: half the interval before the first report.
		reportAt: now.Add(reportEvery / 2),
	}, nil
}

// Send appends the protected datagram of f to dst, with copies of earlier frames
// where both sides agreed on RED, the network loses packets and the rate allows
// it. A frame without payload sends nothing. The error is a *media.PayloadError for a payload no datagram
// holds; srtp has none before 2^48 packets.
func (o *Outbound) Send(now time.Time, f *media.Frame, dst []byte) ([]byte, error) {
	switch n := len(f.Payload); {
	case n == 0:
		return dst, nil
	case n > media.MaxPayload:
		return dst, fmt.Errorf("session: send: %w", &media.PayloadError{Len: n, What: "too long for a datagram"})
	}
	o.packetizer.Next(*f, &o.header)
	payload := f.Payload
	if o.red {
		b, n := o.redundancy.Append(o.payload[:0], o.codec, o.header.Timestamp, payload, o.rate.Advice(), o.rate.Room(now))
		if n > 0 {
			payload = b
			o.header.PayloadType = redType(o.codec)
			o.copies += uint64(n)
		}
	}
	dst, err := o.protect.RTP(dst, &o.header, payload)
	if err != nil {
		return dst, err
	}
	o.sending.Send(now, &o.header, len(payload))
	o.fec = media.HasFEC(f.Payload)
	o.rate.Sent(now, o.header.SequenceNumber, len(payload), o.fec)
	return dst, nil
}

// Keys says whether keys were agreed on.
func (o *Outbound) Keys() bool { return o.events }

// SendKey appends the protected datagram of a telephone event to dst; first is
// set on the first one of a key. The sound goes on meanwhile: RFC 4733 §2.5.1.1
// leaves that to the sender, and a person may speak. Error: ErrIncapable where
// keys were not agreed on.
func (o *Outbound) SendKey(now time.Time, e media.Event, first bool, dst []byte) ([]byte, error) {
	if !o.events {
		return dst, fmt.Errorf("%w: it does not know of keys", ErrIncapable)
	}
	if first {
		ts, ok := o.sending.Clock(now)
		if !ok {
			ts = o.packetizer.Clock()
		}
		// A receiver tells keys apart by their timestamps, which must rise.
		if least := o.keyTS + media.FrameSamples; o.keyed && int32(ts-least) < 0 {
			ts = least
		}
		o.keyTS, o.keyed = ts, true
	}
	payload := e.Append(o.payload[:0])
	o.packetizer.Event(o.keyTS, first, eventType(o.codec), &o.header)
	dst, err := o.protect.RTP(dst, &o.header, payload)
	if err != nil {
		return dst, err
	}
	o.sending.Event(now, &o.header, len(payload))
	o.rate.Sent(now, o.header.SequenceNumber, len(payload), o.fec)
	return dst, nil
}

// Advice returns what the network can carry now.
func (o *Outbound) Advice() media.Advice { return o.rate.Advice() }

// NewPath tells that packets take another way from now on.
func (o *Outbound) NewPath() { o.rate.NewPath() }

// ReportAt returns when the next report is due.
func (o *Outbound) ReportAt() time.Time { return o.reportAt }

// Report appends a protected compound report (SR or RR, SDES with CNAME, RFC
// 3550 §6.1, and receipts, RFC 8888) to dst. blocks and receipts are what the
// receiving half reports.
func (o *Outbound) Report(now time.Time, blocks []rtcp.ReceptionReport, receipts, dst []byte) ([]byte, error) {
	o.reportAt = now.Add(reportEvery/2 + time.Duration(o.rng.Int64N(int64(reportEvery))))
	var report rtcp.Packet = &rtcp.ReceiverReport{SSRC: o.ssrc, Reports: blocks}
	if o.sending.Sent() {
		sr := o.sending.Report(now)
		sr.Reports = blocks
		report = &sr
	}
	compound, err := rtcp.Marshal([]rtcp.Packet{report, rtcp.NewCNAMESourceDescription(o.ssrc, o.cname)})
	if err != nil {
		return dst, fmt.Errorf("session: report: %w", err)
	}
	return o.protect.RTCP(dst, append(compound, receipts...))
}

// Receipts appends protected receipts alone to dst: early feedback of reduced
// size (RFC 4585 §3.4, RFC 5506), for a queue builds up. Without receipts it
// appends nothing.
func (o *Outbound) Receipts(receipts, dst []byte) ([]byte, error) {
	if len(receipts) == 0 {
		return dst, nil
	}
	return o.protect.RTCP(dst, receipts)
}

// Feedback takes in what the peer reports about our stream.
func (o *Outbound) Feedback(f *Feedback) {
	o.sending.Receive(f.at, &f.block)
	if f.receipts == 0 {
		return
	}
	if r, err := media.ParseReceipts(f.raw[:f.receipts], o.ssrc); err == nil {
		o.rate.Receipts(f.at, &r)
	}
}

// RTT returns the last round trip measured by RTCP; zero before the first.
func (o *Outbound) RTT() time.Duration { return o.sending.RTT() }

// Stats fills in what sending knows.
func (o *Outbound) Stats(st *media.Stats) {
	o.sending.Stats(st)
	o.rate.Stats(st)
	st.CopiesSent = o.copies
}
