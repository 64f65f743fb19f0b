// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// MaxDatagram bounds a datagram, as internal/sock does: an Ethernet frame.
const MaxDatagram = 1500

const (
	frameHeader = 2

	// inputSize is room for two frames and more: one that is read while the
	// next one has begun.
	inputSize = 4096
)

// FrameError reports a stream that is no sequence of frames.
type FrameError struct {
	Head [frameHeader]byte // where a length should be
}

func (e *FrameError) Error() string {
	if e.http() {
		return fmt.Sprintf("carrier: not a frame but text: %q", e.Head[:])
	}
	return fmt.Sprintf("carrier: frame of %d bytes, at most %d are allowed", binary.BigEndian.Uint16(e.Head[:]), MaxDatagram)
}

// http reports whether this is how an HTTP request or answer begins. The
// lengths of frames are below all letters.
func (e *FrameError) http() bool { return upper(e.Head[0]) && upper(e.Head[1]) }

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }

// deframer finds the frames in a stream.
type deframer struct {
	buf  [inputSize]byte
	r, w int // what is between them has been read and not returned
}

// next returns the next datagram, which is empty for a sign of life, and
// whether it is complete; it is valid until room is called. The error is a
// *FrameError, and then the stream is of no further use.
func (d *deframer) next() (b []byte, whole bool, err error) {
	have := d.buf[d.r:d.w]
	if len(have) < frameHeader {
		return nil, false, nil
	}
	n := int(binary.BigEndian.Uint16(have))
	if n > MaxDatagram {
		return nil, false, &FrameError{[frameHeader]byte(have)}
	}
	if len(have) < frameHeader+n {
		return nil, false, nil
	}
	d.r += frameHeader + n
	return have[frameHeader : frameHeader+n], true, nil
}

// begun reports whether part of a frame is here.
func (d *deframer) begun() bool { return d.r < d.w }

// room returns where to read to; filled then says how much was. It is never
// empty when next has found no whole frame.
func (d *deframer) room() []byte {
	if d.r > 0 {
		d.w = copy(d.buf[:], d.buf[d.r:d.w])
		d.r = 0
	}
	return d.buf[d.w:]
}

func (d *deframer) filled(n int) { d.w += n }

// isHTTP reports whether bytes that should have been a TLS record are the
// beginning of an HTTP request.
func isHTTP(head []byte) bool {
	for _, method := range [][]byte{[]byte("GET /"), []byte("HEAD "), []byte("POST "), []byte("PUT /"), []byte("OPTIO"), []byte("CONNE"), []byte("PRI *")} {
		if bytes.HasPrefix(head, method) {
			return true
		}
	}
	return false
}
