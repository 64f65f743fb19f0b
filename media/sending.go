// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// ntpEpoch is how far NTP's year 1900 lies before Unix time (RFC 5905 §6).
const ntpEpoch = 2208988800

// maxRTT is the longest round trip that is believed. Above it a report is late,
// forged or about an SR of another age.
const maxRTT = 60 * time.Second

// Sending counts one outgoing stream, makes its sender reports and reads the
// round trip out of the peer's answers (RFC 3550 §6.4.1). The zero value is
// ready. It is pure.
type Sending struct {
	begun   bool
	epoch   time.Time
	ssrc    uint32
	packets uint64
	bytes   uint64
	lastTS  uint32 // of sound
	lastAt  time.Time

	rtt         time.Duration
	remoteLost  int64
	remoteShare float64
	remoteJit   time.Duration
}

// Send notes a packet with payload of n bytes.
func (x *Sending) Send(now time.Time, h *rtp.Header, n int) {
	x.begin(now)
	x.ssrc = h.SSRC
	x.packets++
	x.bytes += uint64(n)
	x.lastTS, x.lastAt = h.Timestamp, now
}

// Event notes a packet beside the sound, whose timestamp says nothing about the
// stream's clock.
func (x *Sending) Event(now time.Time, h *rtp.Header, n int) {
	x.begin(now)
	x.ssrc = h.SSRC
	x.packets++
	x.bytes += uint64(n)
}

// Clock returns the stream's timestamp at now; false before the first sound.
func (x *Sending) Clock(now time.Time) (ts uint32, ok bool) {
	if x.lastAt.IsZero() {
		return 0, false
	}
	return x.lastTS + uint32(toSamples(max(now.Sub(x.lastAt), 0))), true
}

func (x *Sending) begin(now time.Time) {
	if !x.begun {
		x.begun, x.epoch = true, now
	}
}

// ntp returns now as a 64-bit NTP time. It follows the monotonic clock from the
// first use on, so that setting the computer's clock cannot bend a round trip.
func (x *Sending) ntp(now time.Time) uint64 {
	x.begin(now)
	d := now.Sub(x.epoch)
	start := x.epoch.UnixNano()
	ns := uint64(start) + uint64(max(d, 0))
	sec, frac := ns/uint64(time.Second), ns%uint64(time.Second)
	return (sec+ntpEpoch)<<32 | frac<<32/uint64(time.Second)
}

// Sent says whether any packet was sent: only then an SR is due.
func (x *Sending) Sent() bool { return x.packets > 0 }

// Report returns the sender report, without report blocks.
func (x *Sending) Report(now time.Time) rtcp.SenderReport {
	r := rtcp.SenderReport{
		SSRC:        x.ssrc,
		NTPTime:     x.ntp(now),
		PacketCount: uint32(x.packets),
		OctetCount:  uint32(x.bytes),
	}
	r.RTPTime, _ = x.Clock(now)
	return r
}

// Receive takes in a report block of the peer. A block about another SSRC is
// ignored, and so is a round trip that cannot be.
func (x *Sending) Receive(now time.Time, b *rtcp.ReceptionReport) {
	if !x.Sent() || b.SSRC != x.ssrc {
		return
	}
	x.remoteShare = float64(b.FractionLost) / 256
	x.remoteLost = int64(int32(b.TotalLost<<8) >> 8)
	x.remoteJit = toDuration(int64(b.Jitter))
	if b.LastSenderReport == 0 {
		return
	}
	rtt := int32(uint32(x.ntp(now)>>16) - b.LastSenderReport - b.Delay)
	d := time.Duration(rtt) * time.Second / 65536
	// Rounding of the 1/65536 s units may make a short one negative.
	if d > -time.Millisecond && d <= maxRTT {
		x.rtt = max(d, time.Microsecond)
	}
}

// RTT returns the last measured round trip, zero before the first.
func (x *Sending) RTT() time.Duration { return x.rtt }

// Stats fills in what sending knows.
func (x *Sending) Stats(s *Stats) {
	s.PacketsSent, s.BytesSent = x.packets, x.bytes
	s.RoundTripTime = x.rtt
	s.RemotePacketsLost = x.remoteLost
	s.FractionLost = x.remoteShare
	s.RemoteJitter = x.remoteJit
}
