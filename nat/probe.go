// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/netip"

	"github.com/p2pos/p2pos/internal/sock"
)

// A probe is a STUN binding request (RFC 8489), its answer a binding success
// response. MESSAGE-INTEGRITY is always the last attribute and always made
// with the key of the side that was asked, so an answer proves that the
// address it came from belongs to the holder of that key.
//
//	request                             bytes
//	  0x0001, length, cookie, tx id        20
//	  USERNAME: receiver's tag, raw        12
//	  [USE-CANDIDATE]                       4
//	  MESSAGE-INTEGRITY                    24    56 or 60 in all
//	answer
//	  0x0101, length, cookie, tx id        20
//	  XOR-MAPPED-ADDRESS                   12    24 for IPv6
//	  MESSAGE-INTEGRITY                    24    56 or 68 in all
//
// Deviations from RFC 8489 and RFC 8445, each to stay within 64 bytes and to
// leave one form only: USERNAME is raw bytes and names the receiver alone
// (§14.3 wants UTF-8); there is no FINGERPRINT (the socket's first byte and
// filter demultiplex), no PRIORITY and no ICE-CONTROLLED/CONTROLLING (the tags
// decide, see Paths); and every retransmission is a transaction of its own.
// Other comprehension-optional attributes are skipped; vantage_message.go has
// three that make a probe a test.
const (
	typeRequest  = 0x0001
	typeResponse = 0x0101
	cookie       = 0x2112a442

	attrUsername  = 0x0006
	attrIntegrity = 0x0008
	attrMapped    = 0x0020
	attrUse       = 0x0025

	headerLen    = 20
	integrityLen = 4 + sha1.Size
	// maxMessage holds our longest message: an answer with an IPv6 address.
	maxMessage = headerLen + 24 + integrityLen
)

// Cred is what a peer needs to probe me: the tag by which I recognise a
// request meant for that peer's paths, and the key that proves both the
// request and my answer. Use a fresh one for each peer.
type Cred struct {
	Tag [8]byte
	Key [32]byte
}

// NewCred returns a Cred from the system's random source.
func NewCred() Cred {
	var c Cred
	rand.Read(c.Tag[:]) // never fails since Go 1.24
	rand.Read(c.Key[:])
	return c
}

// String returns the tag in hex. The key is never printed.
func (c Cred) String() string { return "probe:" + hex.EncodeToString(c.Tag[:]) }

// GoString is String, so that %#v keeps the key to itself as well.
func (c Cred) GoString() string { return c.String() }

// ProbeTag tells what b is, before anything is verified: a probe request with
// the tag of its receiver, or (request false, tag zero) an answer. ok is false
// for everything else, malformed messages included.
func ProbeTag(b []byte) (tag [8]byte, request bool, ok bool) {
	m, ok := parse(b)
	if !ok {
		return tag, false, false
	}
	return m.tag, m.request, true
}

// TxID returns the transaction id of a well-formed probe message. An answer
// belongs to the Paths whose Handle its first four bytes are.
func TxID(b []byte) (id [12]byte, ok bool) {
	m, ok := parse(b)
	return m.tx, ok
}

// message is a decoded probe message. Nothing in it is verified until verify
// has said so.
type message struct {
	request bool
	tx      [12]byte
	tag     [8]byte        // requests
	use     bool           // requests: USE-CANDIDATE
	mapped  netip.AddrPort // answers
	signed  int            // bytes under MESSAGE-INTEGRITY
}

// parse decodes the two forms above and nothing else. The filter goes first,
// as in front of every STUN parser here.
func parse(b []byte) (m message, ok bool) {
	if !sock.ValidSTUN(b) || len(b) < headerLen {
		return message{}, false
	}
	switch binary.BigEndian.Uint16(b) {
	case typeRequest:
		m.request = true
	case typeResponse:
	default:
		return message{}, false
	}
	if int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerLen || binary.BigEndian.Uint32(b[4:]) != cookie {
		return message{}, false
	}
	copy(m.tx[:], b[8:headerLen])
	var named bool
	for at := headerLen; at < len(b); {
		if len(b)-at < 4 {
			return message{}, false
		}
		typ, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		end := at + 4 + (n+3)&^3
		if end > len(b) {
			return message{}, false
		}
		v := b[at+4 : at+4+n]
		switch {
		case typ == attrIntegrity:
			// RFC 8489 §14.5 lets FINGERPRINT follow; we never send it.
			if n != sha1.Size || end != len(b) {
				return message{}, false
			}
			m.signed = at
		case typ == attrUsername && m.request && !named && n == len(m.tag):
			copy(m.tag[:], v)
			named = true
		case typ == attrUse && m.request && !m.use && n == 0:
			m.use = true
		case typ == attrMapped && !m.request && !m.mapped.IsValid():
			if m.mapped, ok = xorAddr(v, m.tx); !ok {
				return message{}, false
			}
		case typ < 0x8000: // comprehension required (RFC 8489 §14)
			return message{}, false
		}
		at = end
	}
	if m.signed == 0 || m.request != named || m.request == m.mapped.IsValid() {
		return message{}, false
	}
	return m, true
}

// xorAddr undoes XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
func xorAddr(v []byte, tx [12]byte) (netip.AddrPort, bool) {
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], tx[:])
	port := binary.BigEndian.Uint16(v[2:]) ^ cookie>>16
	switch ip := v[4:]; {
	case v[1] == 1 && len(ip) == 4:
		var a [4]byte
		for i := range a {
			a[i] = ip[i] ^ mask[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case v[1] == 2 && len(ip) == 16:
		var a [16]byte
		for i := range a {
			a[i] = ip[i] ^ mask[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port), true
	}
	return netip.AddrPort{}, false
}

// appendRequest appends a probe to the holder of tag; key is its key.
func appendRequest(b []byte, tx [12]byte, tag [8]byte, use bool, key *mac) []byte {
	start := len(b)
	n := 12 + integrityLen
	if use {
		n += 4
	}
	b = appendHeader(b, typeRequest, n, tx)
	b = append(b, attrUsername>>8, attrUsername&0xff, 0, 8)
	b = append(b, tag[:]...)
	if use {
		b = append(b, attrUse>>8, attrUse&0xff, 0, 0)
	}
	return key.sign(b, start)
}

// appendResponse appends the answer to request tx that came from mapped; key
// is the answering side's own.
func appendResponse(b []byte, tx [12]byte, mapped netip.AddrPort, key *mac) []byte {
	start := len(b)
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], tx[:])
	ip, family, size := mapped.Addr().Unmap(), byte(1), 4
	if !ip.Is4() {
		family, size = 2, 16
	}
	b = appendHeader(b, typeResponse, 8+size+integrityLen, tx)
	b = append(b, attrMapped>>8, attrMapped&0xff, 0, byte(4+size), 0, family)
	b = binary.BigEndian.AppendUint16(b, mapped.Port()^cookie>>16)
	if size == 4 {
		a := ip.As4()
		for i := range a {
			b = append(b, a[i]^mask[i])
		}
	} else {
		a := ip.As16()
		for i := range a {
			b = append(b, a[i]^mask[i])
		}
	}
	return key.sign(b, start)
}

func appendHeader(b []byte, typ, n int, tx [12]byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(typ))
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint32(b, cookie)
	return append(b, tx[:]...)
}

// mac is HMAC-SHA1 under one probe key, kept so that a probe costs no
// allocation. RFC 8489 §14.5 fixes SHA-1; HMAC does not rest on its collision
// resistance, and SHA-256 would cost 12 bytes of the 64.
type mac struct {
	h   hash.Hash
	sum [sha1.Size]byte
	pad []byte // scratch of nominationPad
}

func newMAC(key [32]byte) *mac { return &mac{h: hmac.New(sha1.New, key[:])} }

func (m *mac) over(b []byte) []byte {
	m.h.Reset()
	m.h.Write(b)
	return m.h.Sum(m.sum[:0])
}

// sign appends MESSAGE-INTEGRITY to the message that begins at start. The
// length in its header counts the attribute already (RFC 8489 §14.5).
func (m *mac) sign(b []byte, start int) []byte {
	sum := m.over(b[start:])
	b = append(b, attrIntegrity>>8, attrIntegrity&0xff, 0, sha1.Size)
	return append(b, sum...)
}

// verify reports in constant time whether b, parsed as msg, was made with this
// key.
func (m *mac) verify(b []byte, msg message) bool {
	return hmac.Equal(m.over(b[:msg.signed]), b[msg.signed+4:])
}
