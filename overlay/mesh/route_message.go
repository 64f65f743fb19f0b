// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/p2pos/p2pos/internal/wire"
)

// The messages of routing. Integers are big endian.
//
//	ROUTE   0x10 || copy(1) || hops(1) || visited: n(1), n × 2 || head || body (to the end, ≤ 3,500)
//	        head: salt(16) || kind(1) || flags(1): bit 0 exact || key(32) || lock(32)
//	ACK     0x11 || trace(16)                    I have it and take care of it
//	REFUSE  0x12 || trace(16) || reason(1) || visited: n(1), n × 2       try another
//	RETURN  0x13 || trace(16) || number(1) || hops(1) || secret(vec8, ≤ 32) || body (to the end, ≤ 3,500)
//
// A message's trace is the first 16 bytes of SHA-256(head || body), so it names
// the content: who changes a byte on the way makes another message, and can't
// bar the true one from nodes that refuse what they have seen. Hops counts the
// links travelled, this one included. Visited are fingerprints of the nodes
// that this copy was given to, its origin first (see visited).
//
// Replies are numbered from 1 at each node that takes delivery; 0 is no reply
// but only says "delivered", with the secret when there is a lock.
//
// Unknown kinds, flags and reasons are passed on or taken for the nearest
// known one, so that later versions can add to them.
const (
	typeRoute  = 0x10
	typeAck    = 0x11
	typeRefuse = 0x12
	typeReturn = 0x13
)

const (
	traceLen  = 16
	saltLen   = 16
	secretLen = 32
	headLen   = saltLen + 1 + 1 + len(ID{}) + 32
	flagExact = 0x01

	// maxHops: each hop is a visited node, so this many links is the most that
	// an honest copy travels.
	maxHops = maxVisited
	// maxHints bounds what a REFUSE adds to the visited set of the copy it
	// sends back: a liar burns a quarter of the budget, not all of it.
	maxHints = maxVisited / 4
	// maxReplies bounds the replies to one message: RINGING every 5 s for two
	// minutes, an answer and a few more. They fit a word of bits.
	maxReplies = 31
)

// Trace names a routed message, the same at each hop.
type Trace = [traceLen]byte

// reason says why a neighbour doesn't take a message.
type reason uint8

const (
	refuseSeen   reason = 1 + iota // another copy came by
	refuseStuck                    // nobody left to give it to
	refuseBusy                     // too much to do, or asleep
	refuseAlone                    // nobody known is nearer, and the target is not here
	refuseAbsent                   // two said so: it is nowhere
)

var (
	errVisited = errors.New("too many visited nodes")
	errHops    = errors.New("too many hops")
	errBody    = errors.New("body too long")
	errSecret  = errors.New("secret too long")
	errNumber  = errors.New("reply number out of range")
	errFound   = errors.New("cards of a wrong number or length")
)

// routeMsg is a decoded ROUTE. tail is head and body; it aliases the input.
type routeMsg struct {
	copy, hops uint8
	seen       visited
	tail       []byte
}

// head is the part of a message that no hop changes.
type head struct {
	salt  [saltLen]byte
	kind  Kind
	flags uint8
	key   ID
	lock  [32]byte
}

func (h *head) exact() bool  { return h.flags&flagExact != 0 }
func (h *head) locked() bool { return h.lock != [32]byte{} }

func (h *head) append(b []byte) []byte {
	b = append(b, h.salt[:]...)
	b = append(b, byte(h.kind), h.flags)
	b = append(b, h.key[:]...)
	return append(b, h.lock[:]...)
}

// set decodes a tail that is long enough.
func (h *head) set(tail []byte) {
	n := copy(h.salt[:], tail)
	h.kind, h.flags = Kind(tail[n]), tail[n+1]
	n += 2
	n += copy(h.key[:], tail[n:])
	copy(h.lock[:], tail[n:])
}

func traceOf(tail []byte) Trace {
	sum := sha256.Sum256(tail)
	return Trace(sum[:traceLen])
}

func appendVisited(b []byte, list []uint16) []byte {
	b = append(b, byte(len(list)))
	for _, f := range list {
		b = binary.BigEndian.AppendUint16(b, f)
	}
	return b
}

func readVisited(r *wire.Reader, v *visited, limit int) error {
	n := int(r.U8())
	if n > limit {
		return errVisited
	}
	for range n {
		v.add(r.U16())
	}
	return nil
}

// appendRoute takes the message apart into what changes at each hop and tail.
func appendRoute(b []byte, nth, hops uint8, v *visited, tail []byte) []byte {
	b = append(b, typeRoute, nth, hops)
	return append(appendVisited(b, v.list()), tail...)
}

func routeSize(v *visited, tail []byte) int { return 4 + 2*int(v.n) + len(tail) }

func readRoute(b []byte) (m routeMsg, err error) {
	r := wire.NewReader(b)
	r.U8()
	m.copy, m.hops = r.U8(), r.U8()
	if err = readVisited(r, &m.seen, maxVisited); err != nil {
		return m, err
	}
	m.tail = r.Rest()
	switch {
	case r.Err() != nil:
		return m, r.Err()
	case len(m.tail) < headLen:
		return m, wire.ErrShort
	case len(m.tail) > headLen+MaxBody:
		return m, errBody
	case m.hops > maxHops:
		return m, errHops
	}
	return m, nil
}

func appendAck(b []byte, t *Trace) []byte { return append(append(b, typeAck), t[:]...) }

func readAck(b []byte) (t Trace, err error) {
	r := wire.NewReader(b)
	r.U8()
	r.Fixed(t[:])
	return t, r.Done()
}

func appendRefuse(b []byte, t *Trace, why reason, hints []uint16) []byte {
	return appendVisited(append(append(append(b, typeRefuse), t[:]...), byte(why)), hints)
}

func readRefuse(b []byte) (t Trace, why reason, v visited, err error) {
	r := wire.NewReader(b)
	r.U8()
	r.Fixed(t[:])
	why = reason(r.U8())
	if err = readVisited(r, &v, maxHints); err != nil {
		return t, why, v, err
	}
	return t, why, v, r.Done()
}

// replyMsg is a decoded REPLY; secret and body alias the input.
type replyMsg struct {
	trace        Trace
	number, hops uint8
	secret, body []byte
}

func (m *replyMsg) append(b []byte) []byte {
	b = append(append(b, typeReturn), m.trace[:]...)
	b = wire.AppendVec8(append(b, m.number, m.hops), m.secret)
	return append(b, m.body...)
}

func (m *replyMsg) size() int { return 1 + traceLen + 3 + len(m.secret) + len(m.body) }

func readReply(b []byte) (m replyMsg, err error) {
	r := wire.NewReader(b)
	r.U8()
	r.Fixed(m.trace[:])
	m.number, m.hops = r.U8(), r.U8()
	m.secret = r.Vec8()
	m.body = r.Rest()
	switch {
	case r.Err() != nil:
		return m, r.Err()
	case len(m.secret) > secretLen:
		return m, errSecret
	case len(m.body) > MaxBody:
		return m, errBody
	case m.number > maxReplies:
		return m, errNumber
	}
	return m, nil
}
