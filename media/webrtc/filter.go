// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"github.com/p2pos/p2pos/internal/sock"
)

// maxPacket is the longest datagram of a browser.
const maxPacket = 1500

// What a datagram may be dropped for.
const (
	badSTUN = iota
	badDTLS
	badSSRC
	badElse
	badKinds
)

// filter is the socket of an Edge: what pion must not see does not pass. It
// stands in front of every parser of pion's, and behind its DTLS: nothing but
// handshakes goes in or out, so application records, whose nonces are random in
// dtls v2 (CVE-2026-26014), can't be.
type filter struct {
	net.PacketConn
	ssrcs   []uint32
	dropped [badKinds]atomic.Uint64
}

var errRecord = errors.New("webrtc: no DTLS application records")

// ReadFrom returns the next datagram that passes.
func (f *filter) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := f.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		bad := f.judge(b[:n])
		if bad < 0 {
			return n, from, nil
		}
		f.dropped[bad].Add(1)
	}
}

// WriteTo sends a datagram, unless it carries application data over DTLS.
func (f *filter) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > 0 && b[0] >= 20 && b[0] <= 63 && !handshake(b) {
		f.dropped[badDTLS].Add(1)
		return 0, errRecord
	}
	return f.PacketConn.WriteTo(b, to)
}

// judge returns why a datagram is dropped; -1 if it isn't.
func (f *filter) judge(b []byte) int {
	switch {
	case len(b) == 0 || len(b) > maxPacket:
		return badElse
	case b[0] <= 3:
		// Binding requests and indications, and answers to pion's own checks back
		// to whoever has asked (RFC 8489 §5): nothing else concerns ICE.
		if !sock.ValidSTUN(b) || b[0] > 1 || b[1] != 0x01 && b[1] != 0x11 {
			return badSTUN
		}
	case b[0] >= 20 && b[0] <= 63:
		if !handshake(b) {
			return badDTLS
		}
	case b[0] >= 128 && b[0] <= 191:
		if len(b) < 12 {
			return badElse
		}
		if rtcp := b[1] >= 192 && b[1] <= 223; !rtcp && !slices.Contains(f.ssrcs, binary.BigEndian.Uint32(b[8:])) {
			return badSSRC
		}
	default:
		return badElse
	}
	return -1
}

// handshake reports whether a datagram is whole DTLS 1.0 or 1.2 records (RFC
// 6347 §4.1) of the kinds change cipher spec, alert and handshake.
func handshake(b []byte) bool {
	const header = 13
	for len(b) > 0 {
		if len(b) < header || b[0] < 20 || b[0] > 22 || b[1] != 0xfe || b[2] != 0xff && b[2] != 0xfd {
			return false
		}
		n := header + int(binary.BigEndian.Uint16(b[11:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// Dropped counts what did not pass, by reason.
func (f *filter) Dropped() map[string]uint64 {
	return map[string]uint64{
		"stun": f.dropped[badSTUN].Load(), "dtls": f.dropped[badDTLS].Load(),
		"ssrc": f.dropped[badSSRC].Load(), "other": f.dropped[badElse].Load(),
	}
}
