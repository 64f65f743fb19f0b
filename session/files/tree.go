// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

const (
	// ChunkSize is the unit that is asked for, checked and kept. A lost one
	// costs a second at 2 Mbit/s.
	ChunkSize = 256 << 10
	// pageChunks is how many chunks a page has: its list of hashes fills one
	// message.
	pageChunks = 512
	// MaxSize bounds a file: its list of pages takes 256 KiB.
	MaxSize = 1 << 40

	contextPage = "p2pos page v1"
	contextRoot = "p2pos file v1"
)

// chunksOf returns how many chunks a file has.
func chunksOf(size int64) int { return int((size + ChunkSize - 1) / ChunkSize) }

func pagesOf(chunks int) int { return (chunks + pageChunks - 1) / pageChunks }

// chunkLen returns the length of a chunk of a file.
func chunkLen(size int64, i int) int {
	return int(min(ChunkSize, size-int64(i)*ChunkSize))
}

// Tree is the hashes of a file.
type Tree struct {
	Size   int64
	SHA256 Hash // of the whole
	Chunks []Hash
}

// page returns the chunk hashes of a page.
func (t *Tree) page(i int) []Hash {
	return t.Chunks[i*pageChunks : min((i+1)*pageChunks, len(t.Chunks))]
}

// pages returns the page hashes.
func (t *Tree) pages() []Hash {
	list := make([]Hash, pagesOf(len(t.Chunks)))
	for i := range list {
		list[i] = pageHash(t.page(i))
	}
	return list
}

// Root returns the hash that commits to all of the content.
func (t *Tree) Root() Hash { return rootHash(t.Size, t.pages()) }

func pageHash(chunks []Hash) Hash { return listHash([]byte(contextPage), chunks) }

func rootHash(size int64, pages []Hash) Hash {
	return listHash(binary.BigEndian.AppendUint64([]byte(contextRoot), uint64(size)), pages)
}

func listHash(head []byte, list []Hash) (sum Hash) {
	h := sha256.New()
	h.Write(head)
	for i := range list {
		h.Write(list[i][:])
	}
	h.Sum(sum[:0])
	return sum
}

// Digest hashes a file that is written to it from beginning to end.
type Digest struct {
	tree  Tree
	whole hash.Hash
	chunk hash.Hash
	fill  int // bytes of the chunk that is not full
}

// NewDigest returns an empty Digest.
func NewDigest() *Digest { return &Digest{whole: sha256.New(), chunk: sha256.New()} }

// Write takes the next bytes. It never fails.
func (d *Digest) Write(b []byte) (int, error) {
	n := len(b)
	d.whole.Write(b)
	d.tree.Size += int64(n)
	for len(b) > 0 {
		part := b[:min(len(b), ChunkSize-d.fill)]
		d.chunk.Write(part)
		d.fill += len(part)
		b = b[len(part):]
		if d.fill == ChunkSize {
			d.cut()
		}
	}
	return n, nil
}

func (d *Digest) cut() {
	var sum Hash
	d.chunk.Sum(sum[:0])
	d.tree.Chunks = append(d.tree.Chunks, sum)
	d.chunk.Reset()
	d.fill = 0
}

// Tree returns the hashes of what was written; nothing may be written after.
func (d *Digest) Tree() *Tree {
	if d.fill > 0 {
		d.cut()
	}
	d.whole.Sum(d.tree.SHA256[:0])
	return &d.tree
}

// fits reports whether the content is what an offer promised.
func (t *Tree) fits(o Offer) bool {
	return t.Size == o.Size && t.SHA256 == o.SHA256 && t.Root() == o.Root
}
