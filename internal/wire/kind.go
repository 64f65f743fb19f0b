// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wire

// Kind says what a datagram on the node's socket is, judged by its first byte
// alone (RFC 9443 extended by our relayed frames).
type Kind uint8

// The kinds of datagrams. Other is dropped.
const (
	Other Kind = iota
	STUN       // 0–3, RFC 8489
	Relay      // 4: flow id (4 bytes), inner datagram
	DTLS       // 20–63, not accepted on this socket
	QUIC       // 64–127 and 192–255, RFC 9000 with the fixed bit
	Media      // 128–191, SRTP and SRTCP
)

// RelayHeader is what a relayed frame has in front of its inner datagram: the
// first byte and the flow id.
const RelayHeader = 5

// KindOf returns the kind of a datagram that begins with b.
func KindOf(b byte) Kind {
	switch {
	case b <= 3:
		return STUN
	case b == 4:
		return Relay
	case b < 20:
		return Other
	case b < 64:
		return DTLS
	case b >= 128 && b <= 191:
		return Media
	default:
		return QUIC
	}
}

// String returns the kind's name as it appears in counters.
func (k Kind) String() string {
	switch k {
	case STUN:
		return "stun"
	case Relay:
		return "relay"
	case DTLS:
		return "dtls"
	case QUIC:
		return "quic"
	case Media:
		return "media"
	}
	return "other"
}
