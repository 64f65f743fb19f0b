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
	codec     uint8
	unprotect *Unprotect
	reception media.Reception
	header    rtp.Header
	buf       [maxMediaPacket]byte
	feedback  Feedback
	rejected  uint64
}

// Feedback is a report of the peer about our sending, on its way from the
// receiving half to the sending one.
type Feedback struct {
	at    time.Time
	block rtcp.ReceptionReport
}

// NewInbound returns the receiving half for key k.
func NewInbound(k Key, p Params) (*Inbound, error) {
	u, err := NewUnprotect(k, p.RemoteSSRC)
	if err != nil {
		return nil, err
	}
	return &Inbound{local: p.LocalSSRC, codec: p.Codec.PayloadType, unprotect: u}, nil
}

// Receive authenticates and decrypts a datagram. For a media packet it returns
// header and payload, valid until the next call; for RTCP nil and nil. An error
// means that the packet was not genuine, not new or not understood: it was
// counted and changed nothing else.
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
	if len(pkt) < rtpHeaderSize || pkt[1]&0x7f != i.codec {
		return nil, nil, errMedia
	}
	payload, err := i.unprotect.RTP(i.buf[:0], pkt, &i.header)
	if err != nil {
		return nil, nil, err
	}
	i.reception.Receive(now, &i.header, len(payload))
	return &i.header, payload, nil
}

// receiveRTCP reads sender and receiver reports and skips everything else: the
// fewer decoders see a peer's bytes, the better.
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
	}
	for _, block := range blocks {
		if block.SSRC == i.local {
			i.feedback = Feedback{at: now, block: block}
		}
	}
	return nil
}

// Feedback returns the peer's last report about our stream, once. The driver
// hands it to Outbound.Feedback.
func (i *Inbound) Feedback() (Feedback, bool) {
	f := i.feedback
	i.feedback = Feedback{}
	return f, !f.at.IsZero()
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
