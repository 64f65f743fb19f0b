// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// maxReports bounds the packets read from one compound RTCP packet: an SR, an
// SDES and room for kinds of later versions.
const maxReports = 8

// Inbound is the receiving half of a Stream. It is not safe for concurrent use.
type Inbound struct {
	local     uint32
	remote    uint32
	codec     uint8
	unprotect *Unprotect
	red       bool // copies were agreed on
	events    bool // and keys
	keys      media.Keys
	keyRate   allowance
	pressed   byte // a key that began with the last packet; 0 = none
	reception media.Reception
	arrivals  media.Arrivals
	parts     media.RED
	header    rtp.Header
	buf       [maxMediaPacket]byte
	feedback  Feedback
	rejected  uint64
}

// Feedback is a report of the peer about our sending, on its way from the
// receiving half to the sending one.
type Feedback struct {
	at       time.Time
	block    rtcp.ReceptionReport
	receipts int // bytes of raw
	raw      [media.MaxReceiptsSize]byte
}

// NewInbound returns the receiving half for key k.
func NewInbound(k Key, p Params) (*Inbound, error) {
	u, err := NewUnprotect(k, p.RemoteSSRC)
	if err != nil {
		return nil, err
	}
	return &Inbound{
		local: p.LocalSSRC, remote: p.RemoteSSRC, codec: p.Codec.PayloadType,
		red: p.Capabilities&CapRED != 0, events: p.Capabilities&CapKeys != 0, unprotect: u,
	}, nil
}

// Receive authenticates and decrypts a datagram. For a media packet it returns
// header and payload, valid until the next call, and Copies returns what came
// along; for a key the header alone, and Key says which; for RTCP nil and nil. An error means that the packet was not genuine,
// not new or not understood: it was counted and changed nothing else.
func (i *Inbound) Receive(now time.Time, pkt []byte) (*rtp.Header, []byte, error) {
	h, payload, err := i.receive(now, pkt)
	if err != nil {
		i.rejected++
	}
	return h, payload, err
}

func (i *Inbound) receive(now time.Time, pkt []byte) (*rtp.Header, []byte, error) {
	if IsRTCP(pkt) {
		return nil, nil, i.receiveRTCP(now, pkt)
	}
	if len(pkt) < rtpHeaderSize {
		return nil, nil, errMedia
	}
	kind := pkt[1] & 0x7f
	if i.events && kind == eventType(i.codec) {
		return i.receiveEvent(now, pkt)
	}
	if kind != i.codec && !(i.red && kind == redType(i.codec)) {
		return nil, nil, errMedia
	}
	payload, err := i.unprotect.RTP(i.buf[:0], pkt, &i.header)
	if err != nil {
		return nil, nil, err
	}
	i.parts = media.RED{Primary: payload}
	if kind != i.codec {
		if err := i.parts.Parse(payload, i.codec); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errMedia, err)
		}
		i.header.PayloadType = i.codec
	}
	i.reception.Receive(now, &i.header, len(payload))
	i.arrivals.Receive(now, i.header.SequenceNumber, i.header.Timestamp)
	return &i.header, i.parts.Primary, nil
}

// A peer's keys beyond keyBurst at once, and one each media.MinTone from then on,
// are no keys that somebody pressed.
const keyBurst = 32

// receiveEvent takes a telephone event (RFC 4733).
func (i *Inbound) receiveEvent(now time.Time, pkt []byte) (*rtp.Header, []byte, error) {
	payload, err := i.unprotect.RTP(i.buf[:0], pkt, &i.header)
	if err != nil {
		return nil, nil, err
	}
	e, err := media.ParseEvent(payload)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errMedia, err)
	}
	i.reception.Event(now, &i.header, len(payload))
	i.arrivals.Event(now, i.header.SequenceNumber)
	i.parts = media.RED{}
	if begin, _ := i.keys.Hear(i.header.Timestamp, e); begin && i.keyRate.takeOf(now, keyBurst, media.MinTone) {
		i.pressed = e.Digit
	}
	return &i.header, nil, nil
}

// Key returns the key that began with the last packet, once.
func (i *Inbound) Key() (digit byte, ok bool) {
	digit, i.pressed = i.pressed, 0
	return digit, digit != 0
}

// Copies returns the copies of earlier frames in the media packet that Receive
// returned last, valid as long.
func (i *Inbound) Copies() []media.Copy { return i.parts.Copies() }

// receiveRTCP reads sender and receiver reports and receipts, and skips
// everything else: the fewer decoders see a peer's bytes, the better.
func (i *Inbound) receiveRTCP(now time.Time, pkt []byte) error {
	b, err := i.unprotect.RTCP(i.buf[:0], pkt)
	if err != nil {
		return err
	}
	for n := 0; len(b) > 0; n++ {
		var h rtcp.Header
		if err := h.Unmarshal(b); err != nil || n == maxReports {
			return fmt.Errorf("%w: compound report", errMedia)
		}
		size := 4 * (int(h.Length) + 1) // RFC 3550 §6.4.1
		if size > len(b) {
			return fmt.Errorf("%w: compound report", errMedia)
		}
		if err := i.report(now, h.Type, b[:size]); err != nil {
			return fmt.Errorf("%w: report: %w", errMedia, err)
		}
		b = b[size:]
	}
	return nil
}

func (i *Inbound) report(now time.Time, kind rtcp.PacketType, b []byte) error {
	var blocks []rtcp.ReceptionReport
	switch kind {
	case rtcp.TypeSenderReport:
		var sr rtcp.SenderReport
		if err := sr.Unmarshal(b); err != nil {
			return err
		}
		i.reception.SenderReport(now, &sr)
		blocks = sr.Reports
	case rtcp.TypeReceiverReport:
		var rr rtcp.ReceiverReport
		if err := rr.Unmarshal(b); err != nil {
			return err
		}
		blocks = rr.Reports
	case rtcp.TypeTransportSpecificFeedback:
		if _, err := media.ParseReceipts(b, i.local); err == nil && len(b) <= len(i.feedback.raw) {
			i.feedback.at = now
			i.feedback.receipts = copy(i.feedback.raw[:], b)
		}
	}
	for _, block := range blocks {
		if block.SSRC == i.local {
			i.feedback.at, i.feedback.block = now, block
		}
	}
	return nil
}

// Feedback moves the peer's last report about our stream to f, once, and says
// whether there was one. The driver hands it to Outbound.Feedback.
func (i *Inbound) Feedback(f *Feedback) bool {
	if i.feedback.at.IsZero() {
		return false
	}
	*f = i.feedback
	i.feedback = Feedback{}
	return true
}

// Urgent says whether the peer should have receipts now.
func (i *Inbound) Urgent(now time.Time) bool { return i.arrivals.Urgent(now) }

// Receipts appends the receipts of the peer's packets (RFC 8888) to dst; nothing
// when nothing has come since the last.
func (i *Inbound) Receipts(now time.Time, dst []byte) []byte {
	return i.arrivals.Append(now, dst, i.local, i.remote)
}

// Report returns the report block about the peer's stream; none before its
// first packet.
func (i *Inbound) Report(now time.Time) []rtcp.ReceptionReport {
	if !i.reception.Heard() {
		return nil
	}
	return []rtcp.ReceptionReport{i.reception.Report(now)}
}

// Rejected returns how many packets Receive has refused.
func (i *Inbound) Rejected() uint64 { return i.rejected }

// Stats fills in what reception knows.
func (i *Inbound) Stats(st *media.Stats) { i.reception.Stats(st) }
