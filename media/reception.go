// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// Reception keeps the receive statistics of one stream and makes its RTCP
// report blocks (RFC 3550 §6.4.1, A.1, A.3, A.8). The zero value is ready. It
// is pure, needs only packets that were authenticated and are no repeats, and
// believes the first of them: the probation of A.1 guards against streams that
// merely look like RTP, which cannot get here.
type Reception struct {
	begun   bool
	epoch   time.Time
	ssrc    uint32
	base    int64 // first sequence number, extended
	high    int64 // highest, extended
	odd     uint16
	oddSet  bool
	packets uint64 // since base
	lost    int64  // of streams before a restart
	total   uint64
	bytes   uint64
	last    time.Time
	transit int64   // of the packet before, in samples
	jitter  float64 // in samples

	priorExpected int64 // at the last report
	priorReceived uint64

	lsr   uint32 // middle 32 bits of the last SR's NTP time
	lsrAt time.Time
}

// Receive notes a packet with payload of n bytes.
func (r *Reception) Receive(now time.Time, h *rtp.Header, n int) {
	if r.count(now, h, n) {
		r.measure(now, h.Timestamp)
	}
}

// Event notes a packet beside the sound, a key for instance: its timestamp is
// that of the event's start and says nothing about jitter (RFC 4733 §2.5.1.2).
func (r *Reception) Event(now time.Time, h *rtp.Header, n int) { r.count(now, h, n) }

// count notes a packet, and says whether its numbers are believed.
func (r *Reception) count(now time.Time, h *rtp.Header, n int) bool {
	r.total++
	r.bytes += uint64(n)
	r.last = now
	if !r.begun {
		r.begun, r.epoch = true, now
		r.restart(h)
	} else if h.SSRC != r.ssrc {
		r.lost += r.missing()
		r.restart(h)
	}
	delta := int64(int16(h.SequenceNumber - uint16(r.high)))
	switch {
	case delta > maxDropout || delta < -maxMisorder:
		// A.1: two packets in a row make a restarted sender believable.
		if !r.oddSet || r.odd != h.SequenceNumber {
			r.odd, r.oddSet = h.SequenceNumber+1, true
			return false
		}
		r.lost += r.missing()
		r.restart(h)
	case delta > 0:
		r.high += delta
	}
	r.oddSet = false
	r.packets++
	return true
}

// restart begins with h. The jitter is kept, the transit is not.
func (r *Reception) restart(h *rtp.Header) {
	r.ssrc = h.SSRC
	r.base = int64(h.SequenceNumber)
	r.high = r.base
	r.packets, r.priorExpected, r.priorReceived = 0, 0, 0
	r.transit = math.MinInt64
	r.oddSet = false
}

// measure is the estimator of A.8 in floating point.
func (r *Reception) measure(now time.Time, ts uint32) {
	arrival := toSamples(now.Sub(r.epoch))
	transit := int64(int32(uint32(arrival) - ts))
	if r.transit != math.MinInt64 {
		d := math.Abs(float64(int32(uint32(transit - r.transit))))
		r.jitter += (d - r.jitter) / 16
	}
	r.transit = transit
}

func (r *Reception) expected() int64 { return r.high - r.base + 1 }

func (r *Reception) missing() int64 { return r.expected() - int64(r.packets) }

// Lost returns how many packets are missing in all. Repeats make it too small
// and even negative, as RFC 3550 A.3 has it.
func (r *Reception) Lost() int64 {
	if !r.begun {
		return 0
	}
	return r.lost + r.missing()
}

// SenderReport notes the arrival of the peer's SR.
func (r *Reception) SenderReport(now time.Time, sr *rtcp.SenderReport) {
	r.lsr, r.lsrAt = uint32(sr.NTPTime>>16), now
}

// Heard says whether any packet has arrived: without one there is nothing to
// report, and an empty RR is sent (RFC 3550 §6.4.2).
func (r *Reception) Heard() bool { return r.begun }

// Report returns the report block and starts the next interval.
func (r *Reception) Report(now time.Time) rtcp.ReceptionReport {
	if !r.begun {
		return rtcp.ReceptionReport{}
	}
	expected, received := r.expected()-r.priorExpected, r.packets-r.priorReceived
	r.priorExpected, r.priorReceived = r.expected(), r.packets
	var fraction uint8
	if lost := expected - int64(received); expected > 0 && lost > 0 {
		fraction = uint8(min(lost*256/expected, 255))
	}
	b := rtcp.ReceptionReport{
		SSRC:               r.ssrc,
		FractionLost:       fraction,
		TotalLost:          uint32(min(max(r.Lost(), -0x800000), 0x7fffff)) & 0xffffff,
		LastSequenceNumber: uint32(r.high),
		Jitter:             uint32(r.jitter),
	}
	if !r.lsrAt.IsZero() {
		b.LastSenderReport = r.lsr
		b.Delay = uint32(min(max(now.Sub(r.lsrAt), 0), maxDLSR) * 65536 / time.Second)
	}
	return b
}

// maxDLSR bounds the delay since the last SR, so that the arithmetic cannot
// overflow; a round trip made of it is refused anyway.
const maxDLSR = time.Hour

// Jitter returns the interarrival jitter.
func (r *Reception) Jitter() time.Duration {
	return time.Duration(r.jitter * float64(time.Second) / ClockRate)
}

// Stats fills in what reception knows.
func (r *Reception) Stats(s *Stats) {
	s.PacketsReceived, s.BytesReceived = r.total, r.bytes
	s.PacketsLost = r.Lost()
	s.Jitter = r.Jitter()
	s.LastPacketReceived = r.last
}
