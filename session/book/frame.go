// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/internal/wire"
)

// What own devices tell each other, on a stream that each of the two opens:
//
//	length(4) || type(1) || body, of length bytes
//
//	1 DIGEST   n × (kind(1) || 256 × sum(8))
//	2 ITEMS    n × (kind(1) || name (vec8) || value (vec16))
//
// Types and kinds that are not known are skipped.

// Kind says what an item is.
type Kind uint8

const (
	Contacts Kind = 1 // name = ID, value = Contact.Encode
	Pasts    Kind = 2 // name = Past.ID, value = Past.Encode
)

// Type is the first byte of a frame.
type Type uint8

const (
	TypeDigest Type = 1
	TypeItems  Type = 2
)

const (
	// MaxFrame bounds a frame in bytes, its length aside: what a reader holds.
	MaxFrame = 32 << 10
	// FrameRoom is how much of it ITEMS are packed into: one more item fits.
	FrameRoom = MaxFrame - 8<<10
	maxKinds  = 8
)

// ErrFrame reports bytes that are no frame.
var ErrFrame = errors.New("book: malformed frame")

// Key names an item.
type Key struct {
	Kind Kind
	Name string // bytes
}

// Item is one entry on its way.
type Item struct {
	Key
	Value []byte
}

// Digest says what a device has: for each kind 256 sums of the items whose names
// begin alike. Whoever adds the same items, in any order, has the same sums.
type Digest map[Kind]*[256]uint64

// Add counts an item in; it is called once for each.
func (d Digest) Add(i Item) {
	if d[i.Kind] == nil {
		d[i.Kind] = new([256]uint64)
	}
	h := sha256.New()
	h.Write(wire.AppendVec8([]byte{byte(i.Kind)}, []byte(i.Name)))
	h.Write(i.Value)
	d[i.Kind][Bucket(i.Name)] ^= binary.BigEndian.Uint64(h.Sum(nil))
}

// Bucket returns which of a digest's sums a name belongs to.
func Bucket(name string) uint8 {
	h := sha256.Sum256([]byte(name))
	return h[0]
}

// Differs tells whether two devices should compare what is in a key's bucket.
func (d Digest) Differs(o Digest, key Key) bool {
	k, bucket := key.Kind, Bucket(key.Name)
	var a, b uint64
	if d[k] != nil {
		a = d[k][bucket]
	}
	if o[k] != nil {
		b = o[k][bucket]
	}
	return a != b
}

// Frame returns the DIGEST that tells it, length in front.
func (d Digest) Frame() []byte {
	var b []byte
	for k := range Kind(255) { // in the order of kinds
		if s := d[k]; s != nil {
			b = append(b, byte(k))
			for _, v := range s {
				b = binary.BigEndian.AppendUint64(b, v)
			}
		}
	}
	return frame(TypeDigest, b)
}

// ParseDigest reads the body of a DIGEST. Error: ErrFrame.
func ParseDigest(b []byte) (Digest, error) {
	d := Digest{}
	r := wire.NewReader(b)
	for n := 0; r.Len() > 0 && r.Err() == nil; n++ {
		k, s := Kind(r.U8()), new([256]uint64)
		for i := range s {
			s[i] = r.U64()
		}
		if d[k] != nil || n == maxKinds {
			return nil, fmt.Errorf("%w: digest", ErrFrame)
		}
		d[k] = s
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: digest: %w", ErrFrame, err)
	}
	return d, nil
}

// AppendItem adds an item to the body of ITEMS.
func AppendItem(b []byte, i Item) []byte {
	b = wire.AppendVec8(append(b, byte(i.Kind)), []byte(i.Name))
	return wire.AppendVec16(b, i.Value)
}

// ItemsFrame returns the ITEMS of a body, length in front.
func ItemsFrame(body []byte) []byte { return frame(TypeItems, body) }

// ParseItems reads the body of ITEMS. Error: ErrFrame.
func ParseItems(b []byte) (list []Item, err error) {
	r := wire.NewReader(b)
	for r.Len() > 0 && r.Err() == nil {
		var i Item
		i.Kind = Kind(r.U8())
		i.Name = string(r.Vec8())
		i.Value = r.Vec16()
		list = append(list, i)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: items: %w", ErrFrame, err)
	}
	return list, nil
}

func frame(t Type, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(body)))
	return append(append(b, byte(t)), body...)
}

// ParseLength reads the four bytes in front of a frame. Error: ErrFrame, for
// one that is empty or too long.
func ParseLength(b [4]byte) (int, error) {
	n := binary.BigEndian.Uint32(b[:])
	if n == 0 || n > MaxFrame {
		return 0, fmt.Errorf("%w: of %d bytes", ErrFrame, n)
	}
	return int(n), nil
}
