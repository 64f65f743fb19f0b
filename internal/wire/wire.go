// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package wire holds what every P2P OS byte layout shares: a cursor that
// cannot run past its input, tagged fields that let an old decoder skip what a
// newer encoder adds, and the registry of first bytes on the node's socket.
//
// All integers are big endian. Layouts built from these pieces are drawn in
// design/001-wire.md.
//
// The small functions are not inlined: they are called in hundreds of places,
// none of which handles media packets, and copies of them in all those are
// 100 KB of a program that imports P2P OS.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort reports that a message ended before its layout did.
var ErrShort = errors.New("wire: message too short")

// ErrTrailing reports bytes behind the end of a layout that allows none.
var ErrTrailing = errors.New("wire: trailing bytes")

// ErrField reports tagged fields out of order, repeated or too many.
var ErrField = errors.New("wire: malformed field list")

// Reader is a cursor over one message. The first error sticks and every later
// read returns zero values, so a decoder checks once, at its end. Slices it
// returns alias the input.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a Reader over b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Bytes returns the next n bytes, or nil when fewer are left.
//
//go:noinline
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = ErrShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Fixed fills dst from the input.
//
//go:noinline
func (r *Reader) Fixed(dst []byte) { copy(dst, r.Bytes(len(dst))) }

// U8 reads one byte.
//
//go:noinline
func (r *Reader) U8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes.
//
//go:noinline
func (r *Reader) U16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes.
//
//go:noinline
func (r *Reader) U32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
//
//go:noinline
func (r *Reader) U64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Vec8 reads a one-byte length and that many bytes.
func (r *Reader) Vec8() []byte { return r.Bytes(int(r.U8())) }

// Vec16 reads a two-byte length and that many bytes.
func (r *Reader) Vec16() []byte { return r.Bytes(int(r.U16())) }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns all bytes that are left.
func (r *Reader) Rest() []byte { return r.Bytes(len(r.b)) }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Done returns the first error, or ErrTrailing when input is left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = ErrTrailing
	}
	return r.err
}

// AppendVec8 appends a one-byte length and v. It panics when v is longer than
// 255 bytes: that is the caller's bug, never the network's.
//
//go:noinline
func AppendVec8(b, v []byte) []byte {
	if len(v) > 0xff {
		panic(fmt.Sprintf("wire: %d bytes in a vec8", len(v)))
	}
	return append(append(b, byte(len(v))), v...)
}

// AppendVec16 appends a two-byte length and v. It panics when v is longer than
// 65,535 bytes.
//
//go:noinline
func AppendVec16(b, v []byte) []byte {
	if len(v) > 0xffff {
		panic(fmt.Sprintf("wire: %d bytes in a vec16", len(v)))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

// MaxFields bounds a field list: twice what the longest layout uses today, so
// that later versions have room and a hostile list stays cheap.
const MaxFields = 32

// AppendField appends one tagged field: tag (1 byte), length (2), value.
//
//go:noinline
func AppendField(b []byte, tag uint8, v []byte) []byte {
	return AppendVec16(append(b, tag), v)
}

// Fields walks a list of tagged fields to its end and hands each to visit.
// Tags must rise strictly, which makes every list canonical and repeats
// impossible. Visitors ignore tags they do not know: that is how versions of a
// layout stay compatible. The first error of visit ends the walk.
func Fields(b []byte, visit func(tag uint8, v []byte) error) error {
	r := Reader{b: b}
	last := -1
	for n := 0; r.Len() > 0; n++ {
		tag := r.U8()
		v := r.Vec16()
		if r.err != nil {
			return r.err
		}
		if int(tag) <= last || n == MaxFields {
			return ErrField
		}
		last = int(tag)
		if err := visit(tag, v); err != nil {
			return err
		}
	}
	return nil
}
