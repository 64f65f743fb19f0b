// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// VideoClockRate is the RTP clock of all video (RFC 7741 §4.1, RFC 6184 §8.1).
const VideoClockRate = 90000

// MaxVideoPayload bounds the payload of a video packet. With RTP (12), the tag
// of the cipher (16), a relay's label (5), TURN's ChannelData (4), UDP and IPv6
// (48) that makes 1,280 bytes, the least that every IPv6 path carries
// (RFC 8200 §5). Chromium's are 1,186 at most.
const MaxVideoPayload = 1280 - 48 - 4 - 5 - 16 - 12

// VP8 returns the codec that is asked for first: every browser has it
// (RFC 7742 §5), and no camera of another make is needed.
func VP8() Codec {
	return Codec{PayloadType: 96, ClockRate: VideoClockRate, Channels: 1, Name: "VP8"}
}

// H264 returns the codec of most cameras that encode by themselves:
// constrained baseline, packetization mode 1 (RFC 6184 §6.3).
func H264() Codec {
	return Codec{PayloadType: 102, ClockRate: VideoClockRate, Channels: 1, Name: "H264"}
}

// Packet is what an RTP packet carries, for whoever passes media on without
// looking into it: a browser's pictures, or a browser's sound.
type Packet struct {
	Sequence  uint16 // rises by one with each packet of a source, and wraps
	Timestamp uint32 // in units of the codec's clock, and wraps
	Marker    bool   // last packet of a picture; first one of sound after silence
	Payload   []byte
}

// Wish is what the other side, and the network, want of whoever encodes a
// picture.
type Wish struct {
	Keyframe bool // the next picture should be one that needs no other
	Bitrate  int  // bits per second of payload that can be carried now
}

// VideoStats is what is known about a call's pictures. Bytes are payload alone.
type VideoStats struct {
	// Sending.
	PacketsSent, BytesSent uint64
	PacketsResent          uint64 // because the peer missed them
	KeyframesAsked         uint64 // by the peer
	TargetBitrate          int    // bits per second on the wire, headers included
	FractionLost           float64
	SendQueue              time.Duration // how much longer packets take to the peer than they have to

	// Reception.
	PacketsReceived, BytesReceived uint64
	PacketsLost                    int64  // that did not come the second time either
	PacketsAsked                   uint64 // numbers asked for again
	PacketsDropped                 uint64 // because nobody read them
	KeyframesWanted                uint64 // of the peer
}
