// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// Metric is one number under its name in W3C webrtc-stats, in the unit that has
// there: times are seconds, bytes are payload.
type Metric struct {
	Type  string // of the report: inbound-rtp, outbound-rtp, media-source, remote-inbound-rtp
	Name  string
	Value float64
}

// W3C returns the statistics as webrtc-stats (W3C Recommendation track) names
// them, always in the same order, so that dashboards made for browsers fit.
// What it has no name for is not there.
func (s *Stats) W3C() []Metric {
	seconds := time.Duration.Seconds
	in, out, remote, source := "inbound-rtp", "outbound-rtp", "remote-inbound-rtp", "media-source"
	return []Metric{
		{in, "packetsReceived", float64(s.PacketsReceived)},
		{in, "bytesReceived", float64(s.BytesReceived)},
		{in, "packetsLost", float64(s.PacketsLost)},
		{in, "jitter", seconds(s.Jitter)},
		{in, "packetsDiscarded", float64(s.PacketsDiscarded)},
		{in, "fecPacketsReceived", float64(s.PacketsRestored)},
		{in, "totalSamplesReceived", float64(s.TotalSamplesReceived)},
		// There the silent ones are part of the concealed ones.
		{in, "concealedSamples", float64(s.ConcealedSamples + s.SilentConcealedSamples)},
		{in, "silentConcealedSamples", float64(s.SilentConcealedSamples)},
		{in, "concealmentEvents", float64(s.ConcealmentEvents)},
		{in, "insertedSamplesForDeceleration", float64(s.InsertedSamples)},
		{in, "removedSamplesForAcceleration", float64(s.RemovedSamples)},
		{in, "jitterBufferDelay", seconds(s.JitterBufferDelay)},
		{in, "jitterBufferTargetDelay", seconds(s.JitterBufferTarget) * float64(s.JitterBufferEmittedCount)},
		{in, "jitterBufferEmittedCount", float64(s.JitterBufferEmittedCount)},
		{in, "audioLevel", s.AudioLevel},
		{out, "packetsSent", float64(s.PacketsSent)},
		{out, "bytesSent", float64(s.BytesSent)},
		{out, "targetBitrate", float64(s.Advice.Bitrate)},
		{source, "audioLevel", s.SourceLevel},
		{remote, "packetsLost", float64(s.RemotePacketsLost)},
		{remote, "fractionLost", s.FractionLost},
		{remote, "jitter", seconds(s.RemoteJitter)},
		{remote, "roundTripTime", seconds(s.RoundTripTime)},
	}
}
