// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"math/rand/v2"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// Stream is one call's media: frames in, protected datagrams out, and back. It
// is pure. Its two halves share nothing, so a driver may keep them under two
// locks and use Out and In directly; Stream's own methods touch both halves.
type Stream struct {
	Out *Outbound
	In  *Inbound
}

// NewStream returns the Stream of an answered call. rng draws what RTP wants
// random but not secret: first sequence number and timestamp, CNAME, the
// spacing of reports.
func NewStream(now time.Time, k Keys, p Params, rng *rand.Rand) (*Stream, error) {
	out, err := NewOutbound(now, k.Send, p, rng)
	if err != nil {
		return nil, err
	}
	in, err := NewInbound(k.Receive, p)
	if err != nil {
		return nil, err
	}
	return &Stream{Out: out, In: in}, nil
}

// Send appends the datagram of frame f to dst; see Outbound.Send.
func (s *Stream) Send(now time.Time, f *media.Frame, dst []byte) ([]byte, error) {
	return s.Out.Send(now, f, dst)
}

// Receive takes a datagram; see Inbound.Receive.
func (s *Stream) Receive(now time.Time, pkt []byte) (*rtp.Header, []byte, error) {
	h, payload, err := s.In.Receive(now, pkt)
	var f Feedback
	if s.In.Feedback(&f) {
		s.Out.Feedback(&f)
	}
	return h, payload, err
}

// Report appends the protected RTCP report of both halves to dst. It is due at
// Out.ReportAt.
func (s *Stream) Report(now time.Time, dst []byte) ([]byte, error) {
	return s.Out.Report(now, s.In.Report(now), s.In.Receipts(now, nil), dst)
}

// Stats fills in what the stream knows.
func (s *Stream) Stats(st *media.Stats) {
	s.Out.Stats(st)
	s.In.Stats(st)
}
