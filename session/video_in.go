// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// maxMissed bounds the numbers taken from one NACK packet; a peer of ours asks
// for 64 at most.
const maxMissed = 64

// VideoInbound is the receiving half of a call's picture. It is pure and not
// safe for concurrent use.
type VideoInbound struct {
	local     uint32
	remote    uint32
	kind      uint8
	unprotect *Unprotect
	reception media.Reception
	arrivals  media.Arrivals
	missing   media.Missing
	header    rtp.Header
	packet    media.Packet
	buf       [maxMediaPacket]byte
	feedback  VideoFeedback
	ackAt     time.Time // receipts are due; zero = nothing has come since
	rejected  uint64
}

// VideoFeedback is what the peer said about our picture, on its way from the
// receiving half to the sending one.
type VideoFeedback struct {
	At       time.Time
	Missed   []uint16 // to be sent again
	Keyframe bool     // the peer needs one
	receipts int      // bytes of raw
	raw      [media.MaxReceiptsSize]byte
}

// NewVideoInbound returns the receiving half under the call's video key.
func NewVideoInbound(k Keys, p Params) (*VideoInbound, error) {
	u, err := NewUnprotect(k.ReceiveVideo, p.RemoteVideoSSRC)
	if err != nil {
		return nil, err
	}
	return &VideoInbound{local: p.LocalVideoSSRC, remote: p.RemoteVideoSSRC, kind: p.Video.PayloadType, unprotect: u}, nil
}

// Receive authenticates and decrypts a datagram. It returns the packet, valid
// until the next call, or nil for RTCP. An error means that it was not genuine,
// not new or not understood: it was counted and changed nothing else.
func (i *VideoInbound) Receive(now time.Time, pkt []byte) (*media.Packet, error) {
	p, err := i.receive(now, pkt)
	if err != nil {
		i.rejected++
	}
	return p, err
}

func (i *VideoInbound) receive(now time.Time, pkt []byte) (*media.Packet, error) {
	if IsRTCP(pkt) {
		return nil, i.receiveRTCP(now, pkt)
	}
	if len(pkt) < rtpHeaderSize || pkt[1]&0x7f != i.kind {
		return nil, errMedia
	}
	payload, err := i.unprotect.RTP(i.buf[:0], pkt, &i.header)
	if err != nil {
		return nil, err
	}
	if len(payload) == 0 {
		return nil, errMedia
	}
	h := &i.header
	i.reception.Receive(now, h, len(payload))
	i.arrivals.Receive(now, h.SequenceNumber, h.Timestamp)
	i.missing.Receive(now, h.SequenceNumber)
	if i.ackAt.IsZero() {
		i.ackAt = now.Add(receiptsEvery)
	}
	i.packet = media.Packet{Sequence: h.SequenceNumber, Timestamp: h.Timestamp, Marker: h.Marker, Payload: payload}
	return &i.packet, nil
}

func (i *VideoInbound) receiveRTCP(now time.Time, pkt []byte) error {
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
		if err := i.report(now, h, b[:size]); err != nil {
			return fmt.Errorf("%w: report: %w", errMedia, err)
		}
		b = b[size:]
	}
	return nil
}

func (i *VideoInbound) report(now time.Time, h rtcp.Header, b []byte) error {
	f := &i.feedback
	switch {
	case h.Type == media.ReceiptsType && h.Count == media.ReceiptsFormat:
		if _, err := media.ParseReceipts(b, i.local); err == nil && len(b) <= len(f.raw) {
			f.At = now
			f.receipts = copy(f.raw[:], b)
		}
	case h.Type == rtcp.TypeTransportSpecificFeedback && h.Count == rtcp.FormatTLN:
		var nack rtcp.TransportLayerNack
		if err := nack.Unmarshal(b); err != nil {
			return err
		}
		if nack.MediaSSRC != i.local {
			return nil
		}
		f.At = now
		for _, pair := range nack.Nacks {
			pair.Range(func(seq uint16) bool {
				if len(f.Missed) < maxMissed {
					f.Missed = append(f.Missed, seq)
				}
				return len(f.Missed) < maxMissed
			})
		}
	case h.Type == rtcp.TypePayloadSpecificFeedback && h.Count == rtcp.FormatPLI:
		var pli rtcp.PictureLossIndication
		if err := pli.Unmarshal(b); err != nil {
			return err
		}
		if pli.MediaSSRC == i.local {
			f.At, f.Keyframe = now, true
		}
	}
	return nil
}

// Feedback moves what the peer has said about our picture to f, once, and says
// whether there was anything.
func (i *VideoInbound) Feedback(f *VideoFeedback) bool {
	if i.feedback.At.IsZero() {
		return false
	}
	list := f.Missed[:0]
	*f = i.feedback
	f.Missed = append(list, i.feedback.Missed...)
	i.feedback.At, i.feedback.Keyframe, i.feedback.receipts = time.Time{}, false, 0
	i.feedback.Missed = i.feedback.Missed[:0]
	return true
}

// Deadline returns when Reply is due next; zero when nothing is.
func (i *VideoInbound) Deadline() time.Time {
	d := i.missing.Deadline()
	if !i.ackAt.IsZero() && (d.IsZero() || i.ackAt.Before(d)) {
		return i.ackAt
	}
	return d
}

// Reply appends what the peer is to be told now: receipts of its packets to dst,
// numbers to be sent again to missing. rtt may be 0, unknown.
func (i *VideoInbound) Reply(now time.Time, rtt time.Duration, dst []byte, missing []uint16) ([]byte, []uint16) {
	if rtt <= 0 {
		rtt = usualRTT
	}
	missing = i.missing.Take(now, rtt, missing)
	if !i.ackAt.IsZero() && !now.Before(i.ackAt) {
		i.ackAt = time.Time{}
		dst = i.arrivals.Append(now, dst, i.local, i.remote)
	}
	return dst, missing
}

// Rejected returns how many packets Receive has refused.
func (i *VideoInbound) Rejected() uint64 { return i.rejected }

// Stats fills in what reception knows.
func (i *VideoInbound) Stats(s *media.VideoStats) {
	var st media.Stats
	i.reception.Stats(&st)
	s.PacketsReceived, s.BytesReceived, s.PacketsLost = st.PacketsReceived, st.BytesReceived, st.PacketsLost
	s.PacketsAsked = i.missing.Asked()
}
