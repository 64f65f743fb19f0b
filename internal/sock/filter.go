// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "encoding/binary"

const (
	stunHeader = 20
	stunCookie = 0x2112A442

	// maxSTUNAttrs bounds the attributes of one message. Probes carry six,
	// TURN allocations about ten; parsers allocate for each.
	maxSTUNAttrs = 32

	attrIntegrity       = 0x0008
	attrIntegritySHA256 = 0x001c
	attrFingerprint     = 0x8028

	maxUsername = 513     // RFC 5389 §15.3; RFC 8489 §14.3 says 509
	maxText     = 763     // REALM, NONCE, SOFTWARE: RFC 8489 §14.9, §14.10, §14.14
	maxError    = 4 + 763 // RFC 8489 §14.8
)

// ValidSTUN reports whether b is a STUN message (RFC 8489 §5) that every
// parser behind it may be given: exact length, magic cookie, whole and padded
// attributes, and exact sizes wherever the attribute's definition gives one.
// It is stricter than the RFC where that costs no honest sender anything:
// FINGERPRINT is the last attribute, and nothing but MESSAGE-INTEGRITY-SHA256
// and FINGERPRINT follows MESSAGE-INTEGRITY, because a reader is told to
// ignore what does (§14.5) and some don't.
//
// It must stand in front of every STUN parser, inner datagrams of relays
// included: pion/stun v0.6.1 reads the family of an empty XOR-*-ADDRESS before
// it looks at the length and panics when the buffer ends there
// (CVE-2026-54909).
func ValidSTUN(b []byte) bool {
	if len(b) < stunHeader || b[0] > 3 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return false
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n%4 != 0 || stunHeader+n != len(b) {
		return false
	}
	b = b[stunHeader:]
	sealed, last := false, false
	for n := 0; len(b) > 0; n++ {
		if len(b) < 4 || n == maxSTUNAttrs || last {
			return false
		}
		typ, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		end := 4 + (size+3)&^3
		if len(b) < end || !validAttr(typ, b[4:4+size]) {
			return false
		}
		switch typ {
		case attrFingerprint:
			last = true
		case attrIntegritySHA256:
			sealed = true
		case attrIntegrity:
			if sealed {
				return false
			}
			sealed = true
		default:
			if sealed {
				return false
			}
		}
		b = b[end:]
	}
	return true
}

// validAttr reports whether an attribute of this type may have the value v.
// Types it doesn't know may have any.
func validAttr(typ uint16, v []byte) bool {
	n := len(v)
	switch typ {
	case 0x0001, // MAPPED-ADDRESS
		0x0002, 0x0004, 0x0005, 0x000b, // RESPONSE-, SOURCE-, CHANGED-ADDRESS, REFLECTED-FROM (RFC 3489)
		0x000e, 0x0011, // ALTERNATE-SERVER, DESTINATION-ADDRESS (drafts of TURN)
		0x0012, 0x0016, // XOR-PEER-ADDRESS, XOR-RELAYED-ADDRESS (RFC 8656)
		0x0020, 0x8020, // XOR-MAPPED-ADDRESS, and its number before RFC 5389
		0x8023,         // ALTERNATE-SERVER
		0x802b, 0x802c: // RESPONSE-ORIGIN, OTHER-ADDRESS (RFC 5780)
		return n == 8 && v[1] == 1 || n == 20 && v[1] == 2

	case 0x001a, 0x0025: // DONT-FRAGMENT, USE-CANDIDATE
		return n == 0
	case 0x0018: // EVEN-PORT
		return n == 1
	case 0x0027: // RESPONSE-PORT (RFC 5780; 4 bytes in its drafts)
		return n == 2 || n == 4
	case 0x0003, // CHANGE-REQUEST
		0x000c, 0x000d, // CHANNEL-NUMBER, LIFETIME
		0x0017, 0x0019, 0x8000, // REQUESTED-ADDRESS-FAMILY, REQUESTED-TRANSPORT, ADDITIONAL-ADDRESS-FAMILY
		0x0024, // PRIORITY
		0x002a, // CONNECTION-ID (RFC 6062)
		0x8027, // CACHE-TIMEOUT (RFC 5780)
		attrFingerprint,
		0xc057: // NETWORK-COST, as WebRTC agents send it
		return n == 4
	case 0x0022, // RESERVATION-TOKEN
		0x8004,         // ICMP (RFC 8656)
		0x8029, 0x802a: // ICE-CONTROLLED, ICE-CONTROLLING
		return n == 8
	case attrIntegrity:
		return n == 20
	case attrIntegritySHA256: // may be truncated (RFC 8489 §14.6)
		return n >= 16 && n <= 32 && n%4 == 0
	case 0x001e: // USERHASH
		return n == 32
	case 0x001d: // PASSWORD-ALGORITHM
		return n >= 4
	case 0x0009, 0x8001: // ERROR-CODE, ADDRESS-ERROR-CODE
		return n >= 4 && n <= maxError
	case 0x000a: // UNKNOWN-ATTRIBUTES
		return n%2 == 0
	case 0x0006: // USERNAME
		return n <= maxUsername
	case 0x0014, 0x0015, 0x8022: // REALM, NONCE, SOFTWARE
		return n <= maxText
	}
	return true
}
