// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// ErrReading reports a second ReadFrame at the same time.
var ErrReading = errors.New("media: track is being read already")

// maxBehind is how late a reader may be and still get the frames it missed, in
// a burst. Later than that it was asleep, and time goes on from now.
const maxBehind = 200 * time.Millisecond

// In is an incoming track: the session pushes packets, the app pulls frames.
// All methods may be called from anywhere.
type In struct {
	arrived chan struct{} // capacity 1: a packet came while nothing played, or for ReadPacket
	closed  chan struct{}
	reading atomic.Bool
	tap     atomic.Pointer[func(*Frame)]
	level   atomic.Uint32 // of the sound that was read last, as Silence less -dBov

	// Of the reader, guarded by reading.
	timer *time.Timer
	buf   [MaxPayload]byte

	mu   sync.Mutex
	done bool // closed is closed
	play *Playout
	raw  *raw      // not nil: the reader takes packets as they come
	due  time.Time // when the next frame is to be played; zero before the first
	last time.Time // arrival of the newest packet
	gap  time.Duration
	dark [MaxPayload]byte // what shadow plays
}

// NewIn returns a track with an empty playout buffer.
func NewIn(c PlayoutConfig) *In {
	return &In{
		arrived: make(chan struct{}, 1),
		closed:  make(chan struct{}),
		play:    NewPlayout(c),
	}
}

// Push hands over one authenticated packet; the payload is copied. It never
// blocks. After Close it does nothing.
func (t *In) Push(now time.Time, h *rtp.Header, payload []byte) {
	t.PushRedundant(now, h, payload, nil)
}

// PushRedundant is Push for a packet that carries copies of earlier ones.
func (t *In) PushRedundant(now time.Time, h *rtp.Header, payload []byte, list []Copy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	if !t.last.IsZero() {
		t.gap = max(t.gap, now.Sub(t.last))
	}
	t.last = now
	if t.raw != nil {
		t.shadow(now)
		t.raw.push(h, payload, list)
	}
	t.play.PushRedundant(now, h, payload, list)
	if t.raw != nil || t.due.IsZero() {
		select {
		case t.arrived <- struct{}{}:
		default:
		}
	}
}

// Skip notes an authenticated packet of the stream without sound in it, a key for
// instance.
func (t *In) Skip(now time.Time, h *rtp.Header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	if !t.last.IsZero() {
		t.gap = max(t.gap, now.Sub(t.last))
	}
	t.last = now
	t.play.Skip(h)
}

// ReadFrame waits until the next frame is to be played and fills it in. The
// first one comes when the buffer is ready, each later one as long after the
// one before as that lasts: 20 ms for the usual frames. Where nothing can be
// played, frames are empty and Lost says why; this goes on through an outage,
// so a recording keeps its time. f.Payload is valid until the next call.
//
// It returns io.EOF after Close, the context's error, or ErrReading when another
// ReadFrame runs. Only one goroutine may read.
func (t *In) ReadFrame(ctx context.Context, f *Frame) error {
	if !t.reading.CompareAndSwap(false, true) {
		return ErrReading
	}
	defer t.reading.Store(false)
	err := t.await(ctx, func() (time.Duration, error) { return t.step(time.Now(), f) })
	if err == nil {
		t.tapped(f)
	}
	return err
}

// await calls step until it neither asks to wait nor fails.
func (t *In) await(ctx context.Context, step func() (wait time.Duration, err error)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		wait, err := step()
		if err != nil || wait == 0 {
			return err
		}
		if err := t.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// forever is the wait for a packet that nobody announced.
const forever = time.Duration(1<<63 - 1)

// step pops a frame that is due, or says how long to wait.
func (t *In) step(now time.Time, f *Frame) (wait time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return 0, io.EOF
	}
	t.raw = nil
	t.play.stretch = false
	due := t.due
	if due.IsZero() {
		first, ok := t.play.Ready(now)
		if !ok {
			return forever, nil
		}
		due = first
	}
	behind := now.Sub(due)
	if behind < 0 {
		return -behind, nil
	}
	if behind > maxBehind {
		due = now
		if !t.due.IsZero() {
			t.play.Restart()
		}
	}
	// The buffer is given the time the frame is due, not the time the reader
	// woke up: its lateness is not delay of the network.
	if !t.play.Pop(due, f, t.buf[:0]) && t.due.IsZero() {
		return forever, nil
	}
	t.due = due.Add(toDuration(int64(f.Samples)))
	return 0, nil
}

// ReadPacket waits for the next packet and fills it in, as it came: unordered,
// with holes, at the pace of the network. It is for those who pass the sound on
// to another playout buffer, a browser's for instance. Copies that came along
// with later packets are put where one is missing; no sequence number comes
// twice. A reader that is too slow loses the oldest of 64 packets. p.Payload is
// valid until the next call.
//
// The statistics tell what would be heard if it were played here. Errors are
// those of ReadFrame; a track may be read either way, by one reader at a time.
func (t *In) ReadPacket(ctx context.Context, p *Packet) error {
	if !t.reading.CompareAndSwap(false, true) {
		return ErrReading
	}
	defer t.reading.Store(false)
	return t.await(ctx, func() (time.Duration, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.done {
			return 0, io.EOF
		}
		if t.raw == nil {
			t.raw = new(raw)
		}
		if t.raw.take(p, t.buf[:0]) {
			return 0, nil
		}
		return forever, nil
	})
}

// shadowMost bounds the frames that a track plays to nobody at once: as many as
// fit into the time after which a stream is taken up anew.
const shadowMost = 100

// shadow plays what is due to nobody, for the statistics. mu is held.
func (t *In) shadow(now time.Time) {
	var f Frame
	t.play.stretch = false
	if t.due.IsZero() {
		first, ok := t.play.Ready(now)
		if !ok {
			return
		}
		t.due = first
	}
	for n := 0; !t.due.After(now); n++ {
		if n == shadowMost {
			t.play.Restart()
			t.due = now
		}
		t.play.Pop(t.due, &f, t.dark[:0])
		t.tapped(&f)
		t.due = t.due.Add(toDuration(int64(f.Samples)))
	}
}

func (t *In) sleep(ctx context.Context, wait time.Duration) error {
	var fire <-chan time.Time
	if wait != forever {
		if t.timer == nil {
			t.timer = time.NewTimer(wait)
		} else {
			t.timer.Reset(wait)
		}
		defer t.timer.Stop()
		fire = t.timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.closed:
		return io.EOF
	case <-t.arrived:
	case <-fire:
	}
	return nil
}

// Tap has f see every frame that is read from now on, as it is read, for a
// recording, or would be where packets are read; nil ends that. f must not block,
// must not keep the frame and must not call the track.
func (t *In) Tap(f func(*Frame)) { tap(&t.tap, f) }

func (t *In) tapped(f *Frame) {
	if p := t.tap.Load(); p != nil {
		(*p)(f)
	}
}

func tap(p *atomic.Pointer[func(*Frame)], f func(*Frame)) {
	if f == nil {
		p.Store(nil)
		return
	}
	p.Store(&f)
}

// Stats fills in what the track knows, and starts LongestGap anew.
func (t *In) Stats(s *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats(s)
	t.gap = 0
}

// Peek is Stats for whoever looks beside the app: LongestGap goes on.
func (t *In) Peek(s *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats(s)
}

func (t *In) stats(s *Stats) {
	now := time.Now()
	if t.raw != nil {
		t.shadow(now)
	}
	s.AudioLevel = Linear(uint8(Silence - t.level.Load()))
	p := t.play.Stats(now)
	s.PacketsDiscarded = p.Late + p.Dropped + p.Malformed
	s.PacketsDuplicated = p.Duplicate
	s.TotalSamplesReceived = p.Samples
	s.ConcealedSamples = p.Concealed
	s.SilentConcealedSamples = p.Silent
	s.ConcealmentEvents = p.Events
	s.InsertedSamples = p.Inserted
	s.RemovedSamples = p.RemovedFor
	s.JitterBufferDelay = p.Delay
	s.JitterBufferEmittedCount = p.Emitted
	s.JitterBufferTarget = p.Target
	s.FrameDuration = p.Frame
	s.FECSamples = p.FEC
	s.PacketsRestored = p.Restored
	s.Buffer = p.Buffer
	s.LongestGap = t.gap
	if !t.last.IsZero() {
		s.LongestGap = max(t.gap, now.Sub(t.last))
	}
}

// Close ends the track: a ReadFrame that waits, and every later one, returns
// io.EOF. It may be called twice.
func (t *In) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done {
		t.done = true
		close(t.closed)
	}
}
