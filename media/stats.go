// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"cmp"
	"time"
)

// Stats is what is known about a call's sound. Names are those of W3C
// webrtc-stats where it has one. Sent and received bytes are payload alone.
// Sending, Rate, Reception, Out and In each fill in their part.
type Stats struct {
	// Sending.
	PacketsSent, BytesSent uint64
	RoundTripTime          time.Duration // 0 = not known yet
	RemotePacketsLost      int64         // as the peer reports it
	FractionLost           float64       // in the peer's last interval, 0 to 1
	RemoteJitter           time.Duration
	TargetBitrate          int           // bits per second on the wire, headers included; 0 = not controlled
	SendQueue              time.Duration // how much longer packets take to the peer than they have to
	LossBurst              float64       // packets lost in a row on average, as the peer tells
	Advice                 Advice        // what follows from that
	CopiesSent             uint64        // of frames, as redundancy (RFC 2198)
	// SourceLevel is how loud what is sent is, 0 to 1 as W3C's audioLevel; 0 also
	// while muted, and where the app gives encoded frames and no SetLevel.
	SourceLevel float64

	// Reception.
	PacketsReceived, BytesReceived uint64
	PacketsLost                    int64
	Jitter                         time.Duration
	LastPacketReceived             time.Time

	// In.
	PacketsDiscarded           uint64 // late, outside the window or too many
	PacketsDuplicated          uint64
	TotalSamplesReceived       uint64 // given to the app, concealed included
	ConcealedSamples           uint64
	SilentConcealedSamples     uint64 // apart from ConcealedSamples
	ConcealmentEvents          uint64
	InsertedSamples            uint64        // insertedSamplesForDeceleration
	RemovedSamples             uint64        // removedSamplesForAcceleration
	JitterBufferDelay          time.Duration // summed over samples
	JitterBufferEmittedCount   uint64
	JitterBufferTarget, Buffer time.Duration // now
	LongestGap                 time.Duration // between two packets, since In.Stats was last called
	PacketsRestored            uint64        // lost, and played from a copy
	FECSamples                 uint64        // lost, and restored by in-band FEC
	FrameDuration              time.Duration // of the packet played last; 0 = none yet
	// AudioLevel is how loud what is heard is, 0 to 1; 0 also where the app reads
	// encoded frames and not sound.
	AudioLevel float64

	// Score.
	Concealed float64 // share of the interval's playout time, 0 to 1
	MOS       float64 // 1 to 4.5
}

// codecDelay is what encoding adds to the way beside the frame, which must be
// full before it can be sent: Opus looks 6.5 ms ahead (RFC 6716 §2).
const codecDelay = 6500 * time.Microsecond

// usualFrame is taken where nothing was played yet.
const usualFrame = 20 * time.Millisecond

// Score sets Concealed and MOS for the time since prev was taken; the zero
// Stats stands for the start. Delay is half the round trip, the codec and the
// time in the buffer.
func (s *Stats) Score(prev *Stats) {
	s.Concealed = 0
	if n := s.TotalSamplesReceived - prev.TotalSamplesReceived; n > 0 {
		s.Concealed = float64(s.ConcealedSamples-prev.ConcealedSamples) / float64(n)
	}
	delay := s.RoundTripTime/2 + codecDelay + cmp.Or(s.FrameDuration, usualFrame)
	if n := s.JitterBufferEmittedCount - prev.JitterBufferEmittedCount; n > 0 {
		delay += (s.JitterBufferDelay - prev.JitterBufferDelay) / time.Duration(n)
	}
	s.MOS = MOS(delay, s.Concealed)
}

// Constants of the E-model (ITU-T G.107) for a connection that is perfect but
// for delay and loss, and of a codec with concealment (G.113: G.711 with PLC).
// Opus has no row in G.113, so read the result as a careful guess.
const (
	eModelR0  = 93.2
	eModelBpl = 25.1
)

// MOS estimates the mean opinion score, 1 to 4.5, from the one-way delay from
// mouth to ear and the share of concealed time (0 to 1).
func MOS(delay time.Duration, concealed float64) float64 {
	ms := max(delay.Seconds()*1000, 0)
	loss := min(max(concealed, 0), 1) * 100
	r := eModelR0 - 0.024*ms
	if ms > 177.3 { // where talking at once begins to suffer
		r -= 0.11 * (ms - 177.3)
	}
	r -= 95 * loss / (loss + eModelBpl)
	switch {
	case !(r > 0): // also not a number
		return 1
	case r >= 100:
		return 4.5
	}
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}
