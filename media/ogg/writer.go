// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/p2pos/p2pos/media"
)

const (
	// pageSamples is how much sound a page holds at most, one second: what a
	// recording that is killed can lose.
	pageSamples = media.ClockRate
	// defaultPreSkip is what libopus needs to settle, 6.5 ms.
	defaultPreSkip = 312
	// maxVendor keeps the comment header on one page.
	maxVendor = 1024
	// maxFill bounds one lost stretch, a minute; a longer one is a mistake.
	maxFill = 60 * media.ClockRate
)

// Options describes a file to write. The zero value is mono voice.
type Options struct {
	Channels   int        // 1 or 2; 0 = 1
	PreSkip    int        // samples at 48 kHz to throw away when played; 0 = 312, negative = none
	SampleRate int        // of the sound before encoding; 0 = 48000
	Vendor     string     // who wrote it; "" = "p2pos"
	Rand       *rand.Rand // chooses the serial number; nil = 1, which only matters where streams are joined

	tracks int // set by NewRecorder: mono streams side by side
}

// Writer writes Opus packets as an Ogg file. Each page goes out with one Write,
// at the latest after a second of sound. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	err     error // sticks
	closed  bool
	serial  uint32
	seq     uint32
	granule uint64 // of all that was written, in samples

	lacing    []byte
	body      []byte
	ended     bool   // a packet ends on the pending page
	ends      uint64 // granule at its end
	samples   int    // sound on the pending page
	flags     byte   // of the pending page
	buf       []byte
	lastTOC   byte
	concealed [1]byte
}

// NewWriter writes the headers.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	switch {
	case o.Channels == 0:
		o.Channels = 1
	case o.Channels < 1 || o.Channels > 2:
		return nil, fmt.Errorf("ogg: %d channels, want 1 or 2", o.Channels)
	}
	switch {
	case o.PreSkip == 0:
		o.PreSkip = defaultPreSkip
	case o.PreSkip > 0xffff:
		return nil, fmt.Errorf("ogg: pre-skip of %d samples, want at most 65535", o.PreSkip)
	}
	if o.SampleRate <= 0 {
		o.SampleRate = media.ClockRate
	}
	if o.Vendor == "" {
		o.Vendor = "p2pos"
	}
	x := &Writer{w: w, serial: 1, flags: flagFirst, lastTOC: 0xf8} // 20 ms fullband
	if o.Rand != nil {
		x.serial = o.Rand.Uint32()
	}
	x.add(appendHead(nil, Head{
		Channels: o.Channels, PreSkip: max(o.PreSkip, 0), SampleRate: o.SampleRate,
	}, o.tracks))
	x.flush(0)
	x.add(appendTags(nil, o.Vendor[:min(len(o.Vendor), maxVendor)]))
	x.flush(0) // sound begins on a page of its own (RFC 7845 §3)
	return x, x.err
}

// WritePacket adds one packet of the given duration at 48 kHz; zero means what
// the packet says. An empty packet stands for sound that is not there: it is
// written as packets with a table-of-contents byte alone, which make players
// conceal, so that the file keeps its time.
//
// It returns a *media.PayloadError for what is not an Opus packet, io.ErrClosedPipe
// after Close, and the errors of the underlying writer, which stick.
func (x *Writer) WritePacket(p []byte, samples int) error {
	if x.closed {
		return io.ErrClosedPipe
	}
	if x.err != nil {
		return x.err
	}
	if len(p) == 0 {
		return x.fill(samples)
	}
	if len(p) > MaxPacket {
		return &media.PayloadError{Len: len(p), What: "above 64 KiB"}
	}
	n, err := media.OpusSamples(p)
	if err != nil {
		return err
	}
	if samples != 0 && samples != n {
		return fmt.Errorf("ogg: packet lasts %d samples, not %d", n, samples)
	}
	x.lastTOC = p[0]
	x.write(p, n)
	return x.err
}

// fill writes packets without a frame for a lost stretch.
func (x *Writer) fill(samples int) error {
	if samples <= 0 || samples > maxFill || samples%120 != 0 {
		return fmt.Errorf("ogg: cannot leave out %d samples", samples)
	}
	for samples > 0 {
		toc, n := emptyTOC(x.lastTOC, samples)
		x.concealed[0] = toc
		x.write(x.concealed[:], n)
		samples -= n
	}
	return x.err
}

// emptyTOC returns the TOC byte of a packet with one empty frame, as long as
// possible up to want samples (a multiple of 2.5 ms), in the mode and bandwidth
// of the packet before if that has such a frame: changing the mode can click.
func emptyTOC(last byte, want int) (toc byte, samples int) {
	first, sizes := byte(28), 4 // CELT fullband: 2.5 to 20 ms
	switch config := last >> 3; {
	case config < 12:
		first, sizes = config&^3, 4
	case config < 16:
		first, sizes = config&^1, 2
	case config < 28:
		first = config &^ 3
	}
	for {
		for i := sizes - 1; i >= 0; i-- {
			toc = (first+byte(i))<<3 | last&4
			if n, err := media.OpusSamples([]byte{toc}); err == nil && n <= want {
				return toc, n
			}
		}
		first, sizes = 28, 4
	}
}

// write puts a packet on the pending page, and the pending page out before if
// that is full.
func (x *Writer) write(p []byte, samples int) {
	if x.samples > 0 && x.samples+samples > pageSamples {
		x.flush(0)
	}
	x.granule += uint64(samples)
	x.samples += samples
	x.add(p)
}

// add cuts a packet into segments; pages that fill up go out.
func (x *Writer) add(p []byte) {
	for first := true; ; first = false {
		if len(x.lacing) == maxSegments {
			x.flush(0)
			if !first {
				x.flags = flagContinue
			}
		}
		n := min(len(p), 255)
		x.lacing = append(x.lacing, byte(n))
		x.body = append(x.body, p[:n]...)
		if p = p[n:]; n < 255 {
			x.ended, x.ends = true, x.granule
			return
		}
	}
}

// flush writes the pending page.
func (x *Writer) flush(flags byte) {
	granule := noGranule
	if x.ended {
		granule = x.ends
	}
	b := append(x.buf[:0], capture...)
	b = append(b, 0, x.flags|flags)
	b = binary.LittleEndian.AppendUint64(b, granule)
	b = binary.LittleEndian.AppendUint32(b, x.serial)
	b = binary.LittleEndian.AppendUint32(b, x.seq)
	b = append(b, 0, 0, 0, 0, byte(len(x.lacing)))
	b = append(b, x.lacing...)
	b = append(b, x.body...)
	binary.LittleEndian.PutUint32(b[22:], pageCRC(b))
	x.buf = b
	x.seq++
	x.lacing, x.body = x.lacing[:0], x.body[:0]
	x.ended, x.samples, x.flags = false, 0, 0
	if x.err == nil {
		if _, err := x.w.Write(b); err != nil {
			x.err = fmt.Errorf("ogg: write: %w", err)
		}
	}
}

// Close writes the last page. It does not close the underlying writer, and may
// be called twice.
func (x *Writer) Close() error {
	if x.closed {
		return x.err
	}
	x.closed = true
	x.ended, x.ends = true, x.granule // also of a page without packets
	x.flush(flagLast)
	return x.err
}
