// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Mesh messages travel in MESH frames of a link's control stream. The first
// byte is the type: 0x01–0x0f here, 0x10–0x1f in route.go. Behind it stands a
// list of fields, tag (1), length (2), value, so that later versions can add
// to them; all fields named here without "may" are there.
//
//	0x01 FIND           which nodes do you have links with near this point?
//	     1 request (4)   2 point (32)   3 scope (3): least prefix in common with the point, in bits; how many cards; flags
//	0x02 CARDS          these
//	     1 request (4)   2 cards, 34 bytes each, ≤ 16   3 state (2): introductions of late, links carried
//	0x03 INTRODUCE      pass this on to that neighbour of yours
//	     1 request (4)   2 target's node ID (32)   3 flags (1)   4 sealed offer (≤ 1,024)
//	0x04 INTRODUCTION   a neighbour of mine asks for a link with you
//	     1 request (4)   2 asker's card (33)   3 flags (1)   4 sealed offer   5 where I see the asker (vec8 of IP and port; may be missing)
//	0x05 REPLY          from the target to the introducer, and from there to the asker
//	     1 request (4)   2 answer (1)   3 sealed offer (empty unless agreed)   4 where I see the target (vec8; may be missing)
//	0x06 CARD           my class is now this, and I have room for links in these buckets
//	     1 state (1)   2 room (4): bit i for the bucket of i bits in common
//
// A request is the sender's own number; CARDS and REPLY carry that of the message
// they answer. A card is a node key (32) and a state:
//
//	7   6   5   4   3   2   1   0
//	        |   |   |   class       0 unknown, 1 open, 2 easy, 3 hard, 4 blocked
//	        |   |   leaf
//	        |   in CARDS: I reach it through a relay; in CARD: you are among my siblings
//	        in CARD: my bucket with you has hardly any other
//
// In CARDS a byte follows each card: the round trip time to it in units of 4 ms, 0 = unknown.
const (
	typeFind         = 0x01
	typeCards        = 0x02
	typeIntroduce    = 0x03
	typeIntroduction = 0x04
	typeReply        = 0x05
	typeCard         = 0x06
)

const (
	// maxSealed bounds a sealed offer, as overlay's tag introductions do.
	maxSealed = 1024
	// maxCards in one answer: twice the siblings, so that two neighbours see
	// each other's; 544 bytes.
	maxCards = 16

	cardLen  = ed25519.PublicKeySize + 1
	entryLen = cardLen + 1

	classMask  = 0x07
	leafBit    = 0x08
	relayedBit = 0x10 // in CARDS
	claimShift = 4    // in CARD

	rttUnit = 4 * time.Millisecond
)

// Flags of an introduction, the last one of FIND as well.
const (
	flagNear   = 1 << iota // the target is on the asker's way to its place, or near that
	flagRelay              // a direct link is not possible: carry it
	flagScarce             // the asker's bucket has less than minFar links
)

// Answers of a REPLY.
const (
	answerAgreed   = iota
	answerAbsent   // the introducer has no link to the target
	answerDeclined // the target has no room
	answerBusy     // too much at a time
	answerCrossing // the target has asked for the same link, and its question stays
)

var (
	errEmpty = errors.New("empty message")
	errField = errors.New("field of wrong length")
	errLacks = errors.New("field missing")
)

// appendCard appends the 33 bytes of a card.
func appendCard(b []byte, c Card) []byte {
	return append(append(b, c.Key[:]...), c.state())
}

func readCard(r *wire.Reader) (c Card) {
	r.Fixed(c.Key[:])
	c.setState(r.U8())
	return c
}

func (c Card) state() byte {
	s := byte(c.Class) & classMask
	if c.Leaf {
		s |= leafBit
	}
	return s
}

// setState takes a class of a later version for Unknown.
func (c *Card) setState(s byte) {
	if c.Class = Class(s & classMask); c.Class > Blocked {
		c.Class = Unknown
	}
	c.Leaf = s&leafBit != 0
}

// ID returns the node ID of the card's node.
func (c Card) ID() ID { return identity.NodeIDOf(ed25519.PublicKey(c.Key[:])) }

// message is any of ours, decoded; its slices alias the input.
type message struct {
	request uint32
	id      ID // FIND: point; INTRODUCE: target
	bits    int
	count   int
	cards   []byte // CARDS: whole entries
	load    uint8
	carried uint8
	card    Card // INTRODUCTION: the asker
	flags   uint8
	answer  uint8
	sealed  []byte
	seen    netip.AddrPort
	state   uint8  // CARD
	room    uint32 // CARD
}

func (m *message) append(b []byte, typ byte) []byte {
	b = append(b, typ)
	var n [4]byte
	if typ == typeCard {
		b = wire.AppendField(b, 1, []byte{m.state})
		binary.BigEndian.PutUint32(n[:], m.room)
		return wire.AppendField(b, 2, n[:])
	}
	binary.BigEndian.PutUint32(n[:], m.request)
	b = wire.AppendField(b, 1, n[:])
	switch typ {
	case typeFind:
		b = wire.AppendField(b, 2, m.id[:])
		b = wire.AppendField(b, 3, []byte{byte(m.bits), byte(m.count), m.flags})
	case typeCards:
		b = wire.AppendField(b, 2, m.cards)
		b = wire.AppendField(b, 3, []byte{m.load, m.carried})
	case typeIntroduce:
		b = wire.AppendField(b, 2, m.id[:])
		b = wire.AppendField(b, 3, []byte{m.flags})
		b = wire.AppendField(b, 4, m.sealed)
	case typeIntroduction:
		var card [cardLen]byte
		b = wire.AppendField(b, 2, appendCard(card[:0], m.card))
		b = wire.AppendField(b, 3, []byte{m.flags})
		b = wire.AppendField(b, 4, m.sealed)
		b = appendSeen(b, 5, m.seen)
	case typeReply:
		b = wire.AppendField(b, 2, []byte{m.answer})
		b = wire.AppendField(b, 3, m.sealed)
		b = appendSeen(b, 4, m.seen)
	}
	return b
}

// parse decodes a message of one of our types. known is false for a type that
// a later version may have.
func (m *message) parse(b []byte) (known bool, err error) {
	typ := b[0]
	if typ < typeFind || typ > typeCard {
		return false, nil
	}
	var have uint8
	err = wire.Fields(b[1:], func(tag uint8, v []byte) error {
		if tag < 8 {
			have |= 1 << tag
		}
		return m.field(typ, tag, v)
	})
	need := [...]uint8{typeFind: 0x0e, typeCards: 0x0e, typeIntroduce: 0x1e, typeIntroduction: 0x1e, typeReply: 0x0e, typeCard: 0x06}[typ]
	if err == nil && have&need != need {
		err = errLacks
	}
	return true, err
}

func (m *message) field(typ, tag uint8, v []byte) error {
	if tag == 1 && typ != typeCard {
		if len(v) != 4 {
			return errField
		}
		m.request = binary.BigEndian.Uint32(v)
		return nil
	}
	switch uint16(typ)<<8 | uint16(tag) {
	case typeCard<<8 | 1:
		return bytesOf(v, &m.state)
	case typeCard<<8 | 2:
		if len(v) != 4 {
			return errField
		}
		m.room = binary.BigEndian.Uint32(v)
	case typeFind<<8 | 2, typeIntroduce<<8 | 2:
		if len(v) != len(m.id) {
			return errField
		}
		copy(m.id[:], v)
	case typeFind<<8 | 3:
		var bits, count uint8
		err := bytesOf(v, &bits, &count, &m.flags)
		m.bits, m.count = int(bits), int(count)
		return err
	case typeCards<<8 | 2:
		if len(v)%entryLen != 0 || len(v) > maxCards*entryLen {
			return errField
		}
		m.cards = v
	case typeCards<<8 | 3:
		return bytesOf(v, &m.load, &m.carried)
	case typeIntroduction<<8 | 2:
		r := wire.NewReader(v)
		m.card = readCard(r)
		return r.Done()
	case typeIntroduce<<8 | 3, typeIntroduction<<8 | 3:
		return bytesOf(v, &m.flags)
	case typeReply<<8 | 2:
		return bytesOf(v, &m.answer)
	case typeIntroduce<<8 | 4, typeIntroduction<<8 | 4, typeReply<<8 | 3:
		if len(v) > maxSealed {
			return errField
		}
		m.sealed = v
	case typeIntroduction<<8 | 5, typeReply<<8 | 4:
		r := wire.NewReader(v)
		m.seen = readAddr(r)
		return r.Done()
	}
	return nil
}

// bytesOf spreads a field over single bytes. A longer field is one of a later
// version.
func bytesOf(v []byte, dst ...*uint8) error {
	if len(v) < len(dst) {
		return errField
	}
	for i, d := range dst {
		*d = v[i]
	}
	return nil
}

func appendEntry(b []byte, n *neighbour) []byte {
	b = appendCard(b, n.card)
	if n.relayed {
		b[len(b)-1] |= relayedBit
	}
	return append(b, rttByte(n.rtt))
}

// rttByte rounds up, so that a measured time never becomes unknown.
func rttByte(d time.Duration) byte {
	return byte(min(255, max(0, (d+rttUnit-1)/rttUnit)))
}

func appendSeen(b []byte, tag uint8, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	ip := a.Addr().Unmap().AsSlice()
	v := append([]byte{byte(len(ip) + 2)}, ip...)
	return wire.AppendField(b, tag, binary.BigEndian.AppendUint16(v, a.Port()))
}

// readAddr poisons the cursor when the input is no address; zones cannot be
// expressed.
func readAddr(r *wire.Reader) netip.AddrPort {
	v := r.Vec8()
	if len(v) != 6 && len(v) != 18 {
		r.Bytes(-1)
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(v[:len(v)-2])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(v[len(v)-2:]))
}
