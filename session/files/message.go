// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/p2pos/p2pos/internal/wire"
)

// Messages of a lane:
//
//	type(1) length(2) transfer id(16) rest
//
//	1 OFFER    fields: 1 size(8)   2 root(32)   3 SHA-256(32)   4 name (≤ 255)
//	2 TAKE
//	3 WANT     kind(1) first(4) count(4)
//	4 LIST     first(4) page hashes (≤ 512)
//	5 HASHES   page(4) chunk hashes (≤ 512)
//	6 DATA     offset(8) bytes (≤ 16,384)
//	7 PAUSE
//	8 GO
//	9 END      reason(1)
//	10 QUIET   on(1)
type kind uint8

const (
	kindOffer kind = 1 + iota
	kindTake
	kindWant
	kindList
	kindHashes
	kindData
	kindPause
	kindGo
	kindEnd
	kindQuiet
)

const (
	headLen = 3
	idLen   = 16
	// pieceSize is the most that one DATA carries: 65 ms at 2 Mbit/s, which is
	// what other messages wait for.
	pieceSize = 16 << 10
	// maxBody bounds the length of a message without its head.
	maxBody = idLen + 8 + pieceSize
	// maxOfferName bounds an offered name.
	maxOfferName = 255
)

// ID names a transfer. The sender draws it.
type ID [idLen]byte

// String returns the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// LogValue logs the first eight characters.
func (id ID) LogValue() slog.Value { return slog.StringValue(hex.EncodeToString(id[:4])) }

// ParseID reads what String has written.
func ParseID(s string) (id ID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("files: %.40q is not the ID of a transfer", s)
	}
	return ID(b), nil
}

// Reason says why a transfer is over.
type Reason uint8

// The reasons. Others are of later programs.
const (
	Complete   Reason = 1 + iota // the file is on the receiver's disk
	Declined                     // the receiver didn't want it
	Cancelled                    // one side gave it up
	Changed                      // the file is not what it was when it was offered
	Wrong                        // what came was not what was offered
	Unreadable                   // the sender can't read the file
	Elsewhere                    // another device of the person has taken it
	TooMany                      // the receiver has too many offers
	Expired                      // nothing came of it in 30 days; never sent
)

// String returns a word for the reason.
func (r Reason) String() string {
	switch r {
	case Complete:
		return "complete"
	case Declined:
		return "declined"
	case Cancelled:
		return "cancelled"
	case Changed:
		return "changed"
	case Wrong:
		return "wrong"
	case Unreadable:
		return "unreadable"
	case Elsewhere:
		return "elsewhere"
	case TooMany:
		return "too-many"
	case Expired:
		return "expired"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// What a WANT asks for.
const (
	wantList   = 1
	wantPage   = 2
	wantChunks = 3
)

// Offer says what a file is.
type Offer struct {
	ID     ID
	Name   string // as the sender calls it, at most 255 bytes; see CleanName
	Size   int64
	Root   Hash
	SHA256 Hash
}

// message is any message of a lane, decoded. Only the fields of its kind are
// set; bytes and hashes alias the input.
type message struct {
	kind   kind
	id     ID
	offer  Offer
	what   uint8 // of WANT
	first  uint32
	count  uint32
	hashes []byte // whole hashes
	offset int64
	data   []byte
	reason Reason
	on     bool
}

// ErrMessage reports a message that breaks the layout, or the rules of what may
// be sent when.
var ErrMessage = errors.New("files: bad message")

// appendMessage appends m with its head.
func appendMessage(b []byte, m message) []byte {
	start := len(b)
	b = append(b, byte(m.kind), 0, 0)
	b = append(b, m.id[:]...)
	switch m.kind {
	case kindOffer:
		b = wire.AppendField(b, 1, binary.BigEndian.AppendUint64(nil, uint64(m.offer.Size)))
		b = wire.AppendField(b, 2, m.offer.Root[:])
		b = wire.AppendField(b, 3, m.offer.SHA256[:])
		b = wire.AppendField(b, 4, []byte(m.offer.Name))
	case kindWant:
		b = append(b, m.what)
		b = binary.BigEndian.AppendUint32(b, m.first)
		b = binary.BigEndian.AppendUint32(b, m.count)
	case kindList, kindHashes:
		b = binary.BigEndian.AppendUint32(b, m.first)
		b = append(b, m.hashes...)
	case kindData:
		b = binary.BigEndian.AppendUint64(b, uint64(m.offset))
		b = append(b, m.data...)
	case kindEnd:
		b = append(b, byte(m.reason))
	case kindQuiet:
		b = append(b, flag(m.on))
	}
	binary.BigEndian.PutUint16(b[start+1:], uint16(len(b)-start-headLen))
	return b
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// parseMessage reads a message of type k without its head. known is false for a
// type of a later program.
func parseMessage(k kind, body []byte) (m message, known bool, err error) {
	bad := func(why string) (message, bool, error) {
		return message{}, true, fmt.Errorf("%w: type %d: %s", ErrMessage, k, why)
	}
	if k == 0 || k > kindQuiet {
		return message{}, false, nil
	}
	if len(body) > maxBody {
		return bad("too long")
	}
	r := wire.NewReader(body)
	m.kind = k
	r.Fixed(m.id[:])
	switch k {
	case kindOffer:
		if m.offer, err = parseOffer(m.id, r.Rest()); err != nil {
			return bad(err.Error())
		}
	case kindWant:
		m.what, m.first, m.count = r.U8(), r.U32(), r.U32()
	case kindList, kindHashes:
		m.first = r.U32()
		m.hashes = r.Rest()
		if n := len(m.hashes); n == 0 || n%len(Hash{}) != 0 || n > pageChunks*len(Hash{}) {
			return bad("not a list of hashes")
		}
	case kindData:
		offset := r.U64()
		m.data = r.Rest()
		if offset > MaxSize || len(m.data) == 0 || len(m.data) > pieceSize {
			return bad("not a piece of a file")
		}
		m.offset = int64(offset)
	case kindEnd:
		m.reason = Reason(r.U8())
	case kindQuiet:
		m.on = r.U8() == 1
	}
	if err := r.Done(); err != nil {
		return bad(err.Error())
	}
	return m, true, nil
}

func parseOffer(id ID, b []byte) (Offer, error) {
	o := Offer{ID: id, Size: -1}
	seen := 0
	err := wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			if n := r.U64(); n <= MaxSize {
				o.Size = int64(n)
			}
		case 2:
			r.Fixed(o.Root[:])
		case 3:
			r.Fixed(o.SHA256[:])
		case 4:
			if len(v) > maxOfferName {
				return fmt.Errorf("a name of %d bytes", len(v))
			}
			o.Name = string(r.Rest())
		default:
			return nil
		}
		seen++
		return r.Done()
	})
	switch {
	case err != nil:
		return Offer{}, err
	case seen != 4 || o.Size < 0:
		return Offer{}, errors.New("an offer without size, hashes or name")
	}
	return o, nil
}

// hashList returns the hashes in b.
func hashList(b []byte) []Hash {
	list := make([]Hash, len(b)/len(Hash{}))
	for i := range list {
		copy(list[i][:], b[i*len(Hash{}):])
	}
	return list
}

func appendHashes(b []byte, list []Hash) []byte {
	for i := range list {
		b = append(b, list[i][:]...)
	}
	return b
}
