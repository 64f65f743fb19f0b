// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// videoRoom is how many packets wait for the reader: one key frame of a
	// large picture. One who sleeps longer needs a new key frame anyway.
	videoRoom = 256
	// keyframeEvery is the least time between two requests for a key frame: it
	// takes about that long until one can be here.
	keyframeEvery = 250 * time.Millisecond
)

// VideoIn is an incoming picture: the session pushes packets, the app pulls
// them, as they come. All methods may be called from anywhere, ReadPacket by one
// goroutine at a time.
type VideoIn struct {
	ask     func()
	arrived chan struct{} // capacity 1: a packet came
	closed  chan struct{}
	reading atomic.Bool

	buf []byte // of the reader, guarded by reading

	mu      sync.Mutex // guards what follows
	codec   Codec
	done    bool // closed is closed
	slots   []rawSlot
	first   int
	n       int
	dropped uint64
	wanted  uint64
	askedAt time.Time
}

// NewVideoIn returns a track that calls ask when the reader wants a key frame.
// ask must not block and must not call the track.
func NewVideoIn(ask func()) *VideoIn {
	return &VideoIn{ask: ask, arrived: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Codec returns what the packets carry; the zero Codec until it is agreed.
func (t *VideoIn) Codec() Codec {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.codec
}

// Agree sets the codec; the session does.
func (t *VideoIn) Agree(c Codec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.codec = c
}

// Push hands over one authenticated packet; the payload is copied. It never
// blocks: a reader that is too slow loses the oldest packets.
func (t *VideoIn) Push(p *Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	if t.slots == nil {
		t.slots = make([]rawSlot, videoRoom)
	}
	if t.n == videoRoom {
		t.first, t.n = (t.first+1)%videoRoom, t.n-1
		t.dropped++
	}
	s := &t.slots[(t.first+t.n)%videoRoom]
	t.n++
	s.buf = append(s.buf[:0], p.Payload...)
	s.p = *p
	s.p.Payload = s.buf
	select {
	case t.arrived <- struct{}{}:
	default:
	}
}

// ReadPacket waits for the next packet and fills it in, as it came: mostly in
// order, with holes. p.Payload is valid until the next call. It returns io.EOF
// after Close, the context's error, or ErrReading when another ReadPacket runs.
func (t *VideoIn) ReadPacket(ctx context.Context, p *Packet) error {
	if !t.reading.CompareAndSwap(false, true) {
		return ErrReading
	}
	defer t.reading.Store(false)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ok, err := t.take(p); ok || err != nil {
			return err
		}
		select {
		case <-t.arrived:
		case <-t.closed:
		case <-ctx.Done():
		}
	}
}

func (t *VideoIn) take(p *Packet) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.done:
		return false, io.EOF
	case t.n == 0:
		return false, nil
	}
	s := &t.slots[t.first]
	t.first, t.n = (t.first+1)%videoRoom, t.n-1
	t.buf = append(t.buf[:0], s.p.Payload...)
	*p = s.p
	p.Payload = t.buf
	return true, nil
}

// RequestKeyframe asks the other side for a picture that needs no other, for a
// screen that has just been opened or has lost too much. Requests that follow
// each other within 250 ms are one. A request may be lost on its way: ask again
// every second until such a picture comes.
func (t *VideoIn) RequestKeyframe() {
	now := time.Now()
	t.mu.Lock()
	again := !t.askedAt.IsZero() && now.Sub(t.askedAt) < keyframeEvery
	if t.done || again {
		t.mu.Unlock()
		return
	}
	t.askedAt = now
	t.wanted++
	t.mu.Unlock()
	t.ask()
}

// Stats fills in what the track knows.
func (t *VideoIn) Stats(s *VideoStats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.PacketsDropped, s.KeyframesWanted = t.dropped, t.wanted
}

// Close ends the track: a ReadPacket that waits, and every later one, returns
// io.EOF. It may be called twice.
func (t *VideoIn) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.done = true
		close(t.closed)
	}
}
