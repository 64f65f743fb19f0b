// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/p2pos/p2pos/internal/order"
)

// Past is something that happened on one of the devices, a call or a file, in
// the application's own words. It never changes.
type Past struct {
	ID   [16]byte // of the body
	When int64    // Unix milliseconds, by the clock of that device
	Body []byte   // ≤ MaxBody
}

const (
	// MaxPast is how many go to other devices, the newest: a year of five calls
	// a day, half a megabyte.
	MaxPast = 2000
	// MaxBody bounds one in bytes: what is known of a file, with a name of 255.
	MaxBody = 2048
)

// ErrPast reports bytes that are no Past, or another one.
var ErrPast = errors.New("book: damaged entry of the past")

// NewPast names what happened.
func NewPast(when int64, body []byte) Past {
	p := Past{When: when, Body: body}
	p.ID = [16]byte(p.sum())
	return p
}

func (p *Past) sum() []byte {
	h := sha256.New()
	h.Write([]byte("p2pos past v1"))
	h.Write(p.Encode())
	return h.Sum(nil)[:len(p.ID)]
}

// Encode returns when(8) || body.
func (p *Past) Encode() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.When)), p.Body...)
}

// ParsePast reads what Encode has written. Error: ErrPast, also when it goes by
// the name of another one.
func ParsePast(id, b []byte) (Past, error) {
	if len(b) < 8 || len(b) > 8+MaxBody || len(id) != 16 {
		return Past{}, ErrPast
	}
	p := NewPast(int64(binary.BigEndian.Uint64(b)), bytes.Clone(b[8:]))
	if !bytes.Equal(id, p.ID[:]) {
		return Past{}, ErrPast
	}
	return p, nil
}

// Newest returns which of what happened is kept for other devices: MaxPast, in
// the order of time. All devices that know the same keep the same.
func Newest(list []Past) []Past {
	list = slices.Clone(list)
	order.Sort(list, func(a, b Past) int {
		return cmp.Or(cmp.Compare(a.When, b.When), bytes.Compare(a.ID[:], b.ID[:]))
	})
	list = slices.CompactFunc(list, func(a, b Past) bool { return a.ID == b.ID })
	return list[max(0, len(list)-MaxPast):]
}
