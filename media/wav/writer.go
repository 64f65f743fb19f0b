// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wav

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxData is what the 32-bit sizes can say, less the header.
const maxData = open - headerSize - 1

// ErrFull reports that a file has reached 4 GiB, the end of the format.
var ErrFull = errors.New("wav: file is full")

// Writer writes a WAV file. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	format  Format
	written uint32
	buf     []byte
	err     error // sticks
	closed  bool
}

// NewWriter writes the header. While the file grows, its sizes say "until the
// end"; Close puts the right ones in if w is an io.WriteSeeker.
func NewWriter(w io.Writer, f Format) (*Writer, error) {
	if what := f.check(); what != "" {
		return nil, fmt.Errorf("wav: %s", what)
	}
	x := &Writer{w: w, format: f}
	x.put(appendHeader(nil, f, open))
	return x, x.err
}

// WritePCM adds values, interleaved, a whole multiple of the channels. It
// returns ErrFull at 4 GiB, io.ErrClosedPipe after Close, and the errors of the
// underlying writer, which stick.
func (x *Writer) WritePCM(pcm []int16) error {
	switch {
	case x.closed:
		return io.ErrClosedPipe
	case x.err != nil:
		return x.err
	case len(pcm)%x.format.Channels != 0:
		return fmt.Errorf("wav: %d values for %d channels", len(pcm), x.format.Channels)
	case uint64(x.written)+2*uint64(len(pcm)) > maxData:
		return ErrFull
	}
	b := x.buf[:0]
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	x.buf = b
	x.written += uint32(len(b))
	x.put(b)
	return x.err
}

// Close completes the sizes. It does not close the underlying writer, and may
// be called twice.
func (x *Writer) Close() error {
	if x.closed {
		return x.err
	}
	x.closed = true
	s, ok := x.w.(io.WriteSeeker)
	if !ok || x.err != nil {
		return x.err
	}
	h := appendHeader(nil, x.format, x.written)
	// The file may begin in the middle of w.
	end := -int64(headerSize) - int64(x.written)
	if _, err := s.Seek(end, io.SeekCurrent); err != nil {
		return nil // a pipe: readers take the sizes for "until the end"
	}
	x.put(h)
	if _, err := s.Seek(int64(x.written), io.SeekCurrent); err != nil && x.err == nil {
		x.err = fmt.Errorf("wav: seek: %w", err)
	}
	return x.err
}

func (x *Writer) put(b []byte) {
	if _, err := x.w.Write(b); err != nil && x.err == nil {
		x.err = fmt.Errorf("wav: write: %w", err)
	}
}
