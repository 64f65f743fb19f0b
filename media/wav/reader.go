// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wav

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads the samples of a WAV file. It is not safe for concurrent use.
type Reader struct {
	src    *bufio.Reader
	off    int64
	format Format
	left   int64 // bytes of sound; negative = until the end
	err    error
}

// NewReader reads up to where the sound begins. Its error is a *FormatError,
// or that of r.
func NewReader(r io.Reader) (*Reader, error) {
	w := &Reader{src: bufio.NewReaderSize(r, 4096)}
	b, err := w.take(12)
	if err != nil {
		return nil, err
	}
	if string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, &FormatError{What: "not a RIFF file with sound"}
	}
	for range maxChunks {
		at := w.off
		if b, err = w.take(8); err != nil {
			return nil, err
		}
		name, size := string(b[:4]), binary.LittleEndian.Uint32(b[4:])
		switch {
		case name == "fmt " && size <= maxFmt:
			if b, err = w.take(int(size)); err != nil {
				return nil, err
			}
			var what string
			if w.format, what = parseFormat(b); what != "" {
				return nil, &FormatError{Offset: at, What: what}
			}
			err = w.skip(int64(size) & 1)
		case name == "data":
			if w.format.Channels == 0 {
				return nil, &FormatError{Offset: at, What: "sound before its format"}
			}
			if w.left = int64(size); size == open || size == 0 {
				w.left = -1
			}
			return w, nil
		default:
			err = w.skip(int64(size) + int64(size)&1) // chunks are padded to even length
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, &FormatError{Offset: w.off, What: "no sound among the first chunks"}
}

// Format returns rate and channels.
func (r *Reader) Format() Format { return r.format }

// ReadPCM fills pcm with the next values, interleaved, and returns how many: a
// whole multiple of the channels, less than len(pcm) only before the end. At
// the end it returns io.EOF. A file that was cut off ends there without an
// error, as a recording does whose program was killed.
func (r *Reader) ReadPCM(pcm []int16) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	pcm = pcm[:len(pcm)-len(pcm)%r.format.Channels]
	step := 2 * r.format.Channels
	for n < len(pcm) && r.err == nil {
		want := min(2*(len(pcm)-n), r.src.Size()/step*step)
		if r.left >= 0 {
			want = int(min(int64(want), r.left-r.left%int64(step)))
		}
		if want == 0 {
			r.err = io.EOF
			break
		}
		b, err := r.src.Peek(want)
		if err != nil {
			r.err = err
			if err != io.EOF {
				r.err = fmt.Errorf("wav: read at byte %d: %w", r.off, err)
			}
			b = b[:len(b)-len(b)%step]
		}
		for i := 0; i < len(b); i += 2 {
			pcm[n] = int16(binary.LittleEndian.Uint16(b[i:]))
			n++
		}
		r.discard(len(b))
		if r.left >= 0 {
			r.left -= int64(len(b))
		}
	}
	if n == 0 && len(pcm) > 0 {
		return 0, r.err
	}
	return n, nil
}

func (r *Reader) discard(n int) {
	n, _ = r.src.Discard(n) // these were peeked at, so they are there
	r.off += int64(n)
}

// take returns the next n bytes, valid until the next read.
func (r *Reader) take(n int) ([]byte, error) {
	b, err := r.src.Peek(n)
	if err != nil {
		return nil, r.early(err)
	}
	r.discard(n)
	return b, nil
}

func (r *Reader) skip(n int64) error {
	done, err := io.CopyN(io.Discard, r.src, n)
	r.off += done
	if err != nil {
		return r.early(err)
	}
	return nil
}

func (r *Reader) early(err error) error {
	if errors.Is(err, io.EOF) {
		return &FormatError{Offset: r.off, What: "ends before any sound"}
	}
	return fmt.Errorf("wav: read at byte %d: %w", r.off, err)
}
