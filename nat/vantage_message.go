// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// A test is a probe with one more attribute, which says how it is to be
// answered. Nodes that don't know it take it for a probe and answer as to one.
//
//	request                                                 bytes
//	  a probe (see probe.go), and before MESSAGE-INTEGRITY:
//	  0xC0B3 WANT: how (1), delay in seconds (2), 0 (1)        8    64 in all
//	answer
//	  an answer, and before MESSAGE-INTEGRITY:
//	  0xC0B2 OTHER: second port (2), abilities (1), 0 (1)      8    64, or 76 for IPv6
//	forward, from the node that was asked to another one
//	  a probe, and before MESSAGE-INTEGRITY:
//	  0xC0B4 FORWARD: an answer, to be sent to the address
//	  that it tells                                           68    124, or 136 for IPv6
//
// An answer is never longer than its request by more than the 12 bytes of an
// IPv6 address, goes to where the request came from, and there is one at most:
// nothing here makes an amplifier. One that came through another node is still
// proved with the key of the node that was asked.
const (
	attrOther   = 0xc0b2
	attrWant    = 0xc0b3
	attrForward = 0xc0b4

	// maxTest holds the longest message: a forward with an IPv6 answer.
	maxTest = headerLen + 12 + 4 + maxAnswer + integrityLen
	// maxAnswer holds the longest answer to a test.
	maxAnswer = maxMessage + 8
)

// Want says how a test is to be answered.
type Want uint8

// The ways to answer.
const (
	Here          Want = iota // from the port that was written to
	FromOtherPort             // from the second port of the same node
	FromOtherPeer             // from another node, at another address
)

// String returns the way in words.
func (w Want) String() string {
	switch w {
	case Here:
		return "here"
	case FromOtherPort:
		return "other port"
	case FromOtherPeer:
		return "other peer"
	}
	return "unknown"
}

// Abilities is what a node says of itself in the answer to a test.
type Abilities struct {
	Second    uint16 // its second port, at the address of the first; 0 = none that others can write to
	OtherPort bool   // can answer from its second port
	OtherPeer bool   // can have another node answer
}

const (
	canOtherPort = 1 << iota
	canOtherPeer
)

// test is what a message carries beside a probe.
type test struct {
	wanted  bool
	want    Want
	delay   time.Duration
	forward []byte // into the message
	able    Abilities
}

// parseTest decodes a message as parse does, and the attributes above. Of two
// of a kind the first counts.
func parseTest(b []byte) (m message, t test, ok bool) {
	if m, ok = parse(b); !ok {
		return message{}, test{}, false
	}
	other := false
	for at := headerLen; at < m.signed; {
		typ, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		v := b[at+4 : at+4+n]
		at += 4 + (n+3)&^3
		switch {
		case typ == attrWant && m.request && !t.wanted:
			if n != 4 || v[0] > byte(FromOtherPeer) {
				return message{}, test{}, false
			}
			t.wanted = true
			t.want = Want(v[0])
			t.delay = time.Duration(binary.BigEndian.Uint16(v[1:])) * time.Second
		case typ == attrForward && m.request && t.forward == nil:
			if n == 0 || n > maxAnswer {
				return message{}, test{}, false
			}
			t.forward = v
		case typ == attrOther && !m.request && !other:
			if n != 4 {
				return message{}, test{}, false
			}
			other = true
			t.able = Abilities{
				Second:    binary.BigEndian.Uint16(v),
				OtherPort: v[2]&canOtherPort != 0,
				OtherPeer: v[2]&canOtherPeer != 0,
			}
		}
	}
	return m, t, !(t.wanted && t.forward != nil)
}

// appendTest appends a test to the holder of tag; key is its key.
func appendTest(b []byte, tx [12]byte, tag [8]byte, want Want, delay time.Duration, key *mac) []byte {
	start := len(b)
	b = appendHeader(b, typeRequest, 12+8+integrityLen, tx)
	b = append(b, attrUsername>>8, attrUsername&0xff, 0, 8)
	b = append(b, tag[:]...)
	b = append(b, attrWant>>8, attrWant&0xff, 0, 4, byte(want))
	b = binary.BigEndian.AppendUint16(b, uint16(delay/time.Second))
	b = append(b, 0)
	return key.sign(b, start)
}

// appendAnswer appends the answer to a test.
func appendAnswer(b []byte, tx [12]byte, mapped netip.AddrPort, a Abilities, key *mac) []byte {
	start := len(b)
	b = appendResponse(b, tx, mapped, key)
	b = b[:len(b)-integrityLen]
	var can byte
	if a.OtherPort {
		can |= canOtherPort
	}
	if a.OtherPeer {
		can |= canOtherPeer
	}
	b = append(b, attrOther>>8, attrOther&0xff, 0, 4)
	b = binary.BigEndian.AppendUint16(b, a.Second)
	b = append(b, can, 0)
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-headerLen+integrityLen))
	return key.sign(b, start)
}

// appendForward appends the wish that the holder of tag send answer on.
func appendForward(b []byte, tx [12]byte, tag [8]byte, answer []byte, key *mac) []byte {
	start := len(b)
	b = appendHeader(b, typeRequest, 12+4+len(answer)+integrityLen, tx)
	b = append(b, attrUsername>>8, attrUsername&0xff, 0, 8)
	b = append(b, tag[:]...)
	b = append(b, attrForward>>8, attrForward&0xff, byte(len(answer)>>8), byte(len(answer)))
	b = append(b, answer...) // a multiple of four, as all our messages are
	return key.sign(b, start)
}
