// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wav

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A file as we write it, integers little endian:
//
//	"RIFF" size(4) "WAVE"
//	"fmt " 16(4) tag(2)=1 channels(2) rate(4) bytes/s(4) align(2) bits(2)=16
//	"data" size(4) || samples
//
// Other programs put chunks between these, and an extended fmt chunk.
const (
	headerSize = 44
	fmtSize    = 16
	maxFmt     = 64 // the longest known form, extensible, has 40 bytes

	tagPCM        = 1
	tagExtensible = 0xfffe

	// open is the size of a chunk that was still being written, which readers
	// take for "until the end": what a killed program leaves behind.
	open = 0xffffffff

	// maxChunks bounds the search for the sound. Files carry about five.
	maxChunks = 64

	minRate = 8000
	maxRate = 192000
)

// extensiblePCM is the rest of the sub-format that means plain PCM.
const extensiblePCM = "\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"

// ErrFormat is wrapped by every FormatError.
var ErrFormat = errors.New("wav: not a WAV file we read")

// FormatError says why a file cannot be read.
type FormatError struct {
	Offset int64
	What   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("wav: at byte %d: %s", e.Offset, e.What) }

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *FormatError) Unwrap() error { return ErrFormat }

// Format says what the samples of a file mean.
type Format struct {
	Rate     int // samples a second and channel
	Channels int // 1 or 2
}

func (f Format) check() string {
	switch {
	case f.Channels < 1 || f.Channels > 2:
		return fmt.Sprintf("%d channels, want 1 or 2", f.Channels)
	case f.Rate < minRate || f.Rate > maxRate:
		return fmt.Sprintf("%d samples a second, want 8000 to 192000", f.Rate)
	}
	return ""
}

// parseFormat reads a fmt chunk; what is empty when it is right.
func parseFormat(b []byte) (f Format, what string) {
	if len(b) < fmtSize {
		return f, "format chunk too short"
	}
	tag, bits := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[14:])
	switch {
	case tag == tagExtensible && len(b) >= 40 && string(b[24:40]) == extensiblePCM:
	case tag != tagPCM:
		return f, fmt.Sprintf("encoding %#04x, want PCM", tag)
	}
	f.Channels = int(binary.LittleEndian.Uint16(b[2:]))
	f.Rate = int(min(binary.LittleEndian.Uint32(b[4:]), maxRate+1))
	if bits != 16 {
		return f, fmt.Sprintf("%d bits a sample, want 16", bits)
	}
	if what := f.check(); what != "" {
		return f, what
	}
	if align := int(binary.LittleEndian.Uint16(b[12:])); align != 2*f.Channels {
		return f, "samples are not packed"
	}
	return f, ""
}

// appendHeader makes the header of a file with n bytes of sound.
func appendHeader(b []byte, f Format, n uint32) []byte {
	le := binary.LittleEndian
	riff := uint32(open)
	if n != open {
		riff = n + headerSize - 8
	}
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, riff)
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, fmtSize)
	b = le.AppendUint16(b, tagPCM)
	b = le.AppendUint16(b, uint16(f.Channels))
	b = le.AppendUint32(b, uint32(f.Rate))
	b = le.AppendUint32(b, uint32(f.Rate*f.Channels*2))
	b = le.AppendUint16(b, uint16(f.Channels*2))
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	return le.AppendUint32(b, n)
}
