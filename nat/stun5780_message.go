// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"net/netip"

	"github.com/p2pos/p2pos/internal/sock"
)

// What an RFC 5780 server is asked and answers, beside plain STUN (RFC 8489).
//
//	request                                     bytes
//	  0x0001, length, cookie, tx id               20
//	  [CHANGE-REQUEST: 0 (3), 4 = address | 2 = port (1)]    8
//	answer: 0x0101 with
//	  XOR-MAPPED-ADDRESS or MAPPED-ADDRESS
//	  OTHER-ADDRESS: the server's other address and other port, plain
//	  RESPONSE-ORIGIN: the address it comes from, plain
//	refusal: 0x0111
const (
	typeError = 0x0111

	attrPlain  = 0x0001 // MAPPED-ADDRESS
	attrChange = 0x0003
	attrErr    = 0x0009
	attrOrigin = 0x802b
	attrElse   = 0x802c // OTHER-ADDRESS

	changeAddr = 4
	changePort = 2
)

// serverMessage is a decoded answer or refusal.
type serverMessage struct {
	failed bool
	tx     [12]byte
	mapped netip.AddrPort
	other  netip.AddrPort
	origin netip.AddrPort
}

// parseServer decodes an answer. The filter goes first, as in front of every
// STUN parser here.
func parseServer(b []byte) (m serverMessage, ok bool) {
	if !sock.ValidSTUN(b) {
		return serverMessage{}, false
	}
	switch binary.BigEndian.Uint16(b) {
	case typeResponse:
	case typeError:
		m.failed = true
	default:
		return serverMessage{}, false
	}
	copy(m.tx[:], b[8:headerLen])
	for at := headerLen; at < len(b); {
		typ, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		v := b[at+4 : at+4+n]
		at += 4 + (n+3)&^3
		switch {
		case typ == attrMapped:
			m.mapped, _ = xorAddr(v, m.tx)
		case typ == attrPlain:
			if !m.mapped.IsValid() {
				m.mapped = plainAddr(v)
			}
		case typ == attrElse:
			m.other = plainAddr(v)
		case typ == attrOrigin:
			m.origin = plainAddr(v)
		case typ == attrErr && m.failed, typ == attrUsername, typ == attrIntegrity,
			typ == 0x000a && m.failed: // UNKNOWN-ATTRIBUTES
		case typ < 0x8000: // comprehension required (RFC 8489 §14)
			return serverMessage{}, false
		}
	}
	return m, m.failed || probeable(m.mapped)
}

// plainAddr reads an address as RFC 8489 §14.1 writes it; the filter has
// looked at family and length.
func plainAddr(v []byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(v[2:])
	ip, _ := netip.AddrFromSlice(v[4:])
	return netip.AddrPortFrom(ip.Unmap(), port)
}
