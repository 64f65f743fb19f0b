// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxHeaderPages bounds the search for the Opus stream and its comments, which
// may hold a picture (RFC 7845 §5.2 allows to give up far later).
const maxHeaderPages = 256

// Reader reads the packets of the first Opus stream in a file. Pages of other
// streams beside it are skipped; the file ends for it with the stream's last
// page, so links chained behind are not read. It is not safe for concurrent use.
type Reader struct {
	src    *bufio.Reader
	off    int64 // of the next byte of src
	err    error // ends reading for good
	serial uint32
	seq    uint32 // expected of the next page
	last   bool   // the last page was taken in

	page    page
	pageOff int64 // where page begins
	pageLen int   // bytes of src that page still occupies
	next    int   // index of the next lacing value
	pos     int   // and of its bytes in the body

	packet   []byte // being put together from several pages
	partial  bool   // packet is in use
	overlong bool   // it has been given up
	granule  uint64

	head Head
	tags Tags
}

// NewReader reads the headers. Its error is a *FormatError, or that of r.
func NewReader(r io.Reader) (*Reader, error) {
	o := &Reader{src: bufio.NewReaderSize(r, maxPageSize)}
	if err := o.findHead(); err != nil {
		return nil, err
	}
	if err := o.readTags(); err != nil {
		return nil, err
	}
	return o, nil
}

// Head returns the identification header.
func (r *Reader) Head() Head { return r.head }

// Tags returns the comment header.
func (r *Reader) Tags() Tags { return r.tags }

// Granule returns the position at the end of the newest page: samples at 48 kHz
// with the pre-skip.
func (r *Reader) Granule() uint64 { return r.granule }

// findHead looks through the first pages of the streams at the file's start.
func (r *Reader) findHead() error {
	for range maxHeaderPages {
		if err := r.readPage(); err != nil {
			return r.notOgg(err)
		}
		if r.page.flags&flagFirst == 0 {
			return r.format("no Opus stream")
		}
		b := r.page.body
		if !bytes.HasPrefix(b, []byte(headMagic)) {
			continue
		}
		if len(r.page.lacing) == 0 || len(r.page.lacing) > 1 || r.page.lacing[0] == 255 {
			return r.format("identification header does not fill its page")
		}
		head, what := parseHead(b)
		if what != "" {
			return r.format(what)
		}
		r.head = head
		r.serial, r.seq = r.page.serial, r.page.sequence+1
		r.last = r.page.flags&flagLast != 0
		r.release()
		return nil
	}
	return r.format("no Opus stream among the first pages")
}

// readTags reads the comment header, of which only the first MaxPacket bytes
// are looked at.
func (r *Reader) readTags() error {
	pages := 0
	for !r.last {
		if pages++; pages > maxHeaderPages {
			return r.format("comment header too long")
		}
		if err := r.readPage(); err != nil {
			return r.notOgg(err)
		}
		if r.page.serial != r.serial {
			continue
		}
		r.begin()
		for r.next < len(r.page.lacing) {
			b, done := r.segment()
			if len(r.packet)+len(b) <= MaxPacket {
				r.packet = append(r.packet, b...)
			}
			if r.partial = !done; r.partial {
				continue
			}
			if !bytes.HasPrefix(r.packet, []byte(tagsMagic)) {
				return r.format("no comment header")
			}
			r.tags = parseTags(r.packet)
			r.packet = r.packet[:0]
			return nil
		}
	}
	return r.format("no comment header")
}

func (r *Reader) format(what string) error { return &FormatError{Offset: r.pageOff, What: what} }

// notOgg turns what is damage later into an error of the format.
func (r *Reader) notOgg(err error) error {
	var c *CorruptError
	switch {
	case errors.As(err, &c):
		return &FormatError{Offset: c.Offset, What: c.What}
	case errors.Is(err, io.EOF):
		return &FormatError{Offset: r.off, What: "ends before any sound"}
	}
	return err
}

// Next returns the next packet, valid until the call after. At the end it
// returns io.EOF. A *CorruptError reports damage: what was damaged is left out,
// and the next call goes on behind it. Other errors are those of the source and
// stay.
func (r *Reader) Next() ([]byte, error) {
	if !r.partial {
		r.packet = r.packet[:0]
	}
	for {
		for r.next < len(r.page.lacing) {
			b, done := r.segment()
			if r.overlong {
				r.overlong = !done
				continue
			}
			if len(r.packet)+len(b) > MaxPacket {
				r.packet, r.partial, r.overlong = r.packet[:0], false, !done
				return nil, &CorruptError{Offset: r.pageOff, What: "packet above 64 KiB"}
			}
			if r.packet = append(r.packet, b...); !done {
				r.partial = true
				continue
			}
			r.partial = false
			if len(r.packet) == 0 {
				return nil, &CorruptError{Offset: r.pageOff, What: "empty packet"}
			}
			return r.packet, nil
		}
		if err := r.turn(); err != nil {
			return nil, err
		}
	}
}

// turn goes to the next page of the stream.
func (r *Reader) turn() error {
	if r.last {
		return io.EOF
	}
	for {
		if err := r.readPage(); err != nil {
			return err
		}
		if r.page.serial == r.serial {
			break
		}
	}
	missing := r.page.sequence != r.seq
	r.begin()
	if missing {
		return &CorruptError{Offset: r.pageOff, What: "pages are missing"}
	}
	return nil
}

// begin takes up the page just read, and drops what cannot be put together.
func (r *Reader) begin() {
	missing := r.page.sequence != r.seq
	r.seq = r.page.sequence + 1
	r.last = r.page.flags&flagLast != 0
	if r.page.granule != noGranule {
		r.granule = r.page.granule
	}
	continued := r.page.flags&flagContinue != 0
	if missing || !continued {
		r.packet, r.partial, r.overlong = r.packet[:0], false, false
	}
	if continued && !r.partial && len(r.packet) == 0 && !r.overlong {
		for r.next < len(r.page.lacing) { // the rest of a packet whose start we lack
			if _, done := r.segment(); done {
				break
			}
		}
	}
}

// segment returns the next segment of the page and whether it ends a packet.
func (r *Reader) segment() (b []byte, done bool) {
	n := int(r.page.lacing[r.next])
	r.next++
	b = r.page.body[r.pos : r.pos+n]
	r.pos += n
	return b, n < 255
}

// release gives the page's bytes back to the source.
func (r *Reader) release() {
	r.discard(r.pageLen)
	r.page, r.pageLen, r.next, r.pos = page{}, 0, 0, 0
}

func (r *Reader) discard(n int) {
	n, _ = r.src.Discard(n) // these were peeked at, so they are there
	r.off += int64(n)
}

// readPage reads the next sound page into page. Damage is a *CorruptError; the
// next call then begins to look for "OggS" behind where the bad page began,
// since its length cannot be trusted.
func (r *Reader) readPage() error {
	r.release()
	if r.err != nil {
		return r.err
	}
	r.pageOff = r.off
	b, err := r.peek(pageHeader)
	if err != nil {
		return err
	}
	if string(b[:4]) != capture || b[4] != 0 {
		return r.lose("no page begins here")
	}
	n := pageHeader + int(b[26])
	if b, err = r.peek(n); err != nil {
		return err
	}
	for _, v := range b[pageHeader:] {
		n += int(v)
	}
	if b, err = r.peek(n); err != nil {
		return err
	}
	if pageCRC(b) != binary.LittleEndian.Uint32(b[22:]) {
		return r.lose("wrong checksum")
	}
	r.page, r.pageLen = parsePage(b), n
	return nil
}

// peek returns the next n bytes. A file that ends within them has lost a page.
func (r *Reader) peek(n int) ([]byte, error) {
	b, err := r.src.Peek(n)
	switch {
	case err == nil:
		return b, nil
	case err != io.EOF:
		r.err = fmt.Errorf("ogg: read at byte %d: %w", r.off+int64(len(b)), err)
		return nil, r.err
	case len(b) == 0:
		r.err = io.EOF
		return nil, io.EOF
	}
	return nil, r.lose("page is cut off")
}

// lose skips to the next "OggS" behind the current byte and returns the damage.
func (r *Reader) lose(what string) error {
	lost := &CorruptError{Offset: r.off, What: what}
	r.discard(1)
	for {
		b, err := r.src.Peek(len(capture))
		if err != nil {
			r.discard(len(b)) // too short for a page; the next read finds the end
			return lost
		}
		if b, err = r.src.Peek(r.src.Buffered()); err != nil {
			return lost
		}
		if i := bytes.Index(b, []byte(capture)); i >= 0 {
			r.discard(i)
			return lost
		}
		r.discard(len(b) - len(capture) + 1)
	}
}
