// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"encoding/binary"
	"time"
)

// recordHeader is what precedes a datagram in the queue: when it came (8), and
// its length (2).
const recordHeader = 8 + frameHeader

// minRing is the first size of a ring; it doubles from there to maxQueue.
const minRing = 8 << 10

// queue holds the datagrams that wait for the line, for at most maxWait each
// and maxQueue bytes together. How long is measured, not guessed from a rate:
// each carries the time it came. When there is no room the oldest goes.
type queue struct {
	ring       []byte // length is a power of two
	head, size int    // of what is used, in bytes
	frames     int

	late, full uint64 // dropped for age, and for room
}

// push adds a datagram of at most MaxDatagram bytes. Time is since any moment,
// and never goes back.
func (q *queue) push(now time.Duration, b []byte) {
	q.expire(now)
	need := recordHeader + len(b)
	for q.size+need > maxQueue {
		q.drop()
		q.full++
	}
	q.reserve(q.size + need)
	var h [recordHeader]byte
	binary.BigEndian.PutUint64(h[:], uint64(now))
	binary.BigEndian.PutUint16(h[8:], uint16(len(b)))
	q.put(h[:])
	q.put(b)
	q.frames++
}

// pop appends frames, in order, to dst while they fit into limit bytes; the
// first one always does.
func (q *queue) pop(now time.Duration, dst []byte, limit int) []byte {
	q.expire(now)
	for q.frames > 0 {
		_, n := q.first()
		if len(dst) > 0 && len(dst)+frameHeader+n > limit {
			break
		}
		q.skip(8)
		dst = q.get(dst, frameHeader+n)
		q.frames--
	}
	return dst
}

func (q *queue) expire(now time.Duration) {
	for q.frames > 0 {
		if at, _ := q.first(); now-at <= maxWait {
			return
		}
		q.drop()
		q.late++
	}
}

// first returns when the oldest came, and its length.
func (q *queue) first() (at time.Duration, n int) {
	var h [recordHeader]byte
	for i := range h {
		h[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
	}
	return time.Duration(binary.BigEndian.Uint64(h[:])), int(binary.BigEndian.Uint16(h[8:]))
}

func (q *queue) drop() {
	_, n := q.first()
	q.skip(recordHeader + n)
	q.frames--
}

func (q *queue) skip(n int) {
	q.head = (q.head + n) & (len(q.ring) - 1)
	q.size -= n
}

func (q *queue) put(b []byte) {
	at := (q.head + q.size) & (len(q.ring) - 1)
	n := copy(q.ring[at:], b)
	copy(q.ring, b[n:])
	q.size += len(b)
}

func (q *queue) get(dst []byte, n int) []byte {
	end := min(q.head+n, len(q.ring))
	dst = append(dst, q.ring[q.head:end]...)
	dst = append(dst, q.ring[:n-(end-q.head)]...)
	q.skip(n)
	return dst
}

// reserve makes room for size bytes in all.
func (q *queue) reserve(size int) {
	if size <= len(q.ring) {
		return
	}
	n := max(minRing, len(q.ring))
	for n < size {
		n *= 2
	}
	used := q.size
	ring := q.get(make([]byte, 0, n), used)
	q.ring, q.head, q.size = ring[:n], 0, used
}
