// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// Side is one end of a call.
type Side uint8

// The sides of a call.
const (
	Ours   Side = 1 // what this node sends
	Theirs Side = 2 // what it hears
)

// ErrNotTold reports a recording that has nothing in it, because the other side
// had not confirmed yet that it knows of it.
var ErrNotTold = errors.New("p2pos: nothing is recorded, since the other side was not told yet")

// recordRoom is how many frames may wait for a slow writer: over a second of
// both sides.
const recordRoom = 128

// Record records an answered call as an Ogg Opus file, as it is: nothing is
// decoded. Both sides are in it, ours left and theirs right, or only the given
// one, mono. What is ours is what is sent, so silence while muted; what is theirs is
// what the app reads of it, with what was lost left for the player to conceal.
//
// The other side is told first. Record returns at once; recording begins when
// the other side has confirmed, usually a round trip later, and CallRecording
// says so. stop ends it, tells the other side that it has, and returns when the
// file is complete, or why it isn't: an error of w, ErrNotTold. So does the end of
// the call; stop returns the same then. It may be called more than once.
//
// w is written to on a goroutine that Node.Close waits for, about once a second.
// It is not closed. While it blocks, frames get lost, which is an error too.
//
// Errors: a *CallError when the call is not answered or over, ErrIncapable,
// net.ErrClosed.
func (c *Call) Record(w io.Writer, sides ...Side) (stop func() error, err error) {
	r := &record{call: c, w: w, frames: make(chan taped, recordRoom), begin: make(chan struct{}), quit: make(chan struct{}), done: make(chan struct{})}
	for _, s := range sides {
		switch s {
		case Ours, Theirs:
			if !slices.Contains(r.sides, s) {
				r.sides = append(r.sides, s)
			}
		default:
			return nil, fmt.Errorf("p2pos: record: no side %d", s)
		}
	}
	if slices.Sort(r.sides); len(r.sides) == 0 {
		r.sides = []Side{Ours, Theirs}
	}
	if err := c.records.add(r); err != nil {
		return nil, c.late(err)
	}
	return r.stop, nil
}

// Recorded says whether the other side says that it records the call.
func (c *Call) Recorded() bool { return c.records.theirs.Load() }

// records are a call's recordings.
type records struct {
	theirs atomic.Bool

	// turn puts beginnings and ends in order, so that the other side hears of
	// them in that order. It is held while the session is asked, and mu may be
	// taken under it; who carries events takes mu alone.
	turn sync.Mutex

	mu    sync.Mutex // guards what follows
	list  []*record
	aware bool // the other side knows
}

func (s *records) add(r *record) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	// On the list first: the other side may confirm before Record returns.
	s.mu.Lock()
	if s.list = append(s.list, r); len(s.list) == 1 {
		in, out := r.call.Tracks()
		in.Tap(func(f *media.Frame) { s.frame(Theirs, f) })
		out.Tap(func(f *media.Frame) { s.frame(Ours, f) })
	}
	if s.aware {
		r.start()
	}
	s.mu.Unlock()
	err := r.call.c.Record(true)
	if err == nil {
		err = r.call.n.spawn(r.run)
	}
	if err != nil {
		s.drop(r)
	}
	return err
}

// remove ends a recording; with the last one the other side is told.
func (s *records) remove(r *record) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.drop(r)
}

// drop is remove for who holds turn.
func (s *records) drop(r *record) {
	s.mu.Lock()
	before := len(s.list)
	s.list = slices.DeleteFunc(s.list, func(o *record) bool { return o == r })
	last := before == 1 && len(s.list) == 0
	if last {
		s.aware = false
	}
	s.mu.Unlock()
	if last {
		in, out := r.call.Tracks()
		in.Tap(nil)
		out.Tap(nil)
		r.call.c.Record(false) // at the end of the call nobody need be told
	}
}

// told notes what the other side knows, or says.
func (s *records) told(on, byMe bool) {
	if !byMe {
		s.theirs.Store(on)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aware = on && len(s.list) > 0
	for _, r := range s.list {
		if on {
			r.start()
		}
	}
}

// frame hands on a frame that passed now.
func (s *records) frame(side Side, f *media.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.list {
		r.take(side, f)
	}
}

// record is one recording.
type record struct {
	call  *Call
	w     io.Writer
	sides []Side // in the order of the file's tracks

	// Under the call's records.mu.
	started time.Time // zero = not yet
	lost    int       // frames for which there was no room

	frames chan taped    // of take; when full, frames are lost
	begin  chan struct{} // closed by start
	quit   chan struct{} // closed by stop
	once   sync.Once
	done   chan struct{} // closed when the file is complete
	err    error         // why it isn't; valid after done
}

// taped is a frame on its way to the file.
type taped struct {
	track int
	at    time.Duration
	media.Frame
}

func (r *record) start() {
	if r.started.IsZero() {
		r.started = time.Now()
		close(r.begin)
	}
}

func (r *record) take(side Side, f *media.Frame) {
	track := slices.Index(r.sides, side)
	if track < 0 || r.started.IsZero() {
		return
	}
	t := taped{track, time.Since(r.started), *f}
	t.Payload = slices.Clone(f.Payload)
	select {
	case r.frames <- t:
	default:
		r.lost++
	}
}

// stop ends the recording and waits for the file.
func (r *record) stop() error {
	r.once.Do(func() { close(r.quit) })
	<-r.done
	return r.err
}

// run writes the file.
func (r *record) run() {
	defer close(r.done)
	err := r.write()
	r.call.records.remove(r)
	// Nothing is added to lost any more.
	if err == nil && r.lost > 0 {
		err = fmt.Errorf("%d frames are missing, for which the writer was too slow", r.lost)
	}
	if r.err = err; err != nil && err != ErrNotTold {
		r.err = fmt.Errorf("p2pos: record: %w", err)
	}
}

func (r *record) write() error {
	select {
	case <-r.begin:
	case <-r.quit:
		return ErrNotTold
	case <-r.call.Done():
		return ErrNotTold
	}
	var seed [16]byte
	crand.Read(seed[:]) // does not fail
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:])))
	file, err := ogg.NewRecorder(r.w, len(r.sides), ogg.Options{Rand: rng})
	if err != nil {
		return err
	}
	for err == nil {
		select {
		case t := <-r.frames:
			err = file.Write(t.track, t.at, &t.Frame)
			continue
		case <-r.quit:
		case <-r.call.Done():
		}
		break
	}
	for more := err == nil; more; {
		select {
		case t := <-r.frames:
			err = file.Write(t.track, t.at, &t.Frame)
			more = err == nil
		default:
			more = false
		}
	}
	return errors.Join(err, file.Close())
}
