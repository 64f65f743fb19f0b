// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/overlay/directory"
)

// Messages, bodies of routed messages of at most 3,500 bytes:
//
//	PUT     0x21 || flags(1): bit 0 = replica || piece                     ≤ 3,398
//	TAKEN   0x22 || outcome(1): of directory.Outcome                       2
//	ASK     0x23 || place(32) || n(2), ≤ 400 || n × name(8)                ≤ 3,235
//	PIECES  0x24 || part(1) || parts(1) || left(2) || piece, or nothing    ≤ 3,401
//	DROP    0x25 || flags(1): bit 0 = replica || receipt                   ≤ 1,124
//	HAVE    0x26 || place(32) || n(2), ≤ 400 || n × name(8)                ≤ 3,235
//	WANT    0x27 || n(2), ≤ 400 || n × name(8) || 0–2 receipts (vec16)     see below
//
// PUT and DROP are answered by TAKEN. The names in an ASK are those of pieces that the asker has. left is how many
// pieces there are behind the parts of this answer. Where receipts and names do
// not fit one WANT, names are left out: another round comes.
const (
	typePut    = 0x21
	typeTaken  = 0x22
	typeAsk    = 0x23
	typePieces = 0x24
	typeDrop   = 0x25
	typeHave   = 0x26
	typeWant   = 0x27

	flagReplica = 1 << 0

	// MaxBody is the budget of a routed message's body.
	MaxBody = 3500

	// maxNames is how many pieces one message names: as many as fit.
	maxNames = 400
	// maxParts is how many pieces one answer brings: 80 KiB, and within what a
	// node may reply to one message.
	maxParts = 24
	// maxWantReceipts with the names that fit beside them.
	maxWantReceipts = 2
)

// ErrMessage reports bytes that are no message of this package.
var ErrMessage = errors.New("mailbox: malformed message")

// IsMessage tells by its first byte whether a routed body is of this package.
func IsMessage(b []byte) bool { return len(b) > 0 && b[0] >= typePut && b[0] <= typeWant }

// Outcome says what became of a piece or receipt.
type Outcome = directory.Outcome

type (
	putMessage struct {
		replica bool
		piece   []byte
	}
	takenMessage struct{ outcome Outcome }
	askMessage   struct {
		place [32]byte
		names []name
	}
	piecesMessage struct {
		part, parts int
		left        int
		piece       []byte
	}
	dropMessage struct {
		replica bool
		receipt []byte
	}
	haveMessage struct {
		place [32]byte
		names []name
	}
	wantMessage struct {
		names    []name
		receipts [][]byte
	}
)

func (m putMessage) append(b []byte) []byte {
	return append(append(b, typePut, flagReplica*btoi(m.replica)), m.piece...)
}

func (m takenMessage) append(b []byte) []byte { return append(b, typeTaken, byte(m.outcome)) }

func (m askMessage) append(b []byte) []byte {
	return appendNames(append(append(b, typeAsk), m.place[:]...), m.names)
}

func (m piecesMessage) append(b []byte) []byte {
	b = append(b, typePieces, byte(m.part), byte(m.parts))
	return append(binary.BigEndian.AppendUint16(b, uint16(m.left)), m.piece...)
}

func (m dropMessage) append(b []byte) []byte {
	return append(append(b, typeDrop, flagReplica*btoi(m.replica)), m.receipt...)
}

func (m haveMessage) append(b []byte) []byte {
	return appendNames(append(append(b, typeHave), m.place[:]...), m.names)
}

func (m wantMessage) append(b []byte) []byte {
	size := 3
	for _, r := range m.receipts {
		size += 2 + len(r)
	}
	names := m.names[:min(len(m.names), (MaxBody-size)/len(name{}))]
	b = appendNames(append(b, typeWant), names)
	for _, r := range m.receipts {
		b = wire.AppendVec16(b, r)
	}
	return b
}

func btoi(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// appendNames appends a count and names. Too many are a bug of ours.
func appendNames(b []byte, list []name) []byte {
	if len(list) > maxNames {
		panic(fmt.Sprintf("mailbox: %d names in a message", len(list)))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(list)))
	for _, n := range list {
		b = append(b, n[:]...)
	}
	return b
}

func readNames(r *wire.Reader) (list []name) {
	n := int(r.U16())
	if n > maxNames || n*len(name{}) > r.Len() {
		r.Bytes(r.Len() + 1)
		return nil
	}
	for range n {
		var x name
		r.Fixed(x[:])
		list = append(list, x)
	}
	return list
}

// parse reads a message. What is in it aliases b; pieces and receipts are not
// looked at. The error is ErrMessage.
func parse(b []byte) (m any, err error) {
	if len(b) > MaxBody {
		return nil, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	kind, ok := r.U8(), true
	switch kind {
	case typePut:
		flags := r.U8()
		ok, m = flags&^flagReplica == 0, putMessage{flags&flagReplica != 0, r.Rest()}
	case typeTaken:
		o := Outcome(r.U8())
		ok, m = o.Valid(), takenMessage{o}
	case typeAsk:
		var a askMessage
		r.Fixed(a.place[:])
		a.names = readNames(r)
		m = a
	case typePieces:
		a := piecesMessage{part: int(r.U8()), parts: int(r.U8()), left: int(r.U16())}
		a.piece = r.Rest()
		ok, m = a.part < a.parts && a.parts <= maxParts, a
	case typeDrop:
		flags := r.U8()
		ok, m = flags&^flagReplica == 0, dropMessage{flags&flagReplica != 0, r.Rest()}
	case typeHave:
		var a haveMessage
		r.Fixed(a.place[:])
		a.names = readNames(r)
		m = a
	case typeWant:
		a := wantMessage{names: readNames(r)}
		for r.Len() > 0 && r.Err() == nil {
			if len(a.receipts) == maxWantReceipts {
				ok = false
				break
			}
			a.receipts = append(a.receipts, r.Vec16())
		}
		m = a
	default:
		ok = false
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: type %#02x: %w", ErrMessage, kind, err)
	}
	if !ok || r.Len() > 0 {
		return nil, fmt.Errorf("%w: type %#02x", ErrMessage, kind)
	}
	return m, nil
}
