// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A page (RFC 3533 §6), integers little endian:
//
//	"OggS" version(1)=0 flags(1) granule(8) serial(4) sequence(4) crc(4) segments(1) || lacing values || body
//
// A packet is cut into segments of 255 bytes; the first shorter one ends it.
// Flags: 1 the page begins in mid-packet, 2 first page of the stream, 4 last.
const (
	capture      = "OggS"
	pageHeader   = 27
	maxSegments  = 255
	maxPageSize  = pageHeader + maxSegments + maxSegments*255
	flagContinue = 1
	flagFirst    = 2
	flagLast     = 4
	noGranule    = ^uint64(0) // no packet ends on the page
)

// MaxPacket bounds a packet. The longest that RFC 7845 §6 asks anyone to take
// is 61,440 bytes for each stream in it, and we read one.
const MaxPacket = 64 << 10

// ErrFormat is wrapped by FormatError and CorruptError.
var ErrFormat = errors.New("ogg: not an Ogg Opus stream")

// FormatError says why the beginning of a file cannot be an Ogg Opus stream we
// read. Nothing can be read from it.
type FormatError struct {
	Offset int64 // of the page
	What   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("ogg: at byte %d: %s", e.Offset, e.What) }

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *FormatError) Unwrap() error { return ErrFormat }

// CorruptError reports damage in mid-stream. Reading may go on behind it.
type CorruptError struct {
	Offset int64 // where the damage begins, to the page
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ogg: damage at byte %d: %s", e.Offset, e.What)
}

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *CorruptError) Unwrap() error { return ErrFormat }

// crcTable is for the polynomial 0x04c11db7, not reflected, which hash/crc32
// does not offer (RFC 3533 §6, field 7).
var crcTable = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			r = r<<1 ^ 0x04c11db7&-(r>>31)
		}
		t[i] = r
	}
	return t
}()

func crc(sum uint32, b []byte) uint32 {
	for _, v := range b {
		sum = sum<<8 ^ crcTable[byte(sum>>24)^v]
	}
	return sum
}

// pageCRC returns the checksum of a whole page, taken with its field zero.
func pageCRC(page []byte) uint32 {
	sum := crc(0, page[:22])
	sum = crc(sum, make([]byte, 4))
	return crc(sum, page[26:])
}

// page is a parsed page; lacing and body alias the reader's buffer.
type page struct {
	flags    byte
	granule  uint64
	serial   uint32
	sequence uint32
	lacing   []byte
	body     []byte
}

// parsePage takes a page apart whose length was found to be right.
func parsePage(b []byte) page {
	n := pageHeader + int(b[26])
	return page{
		flags:    b[5],
		granule:  binary.LittleEndian.Uint64(b[6:]),
		serial:   binary.LittleEndian.Uint32(b[14:]),
		sequence: binary.LittleEndian.Uint32(b[18:]),
		lacing:   b[pageHeader:n],
		body:     b[n:],
	}
}
