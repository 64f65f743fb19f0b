// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Messages, bodies of routed messages of at most 3,500 bytes:
//
//	STORE    0x01 || flags(1): bit 0 = replica || n(1), 1–3 || n × record(1,006)              ≤ 3,021
//	STORED   0x02 || n(1), 1–3 || n × (outcome(1), sequence held(8))  ≤ 29
//	KNOCK    0x03 || knock(702)                                                               703, answered by STORED
//	FETCH    0x04 || key(32)                                                                  33
//	RECORDS  0x05 || part(1) || parts(1) || n(1), 0–3 || n × record   ≤ 3,022
//	COLLECT  0x06 || key(32) || slot(1) || owner's proof(72)                                  106
//	KNOCKS   0x07 || part(1) || parts(1) || n(1), 0–4 || n × knock    ≤ 2,812
//	STORE    0x08 || flags(1) || prekeys(3,456)                                               3,458
//	RECORDS  0x09 || part(1) || parts(1) || prekeys(3,456)            3,459
//
// Parts count from 0. An answer with nothing is one part with n = 0. The
// outcomes are those of type Outcome; the sequence is as holders see it, 0 when
// nothing is held. Answers don't name the holder: it could claim any name, so the
// asker counts the routes by which they come. A replica is not spread further by whom it reaches.
const (
	typeStore   = 0x01
	typeStored  = 0x02
	typeKnock   = 0x03
	typeFetch   = 0x04
	typeRecords = 0x05
	typeCollect = 0x06
	typeKnocks  = 0x07

	typeStorePrekeys = 0x08
	typePrekeys      = 0x09

	flagReplica = 1 << 0

	// MaxBody is the budget of a routed message's body.
	MaxBody = 3500

	// recordsPerMessage and knocksPerMessage keep a message inside MaxBody.
	recordsPerMessage = 3
	knocksPerMessage  = 4

	// maxParts is how many messages one answer has at most: MaxKnocks / 4.
	maxParts = 8
)

// ErrMessage reports bytes that are no message of this package.
var ErrMessage = errors.New("directory: malformed message")

// Key is a place in the overlay: see identity.RecordKey.
type Key = [32]byte

// Message is one of the types below.
type Message interface {
	// Append appends the message's bytes.
	Append(b []byte) []byte
}

// StoreMessage asks to hold records, 1 to 3, or one object of prekeys.
type StoreMessage struct {
	Replica bool     // from another holder, not from the owner
	Records [][]byte // alias what was parsed
}

// StoredMessage answers a StoreMessage, a line for each record, or a
// KnockMessage with one line.
type StoredMessage struct {
	Lines []StoredLine
}

// StoredLine says what became of one record.
type StoredLine struct {
	Outcome  Outcome
	Sequence uint64 // held now
}

// KnockMessage leaves a knock in an inbox.
type KnockMessage struct{ Knock []byte }

// FetchMessage asks for the records under a key.
type FetchMessage struct{ Key Key }

// RecordsMessage answers a FetchMessage, in one or several parts.
type RecordsMessage struct {
	Part, Parts int
	Records     [][]byte
}

// CollectMessage asks for the knocks of a slot.
type CollectMessage struct {
	Key   Key
	Slot  uint8
	Proof []byte // identity.ProveInbox
}

// KnocksMessage answers a CollectMessage, in one or several parts.
type KnocksMessage struct {
	Part, Parts int
	Knocks      [][]byte
}

// Append appends the message's bytes.
func (m StoreMessage) Append(b []byte) []byte {
	flags := byte(0)
	if m.Replica {
		flags = flagReplica
	}
	if isPrekeys(m.Records) {
		return append(append(b, typeStorePrekeys, flags), m.Records[0]...)
	}
	return appendList(append(b, typeStore, flags), m.Records, recordsPerMessage)
}

// isPrekeys tells prekeys from records: they travel alone.
func isPrekeys(list [][]byte) bool { return len(list) == 1 && len(list[0]) == identity.PrekeysSize }

// Append appends the message's bytes.
func (m StoredMessage) Append(b []byte) []byte {
	b = append(b, typeStored, byte(len(m.Lines)))
	for _, l := range m.Lines {
		b = binary.BigEndian.AppendUint64(append(b, byte(l.Outcome)), l.Sequence)
	}
	return b
}

// Append appends the message's bytes.
func (m KnockMessage) Append(b []byte) []byte { return append(append(b, typeKnock), m.Knock...) }

// Append appends the message's bytes.
func (m FetchMessage) Append(b []byte) []byte { return append(append(b, typeFetch), m.Key[:]...) }

// Append appends the message's bytes.
func (m RecordsMessage) Append(b []byte) []byte {
	if isPrekeys(m.Records) {
		return append(append(b, typePrekeys, byte(m.Part), byte(m.Parts)), m.Records[0]...)
	}
	return appendList(append(b, typeRecords, byte(m.Part), byte(m.Parts)), m.Records, recordsPerMessage)
}

// Append appends the message's bytes.
func (m CollectMessage) Append(b []byte) []byte {
	b = append(append(b, typeCollect), m.Key[:]...)
	return append(append(b, m.Slot), m.Proof...)
}

// Append appends the message's bytes.
func (m KnocksMessage) Append(b []byte) []byte {
	return appendList(append(b, typeKnocks, byte(m.Part), byte(m.Parts)), m.Knocks, knocksPerMessage)
}

// appendList appends a count and that many blobs. Too many are a bug of ours.
func appendList(b []byte, list [][]byte, most int) []byte {
	if len(list) > most {
		panic(fmt.Sprintf("directory: %d blobs in a message for %d", len(list), most))
	}
	b = append(b, byte(len(list)))
	for _, v := range list {
		b = append(b, v...)
	}
	return b
}

// Parse reads a message. Blobs alias b; their sizes are checked, their content
// is not. The error is ErrMessage.
func Parse(b []byte) (Message, error) {
	if len(b) > MaxBody {
		return nil, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	kind := r.U8()
	var m Message
	ok := true
	switch kind {
	case typeStore:
		flags := r.U8()
		s := StoreMessage{Replica: flags&flagReplica != 0, Records: readList(r, identity.RecordSize, recordsPerMessage)}
		ok, m = flags&^flagReplica == 0 && len(s.Records) > 0, s
	case typeStorePrekeys:
		flags := r.U8()
		m = StoreMessage{Replica: flags&flagReplica != 0, Records: [][]byte{r.Bytes(identity.PrekeysSize)}}
		ok = flags&^flagReplica == 0
	case typePrekeys:
		var a RecordsMessage
		a.Part, a.Parts = int(r.U8()), int(r.U8())
		a.Records = [][]byte{r.Bytes(identity.PrekeysSize)}
		ok, m = a.Part < a.Parts && a.Parts <= maxParts, a
	case typeStored:
		var s StoredMessage
		n := int(r.U8())
		if ok = n > 0 && n <= recordsPerMessage; ok {
			for range n {
				l := StoredLine{Outcome: Outcome(r.U8()), Sequence: r.U64()}
				ok = ok && l.Outcome.Valid()
				s.Lines = append(s.Lines, l)
			}
		}
		m = s
	case typeKnock:
		m = KnockMessage{Knock: r.Bytes(identity.KnockSize)}
	case typeFetch:
		var f FetchMessage
		r.Fixed(f.Key[:])
		m = f
	case typeRecords:
		var a RecordsMessage
		a.Part, a.Parts = int(r.U8()), int(r.U8())
		a.Records = readList(r, identity.RecordSize, recordsPerMessage)
		ok, m = a.Part < a.Parts && a.Parts <= maxParts, a
	case typeCollect:
		var c CollectMessage
		r.Fixed(c.Key[:])
		c.Slot, c.Proof = r.U8(), r.Bytes(identity.OwnerProofSize)
		ok, m = c.Slot < identity.MaxSlots, c
	case typeKnocks:
		var a KnocksMessage
		a.Part, a.Parts = int(r.U8()), int(r.U8())
		a.Knocks = readList(r, identity.KnockSize, knocksPerMessage)
		ok, m = a.Part < a.Parts && a.Parts <= maxParts, a
	default:
		ok = false
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: type %#02x: %w", ErrMessage, kind, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: type %#02x", ErrMessage, kind)
	}
	return m, nil
}

// readList reads a count and that many blobs; a count above most leaves bytes
// behind, which fails the message.
func readList(r *wire.Reader, size, most int) [][]byte {
	n := int(r.U8())
	if n > most {
		r.Bytes(r.Len() + 1)
		return nil
	}
	var list [][]byte
	for range n {
		v := r.Bytes(size)
		if v == nil {
			return nil
		}
		list = append(list, v)
	}
	return list
}

// storeBodies packs records into as few StoreMessages as hold them.
func storeBodies(replica bool, records [][]byte) [][]byte {
	var out [][]byte
	for _, part := range splitRecords(records) {
		if len(part) > 0 {
			out = append(out, StoreMessage{Replica: replica, Records: part}.Append(nil))
		}
	}
	return out
}

// splitRecords cuts the records of one key into what messages hold.
func splitRecords(records [][]byte) [][][]byte {
	if len(records) > 0 && len(records[0]) == identity.PrekeysSize {
		return split(records, 1)
	}
	return split(records, recordsPerMessage)
}

// split cuts a list into parts of at most size; an empty list is one part.
func split(list [][]byte, size int) [][][]byte {
	parts := [][][]byte{list[:min(size, len(list))]}
	for rest := list[len(parts[0]):]; len(rest) > 0; rest = rest[min(size, len(rest)):] {
		parts = append(parts, rest[:min(size, len(rest))])
	}
	return parts
}

// less tells whether a is nearer to target than b in XOR distance.
func less(target, a, b [32]byte) bool { return distance(target, a, b) < 0 }

// distance compares the XOR distances of a and b to target: -1, 0 or +1.
func distance(target, a, b [32]byte) int {
	for i := range target {
		if x, y := a[i]^target[i], b[i]^target[i]; x != y {
			return bytes.Compare([]byte{x}, []byte{y})
		}
	}
	return 0
}
