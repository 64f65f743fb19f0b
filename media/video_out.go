// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// VideoOut is an outgoing picture: the app writes RTP payloads as the encoder
// packs them, and listens to what the other side wishes. All methods may be
// called from anywhere.
type VideoOut struct {
	send func(*Packet) error
	news chan struct{} // capacity 1: wish has changed
	done chan struct{}

	// Writes are put in order by writing, which is held while send runs: send is
	// the session's, takes only locks of its own and never calls back.
	writing sync.Mutex
	numbers Numbers
	packet  Packet // handed to send, so that it need not escape

	mu     sync.Mutex // guards what follows
	codec  Codec
	closed bool // done is closed
	held   bool
	wish   Wish
	told   int // the bit rate Next returned last
	asked  uint64
}

// NewVideoOut returns a track that hands each packet to send, under numbers that
// never come twice. send must not block, must not keep the packet, and must not
// call the track.
func NewVideoOut(send func(*Packet) error) *VideoOut {
	return &VideoOut{send: send, news: make(chan struct{}, 1), done: make(chan struct{}), wish: Wish{Bitrate: videoStart}}
}

// Codec returns what the packets are to carry; the zero Codec until it is agreed.
func (t *VideoOut) Codec() Codec {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.codec
}

// Agree sets the codec; the session does.
func (t *VideoOut) Agree(c Codec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.codec = c
}

// Begin tells that another source writes from now on, whose sequence numbers and
// timestamps begin anywhere.
func (t *VideoOut) Begin() {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.numbers.Begin()
}

// WritePacket sends one packet and never blocks. Steps of its numbers reach the
// other side, so packets may be written out of order, and be missing; one whose
// number was written before is dropped. Writing nothing is how a camera is
// switched off.
//
// It returns io.ErrClosedPipe after Close, a *PayloadError for an empty payload
// or one above MaxVideoPayload, and what the session reports.
func (t *VideoOut) WritePacket(p *Packet) error {
	if n := len(p.Payload); n == 0 || n > MaxVideoPayload {
		return &PayloadError{Len: n, What: fmt.Sprintf("video packets have 1 to %d", MaxVideoPayload)}
	}
	t.mu.Lock()
	closed, held := t.closed, t.held
	t.mu.Unlock()
	switch {
	case closed:
		return io.ErrClosedPipe
	case held:
		return nil
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	t.packet = *p
	defer func() { t.packet.Payload = nil }()
	if !t.numbers.Next(time.Now(), VideoClockRate, &t.packet) {
		return nil
	}
	if err := t.send(&t.packet); err != nil {
		return fmt.Errorf("media: write packet: %w", err)
	}
	return nil
}

// Hold stops the picture, or lets it go on; the session does. What is written
// meanwhile goes nowhere.
func (t *VideoOut) Hold(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held && !on {
		t.want()
	}
	t.held = on
}

// Next waits until the other side wants a key frame, or the network carries more
// or less than it did at the last call. It returns io.EOF after Close and the
// context's error. Only one goroutine should call it.
func (t *VideoOut) Next(ctx context.Context) (Wish, error) {
	for {
		t.mu.Lock()
		w, closed := t.wish, t.closed
		if fresh := w.Keyframe || w.Bitrate != t.told; fresh && !closed {
			t.told, t.wish.Keyframe = w.Bitrate, false
			t.mu.Unlock()
			return w, nil
		}
		t.mu.Unlock()
		if closed {
			return Wish{}, io.EOF
		}
		select {
		case <-t.news:
		case <-t.done:
		case <-ctx.Done():
			return Wish{}, ctx.Err()
		}
	}
}

// Bitrate returns how many bits per second of payload can be carried now.
func (t *VideoOut) Bitrate() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wish.Bitrate
}

// WantKeyframe tells that the other side needs a key frame; the session does.
func (t *VideoOut) WantKeyframe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	t.want()
}

// want is called with mu held.
func (t *VideoOut) want() {
	t.wish.Keyframe = true
	t.wake()
}

// Advise sets the bit rate; the session does.
func (t *VideoOut) Advise(bitrate int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if bitrate != t.wish.Bitrate {
		t.wish.Bitrate = bitrate
		t.wake()
	}
}

func (t *VideoOut) wake() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// Stats fills in what the track knows.
func (t *VideoOut) Stats(s *VideoStats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.KeyframesAsked = t.asked
}

// Close ends the track. A WritePacket that runs may still send its packet. It
// may be called twice.
func (t *VideoOut) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.done)
	}
}
