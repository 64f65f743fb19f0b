// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its file: a damaged page makes it panic, fault or recurse until
// the program dies. So a file is first read page by page, with every bound
// checked. Integers have the byte order of the machine.
//
//	page     id(8) flags(2) count(2) overflow(4), then elements
//	branch   count × position(4) key length(4) page(8); position counts from the element
//	leaf     count × flags(4) position(4) key length(4) value length(4)
//	bucket   value of a leaf element with flag 1: root page(8) sequence(8), and if the root is 0 a page
//	free     count × page(8); a count of 65,535 means that the first holds the number
//	meta     magic(4) version(4) page size(4) flags(4) root(8) sequence(8) free list(8) pages(8) transaction(8) FNV-1a of the 56 bytes(8)
const (
	pageBranch = 0x01
	pageLeaf   = 0x02
	pageMeta   = 0x04
	pageFree   = 0x10

	pageHead     = 16
	elementSize  = 16
	metaSize     = 64
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	noFreeList   = ^uint64(0)
	minPageSize  = 1 << 10
	maxPageSize  = 64 << 10 // of any system that Go runs on
	maxTreeDepth = 32       // 2 entries a page would make 2^32
)

type pages struct {
	f    io.ReaderAt
	size uint64 // of a page

	root, free, end, txid uint64
	seen                  []uint64 // a bit for each page
	bad                   error    // the first thing wrong
}

func (p *pages) fault(format string, args ...any) {
	if p.bad == nil {
		p.bad = fmt.Errorf("%w: %s", errUnusable, fmt.Sprintf(format, args...))
	}
}

// openPages reads the newer of the two metas that are whole.
func openPages(f io.ReaderAt, length int64) (*pages, error) {
	p := &pages{f: f}
	found := 0
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		for i := range int64(2) {
			if i == 0 && size != minPageSize {
				continue // the first meta stands at 0 whatever the size
			}
			if p.meta(i*size, i) {
				found++
			}
		}
	}
	switch {
	case found == 0:
		return nil, fmt.Errorf("%w: no head that is whole", errUnusable)
	case length < 0 || p.end > uint64(length)/p.size:
		return nil, fmt.Errorf("%w: cut off, %d of %d bytes", errUnusable, length, p.end*p.size)
	}
	p.seen = make([]uint64, p.end/64+1)
	return p, nil
}

func (p *pages) meta(at, id int64) bool {
	var b [pageHead + metaSize]byte
	if _, err := p.f.ReadAt(b[:], at); err != nil {
		return false
	}
	order := binary.NativeEndian
	m := b[pageHead:]
	h := fnv.New64a()
	h.Write(m[:metaSize-8])
	size := uint64(order.Uint32(m[8:]))
	txid := order.Uint64(m[48:])
	switch {
	case order.Uint64(b[:]) != uint64(id), order.Uint16(b[8:]) != pageMeta,
		order.Uint32(m) != boltMagic, order.Uint32(m[4:]) != boltVersion,
		order.Uint64(m[56:]) != h.Sum64(),
		size < minPageSize || size > maxPageSize || size&(size-1) != 0,
		id == 1 && size != uint64(at):
		return false
	}
	if p.size == 0 || txid > p.txid {
		p.size, p.txid = size, txid
		p.root, p.free, p.end = order.Uint64(m[16:]), order.Uint64(m[32:]), order.Uint64(m[40:])
	}
	return true
}

// claim notes that a run of pages is used; false when one is out of bounds or
// used twice.
func (p *pages) claim(id, n uint64) bool {
	if id < 2 || id >= p.end || n > p.end-id {
		p.fault("page %d and %d behind it of %d", id, n-1, p.end)
		return false
	}
	for i := id; i < id+n; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			p.fault("page %d is used twice", i)
			return false
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	return true
}

// read returns a page, head and all, and its kind.
func (p *pages) read(id uint64) (b []byte, kind uint16, ok bool) {
	if id < 2 || id >= p.end {
		p.fault("page %d of %d", id, p.end)
		return nil, 0, false
	}
	var head [pageHead]byte
	if _, err := p.f.ReadAt(head[:], int64(id*p.size)); err != nil {
		p.fault("page %d: %v", id, err)
		return nil, 0, false
	}
	order := binary.NativeEndian
	if self := order.Uint64(head[:]); self != id {
		p.fault("page %d calls itself %d", id, self)
		return nil, 0, false
	}
	n := uint64(order.Uint32(head[12:])) + 1
	if !p.claim(id, n) {
		return nil, 0, false
	}
	b = make([]byte, n*p.size)
	if _, err := p.f.ReadAt(b, int64(id*p.size)); err != nil {
		p.fault("page %d: %v", id, err)
		return nil, 0, false
	}
	return b, order.Uint16(b[8:]), true
}

// walk visits the entries of a tree. What can't be read is noted in bad, the
// rest is visited all the same. Visited slices alias a buffer of their own.
func (p *pages) walk(id uint64, depth int, visit func(flags uint32, key, value []byte)) {
	if depth == maxTreeDepth {
		p.fault("a tree deeper than %d", maxTreeDepth)
		return
	}
	b, kind, ok := p.read(id)
	if !ok {
		return
	}
	switch kind {
	case pageLeaf:
		p.leaf(id, b, visit)
	case pageBranch:
		var last []byte
		for i := range int(binary.NativeEndian.Uint16(b[10:])) {
			at := pageHead + i*elementSize
			if at+elementSize > len(b) {
				p.fault("branch page %d is too short", id)
				return
			}
			e := b[at:]
			key, ok := cut(e, uint64(binary.NativeEndian.Uint32(e)), uint64(binary.NativeEndian.Uint32(e[4:])))
			if !ok || i > 0 && bytes.Compare(last, key) >= 0 {
				p.fault("branch page %d, element %d", id, i)
			}
			last = key
			p.walk(binary.NativeEndian.Uint64(e[8:]), depth+1, visit)
		}
	default:
		p.fault("page %d is of kind %#x", id, kind)
	}
}

// cut returns n bytes at a place in b.
func cut(b []byte, at, n uint64) ([]byte, bool) {
	if n == 0 || at > uint64(len(b)) || n > uint64(len(b))-at {
		return nil, false
	}
	return b[at : at+n : at+n], true
}

func (p *pages) leaf(id uint64, b []byte, visit func(flags uint32, key, value []byte)) {
	order := binary.NativeEndian
	var last []byte
	for i := range int(order.Uint16(b[10:])) {
		at := pageHead + i*elementSize
		if at+elementSize > len(b) {
			p.fault("leaf page %d is too short", id)
			return
		}
		e := b[at:]
		pos, nk, nv := uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		both, ok := cut(e, pos, nk+nv)
		if !ok || nk == 0 {
			p.fault("leaf page %d, element %d", id, i)
			continue
		}
		key := both[:nk:nk]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			p.fault("leaf page %d, element %d is out of order", id, i)
		}
		last = key
		visit(order.Uint32(e), key, both[nk:])
	}
}

// entries visits every entry of every bucket below the root, and each bucket
// once with a nil key and its sequence.
func (p *pages) entries(visit func(bucket string, sequence uint64, key, value []byte)) {
	p.entriesOf("", visit)
}

// entriesOf is entries for one bucket; "" is all.
func (p *pages) entriesOf(only string, visit func(bucket string, sequence uint64, key, value []byte)) {
	order := binary.NativeEndian
	p.walk(p.root, 0, func(flags uint32, name, header []byte) {
		if flags != 1 || len(header) < 16 {
			p.fault("an entry outside of a bucket")
			return
		}
		bucket, root, sequence := string(name), order.Uint64(header), order.Uint64(header[8:])
		if only != "" && only != bucket {
			return
		}
		visit(bucket, sequence, nil, nil)
		each := func(flags uint32, key, value []byte) {
			if flags != 0 {
				p.fault("a bucket within bucket %q", bucket)
				return
			}
			visit(bucket, sequence, key, value)
		}
		switch inline := header[16:]; {
		case root != 0:
			p.walk(root, 0, each)
		case len(inline) < pageHead || order.Uint16(inline[8:]) != pageLeaf:
			p.fault("bucket %q is not whole", bucket)
		default:
			p.leaf(0, inline, each)
		}
	})
}

// freeList looks whether the list of free pages is whole. Behind entries it
// also finds pages that are free and used.
func (p *pages) freeList() {
	if p.free == noFreeList {
		return
	}
	b, kind, ok := p.read(p.free)
	if !ok {
		return
	}
	order := binary.NativeEndian
	n, at := uint64(order.Uint16(b[10:])), uint64(pageHead)
	if n == 0xFFFF {
		n, at = order.Uint64(b[at:]), at+8
	}
	if kind != pageFree || n > (uint64(len(b))-at)/8 {
		p.fault("the list of free pages is not whole")
		return
	}
	for i := range n {
		if !p.claim(order.Uint64(b[at+8*i:]), 1) {
			return
		}
	}
}
