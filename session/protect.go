// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v2"
)

const (
	// profile: one AEAD for all calls, no negotiation to be talked down in.
	profile = srtp.ProtectionProfileAeadAes128Gcm

	// replayWindowRTCP packets are a minute of reports.
	replayWindowRTCP = 64

	rtpHeaderSize = 12
	tagSize       = 16
	rtcpOverhead  = tagSize + 4 // tag and index, RFC 7714 §17

	// maxMediaPacket bounds what is accepted for decryption: a datagram that
	// every path carries.
	maxMediaPacket = 1500
)

// errMedia reports a media packet that was dropped: not ours, not genuine or
// not new. Media from strangers is only counted, so the cause has no type.
var errMedia = errors.New("session: media packet not accepted")

// Protect encrypts one SSRC's outgoing packets. It is not safe for concurrent
// use.
type Protect struct {
	ctx  *srtp.Context
	rtp  rtp.Header
	rtcp rtcp.Header
}

// NewProtect returns the send side of key k.
func NewProtect(k Key) (*Protect, error) {
	ctx, err := srtp.CreateContext(k.key[:], k.salt[:], profile)
	if err != nil {
		return nil, fmt.Errorf("session: protect: %w", err)
	}
	return &Protect{ctx: ctx}, nil
}

// RTP appends the protected packet of header h and payload to dst. Nothing is
// allocated when dst has room for 28 bytes more than the payload.
func (p *Protect) RTP(dst []byte, h *rtp.Header, payload []byte) ([]byte, error) {
	start := len(dst)
	size := h.MarshalSize() + len(payload)
	dst = grow(dst, size+tagSize)
	buf := dst[start:]
	n, err := h.MarshalTo(buf)
	if err != nil {
		return dst[:start], fmt.Errorf("session: protect: %w", err)
	}
	copy(buf[n:], payload)
	// In place: GCM allows plaintext and ciphertext to overlap exactly, so the
	// packet is copied once.
	out, err := p.ctx.EncryptRTP(buf, buf[:size], &p.rtp)
	if err != nil {
		return dst[:start], fmt.Errorf("session: protect: %w", err)
	}
	return dst[:start+len(out)], nil
}

// RTCP appends the protected form of a compound RTCP packet to dst.
func (p *Protect) RTCP(dst, compound []byte) ([]byte, error) {
	start := len(dst)
	dst = grow(dst, len(compound)+rtcpOverhead)
	out, err := p.ctx.EncryptRTCP(dst[start:], compound, &p.rtcp)
	if err != nil {
		return dst[:start], fmt.Errorf("session: protect: %w", err)
	}
	return dst[:start+len(out)], nil
}

// Unprotect decrypts the packets of one SSRC. It is not safe for concurrent
// use.
type Unprotect struct {
	ctx  *srtp.Context
	ssrc uint32
	rtcp rtcp.Header
}

// NewUnprotect returns the receive side of key k for packets of ssrc alone:
// srtp keeps state for an SSRC before it has authenticated anything, so no
// other SSRC may ever reach it.
func NewUnprotect(k Key, ssrc uint32) (*Unprotect, error) {
	ctx, err := srtp.CreateContext(k.key[:], k.salt[:], profile,
		detector(srtp.SRTPReplayDetectorFactory), srtp.SRTCPReplayProtection(replayWindowRTCP))
	if err != nil {
		return nil, fmt.Errorf("session: unprotect: %w", err)
	}
	return &Unprotect{ctx: ctx, ssrc: ssrc}, nil
}

// RTP authenticates and decrypts pkt, fills h and appends the payload to dst.
// pkt is not changed. Headers with CSRCs, padding or extensions are refused
// before decryption: none is negotiated, and parsing them costs allocations.
func (u *Unprotect) RTP(dst, pkt []byte, h *rtp.Header) ([]byte, error) {
	if len(pkt) < rtpHeaderSize+tagSize || len(pkt) > maxMediaPacket || pkt[0] != 0x80 ||
		binary.BigEndian.Uint32(pkt[8:]) != u.ssrc {
		return dst, errMedia
	}
	start := len(dst)
	dst = grow(dst, len(pkt))
	out, err := u.ctx.DecryptRTP(dst[start:], pkt, h)
	if err != nil {
		return dst[:start], errMedia // bare: a flood should cost no formatting
	}
	// srtp writes the header in front; the caller has it in h already.
	n := copy(dst[start:], out[rtpHeaderSize:])
	return dst[:start+n], nil
}

// RTCP authenticates and decrypts pkt and appends the compound packet to dst.
func (u *Unprotect) RTCP(dst, pkt []byte) ([]byte, error) {
	if len(pkt) < 8+rtcpOverhead || len(pkt) > maxMediaPacket || pkt[0]>>6 != 2 ||
		binary.BigEndian.Uint32(pkt[4:]) != u.ssrc {
		return dst, errMedia
	}
	start := len(dst)
	dst = grow(dst, len(pkt))
	out, err := u.ctx.DecryptRTCP(dst[start:], pkt, &u.rtcp)
	if err != nil {
		return dst[:start], fmt.Errorf("%w: %w", errMedia, err)
	}
	return dst[:start+len(out)], nil
}

// grow lengthens b by n bytes, allocating only when its capacity ends.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

// IsRTCP tells RTCP from RTP on one port by the second byte (RFC 5761 §4).
func IsRTCP(pkt []byte) bool {
	return len(pkt) >= 2 && pkt[1] >= 192 && pkt[1] <= 223
}

// SSRCOf returns the SSRC in the clear header of an SRTP or SRTCP packet.
func SSRCOf(pkt []byte) (ssrc uint32, ok bool) {
	at := 8
	if IsRTCP(pkt) {
		at = 4
	}
	if len(pkt) < rtpHeaderSize || pkt[0]>>6 != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint32(pkt[at:]), true
}
