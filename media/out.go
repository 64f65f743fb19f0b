// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// keepSamples is the longest time between packets of a silent track, 100 ms:
// ten packets a second keep NAT mappings open and let the other side notice
// within a blink that a path has died.
const keepSamples = 4800

// Out is an outgoing track: the app writes encoded frames at its own pace. All
// methods may be called from anywhere; Mute and Close never wait for a write.
type Out struct {
	send   func(*Frame) error
	muted  atomic.Bool
	closed atomic.Bool
	advice atomic.Pointer[Advice] // nil = DefaultAdvice
	tap    atomic.Pointer[func(*Frame)]
	level  atomic.Uint32 // as Silence less -dBov

	// Writes are put in order by mu, which is held while send runs: send is the
	// session's, takes only locks of its own and never calls back into a track.
	mu    sync.Mutex
	time  timeline
	kept  time.Time // when Keep last sent
	wrote time.Time // when WriteFrame last sent
	since int       // samples since the last packet
	hush  bool      // the last packet was sent muted
	quiet [len(silence)]byte
	hold  hold
	frame Frame // handed to send, so that it need not escape
}

// NewOut returns a track that hands each frame to send, with timestamps that
// always move on. send must not block, must not keep the frame, and must not
// call the track.
func NewOut(send func(*Frame) error) *Out { return &Out{send: send, since: keepSamples} }

// WriteFrame sends one frame and never blocks. Samples of zero are read from
// the payload. An empty frame is silence, and so is every frame while muted: a
// tiny packet goes out at least for each 100 ms of it.
//
// It returns io.ErrClosedPipe after Close, a *PayloadError for bytes that are
// not an Opus packet or above MaxPayload, and what the session reports.
func (t *Out) WriteFrame(f *Frame) error {
	if t.closed.Load() {
		return io.ErrClosedPipe
	}
	samples := f.Samples
	if len(f.Payload) > MaxPayload {
		return &PayloadError{Len: len(f.Payload), What: "above 1200 bytes"}
	}
	if len(f.Payload) > 0 {
		n, err := OpusSamples(f.Payload)
		if err != nil {
			return err
		}
		samples = n
	} else if samples <= 0 {
		samples = FrameSamples
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hold.on {
		return nil
	}
	pause := 0
	if t.time.kept > 0 {
		pause = int(toSamples(time.Since(t.kept)))
	}
	ts, gap := t.time.next(f.Timestamp, samples, pause)
	t.frame = Frame{Payload: f.Payload, Timestamp: ts, Samples: samples, Marker: f.Marker}
	muted := t.muted.Load()
	t.tapped(muted)
	if muted || len(f.Payload) == 0 {
		// The first muted frame always goes out, so that the other side is
		// silent at once instead of prolonging the last sound.
		if hushed := muted && !t.hush; !hushed && !gap && t.since+samples <= keepSamples {
			t.since += samples
			return nil
		}
		copy(t.quiet[:], silence)
		t.frame.Payload, t.frame.Marker = t.quiet[:], false
		t.frame.Samples = FrameSamples
	}
	t.hush = muted
	t.since, t.wrote = samples, time.Now()
	err := t.send(&t.frame)
	t.frame.Payload = nil
	if err != nil {
		return fmt.Errorf("media: write frame: %w", err)
	}
	return nil
}

// Tap has f see every frame that is written from now on, for a recording; nil
// ends that. What is written while muted has no payload. f must not block, must
// not keep the frame and must not call the track.
func (t *Out) Tap(f func(*Frame)) { tap(&t.tap, f) }

// tapped shows t.frame.
func (t *Out) tapped(muted bool) {
	p := t.tap.Load()
	if p == nil {
		return
	}
	b := t.frame.Payload
	if muted {
		t.frame.Payload = nil
	}
	(*p)(&t.frame)
	t.frame.Payload = b
}

// SetLevel says how loud the sound in the frames is, in -dBov from 0 to 127, for
// Stats: whoever encodes knows.
func (t *Out) SetLevel(level uint8) { t.level.Store(Silence - uint32(min(level, Silence))) }

// Stats fills in what the track knows.
func (t *Out) Stats(s *Stats) {
	s.SourceLevel = 0
	if !t.muted.Load() {
		s.SourceLevel = Linear(uint8(Silence - t.level.Load()))
	}
}

// Advice returns what the network can carry now, for whoever encodes. It may
// change with every frame, but seldom does.
func (t *Out) Advice() Advice {
	if a := t.advice.Load(); a != nil {
		return *a
	}
	return DefaultAdvice()
}

// Advise sets what Advice returns; the session does.
func (t *Out) Advise(a Advice) {
	if a != t.Advice() {
		t.advice.Store(&a)
	}
}

// Mute makes every frame from now on silence, or ends that. What was said while
// muted leaves nothing in the packets, neither sound nor its size.
func (t *Out) Mute(on bool) { t.muted.Store(on) }

// Muted says whether the track is muted.
func (t *Out) Muted() bool { return t.muted.Load() }

// Close ends the track. A WriteFrame that runs may still send its frame. It may
// be called twice.
func (t *Out) Close() { t.closed.Store(true) }
