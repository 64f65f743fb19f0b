// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// ID names an entry, everywhere and for ever. It is random, so that one made
// after a state came out of a backup is never taken for an older one.
type ID [16]byte

// NewID draws an ID.
func NewID() (id ID) {
	rand.Read(id[:])
	return id
}

// ParseID reads String's form.
func ParseID(s string) (id ID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("chat: not a message ID: %.40q", s)
	}
	return ID(b), nil
}

// String returns the ID as 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// LogValue logs the first eight.
func (id ID) LogValue() slog.Value { return slog.StringValue(hex.EncodeToString(id[:4])) }

// kind of an entry. Unknown ones of later programs are kept and passed on, and
// not shown.
type kind uint8

const (
	kindText kind = 1
	kindRead kind = 2 // body: IDs of texts that were read
	kindCall kind = 3 // a call that reached nobody, at the entry's time; no body
)

// author names the device that made an entry: one of ours, or one of the
// other person's.
type author struct {
	device [16]byte
	ours   bool
}

// entry is one thing that a device has said in a conversation.
//
//	1 id (16)   2 prev (16)   3 time (8, Unix ms)   4 kind (1)   5 body   6 flags (1)   own devices, and the disk: 7 conversation (32)   8 author's device (16)
type entry struct {
	id, prev ID
	at       int64 // by its author's clock
	kind     kind
	body     []byte
	flags    uint8
	by       author

	delivered, read bool // of an own text; read: of theirs too
}

const (
	flagFirst = 1 << 0 // no earlier one will come
	flagOurs  = 1 << 1 // with fields 7 and 8: the author is a device of ours

	// In the store alone.
	flagDelivered = 1 << 6
	flagRead      = 1 << 7
)

// maxEntry bounds an entry's fields.
const maxEntry = MaxText + 200

func (e *entry) append(b []byte) []byte {
	b = wire.AppendField(b, 1, e.id[:])
	b = wire.AppendField(b, 2, e.prev[:])
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint64(nil, uint64(e.at)))
	b = wire.AppendField(b, 4, []byte{byte(e.kind)})
	b = wire.AppendField(b, 5, e.body)
	return b
}

// appendWire adds what another person's device gets.
func (e *entry) appendWire(b []byte) []byte {
	return wire.AppendField(e.append(b), 6, []byte{e.flags & flagFirst})
}

// appendOwn adds what an own device gets.
func (e *entry) appendOwn(b []byte, conversation identity.ID) []byte {
	f := e.flags & flagFirst
	if e.by.ours {
		f |= flagOurs
	}
	b = wire.AppendField(e.append(b), 6, []byte{f})
	b = wire.AppendField(b, 7, conversation[:])
	return wire.AppendField(b, 8, e.by.device[:])
}

// appendStored adds what the store keeps.
func (e *entry) appendStored(b []byte) []byte {
	f := e.flags & flagFirst
	if e.by.ours {
		f |= flagOurs
	}
	if e.delivered {
		f |= flagDelivered
	}
	if e.read {
		f |= flagRead
	}
	b = wire.AppendField(e.append(b), 6, []byte{f})
	return wire.AppendField(b, 8, e.by.device[:])
}

// parseEntry reads an entry. conversation is zero when it isn't named.
func parseEntry(b []byte) (e *entry, conversation identity.ID, err error) {
	if len(b) > maxEntry {
		return nil, conversation, fmt.Errorf("%w: entry of %d bytes", ErrMessage, len(b))
	}
	e = &entry{}
	seen := 0
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			r.Fixed(e.id[:])
			seen++
		case 2:
			r.Fixed(e.prev[:])
			seen++
		case 3:
			e.at = int64(r.U64())
			seen++
		case 4:
			e.kind = kind(r.U8())
			seen++
		case 5:
			e.body = append([]byte(nil), r.Rest()...)
			seen++
		case 6:
			e.flags = r.U8()
		case 7:
			r.Fixed(conversation[:])
		case 8:
			r.Fixed(e.by.device[:])
		default:
			return nil
		}
		return r.Done()
	})
	switch {
	case err != nil:
		return nil, conversation, fmt.Errorf("%w: entry: %w", ErrMessage, err)
	case seen != 5 || e.id == (ID{}) || e.id == e.prev:
		return nil, conversation, fmt.Errorf("%w: entry", ErrMessage)
	case e.kind == kindText && !validText(string(e.body)):
		return nil, conversation, fmt.Errorf("%w: text", ErrMessage)
	case e.kind == kindRead && (len(e.body) == 0 || len(e.body)%16 != 0 || len(e.body) > 16*maxReads):
		return nil, conversation, fmt.Errorf("%w: read", ErrMessage)
	case e.kind == kindCall && len(e.body) != 0:
		return nil, conversation, fmt.Errorf("%w: call", ErrMessage)
	case e.at < 0 || e.at > maxAt:
		return nil, conversation, fmt.Errorf("%w: time", ErrMessage)
	}
	e.by.ours = e.flags&flagOurs != 0
	e.delivered, e.read = e.flags&flagDelivered != 0, e.flags&flagRead != 0
	e.flags &= flagFirst
	return e, conversation, nil
}

// matters reports whether an entry waits for the other person until it is
// delivered: what was read is told when there is more to say.
func (e *entry) matters() bool { return e.kind == kindText || e.kind == kindCall }

// maxAt is the year 10889, far inside time.Time and JSON's numbers.
const maxAt = 1 << 48

// validText reports whether a text may be sent: something, and readable.
func validText(s string) bool { return s != "" && len(s) <= MaxText && utf8.ValidString(s) }

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func reads(e *entry) (ids []ID) {
	for b := e.body; len(b) >= 16; b = b[16:] {
		ids = append(ids, ID(b[:16]))
	}
	return ids
}
