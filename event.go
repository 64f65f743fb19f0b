// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"cmp"
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay"
)

// Event is one of the types below.
type Event interface{ event() }

// Joined says that the first link to another node stands: this node can be
// found and rung. It comes again when the node had lost all links.
type Joined struct{ Links int }

// NAT says that more, or something else, is known of the NATs around this node.
// Node.NAT has the same at any time.
type NAT struct {
	Behaviour nat.Behaviour
	Evidence  []string // what speaks for it, in short sentences for people
	// PortMap is the protocol by which a router keeps the node's port open:
	// "pcp", "nat-pmp", "upnp", or "none".
	PortMap string
}

func natOf(n overlay.NATChanged) NAT {
	return NAT{Behaviour: n.Behaviour, Evidence: n.Evidence, PortMap: cmp.Or(n.PortMap, "none")}
}

// CallSearch says how the search for somebody who is being called goes, when
// nothing is known of them but a ticket: State is "asking" (the network is asked
// where their devices are), then "found", "unknown" (nobody knows; the addresses
// in the ticket may still answer) or "withdrawn" (their device has gone offline).
type CallSearch struct {
	Peer  identity.ID
	State string
}

// CallRinging says that an own call rings. RTT is the time from the INVITE to
// the word that it rings.
type CallRinging struct {
	Call *Call
	RTT  time.Duration
}

// CallAnswered says that a call, own or incoming, was answered.
type CallAnswered struct{ Call *Call }

// CallMedia says that the other side's first genuine media packet is here.
type CallMedia struct{ Call *Call }

// CallPath says how the other side of a call is reached from now on.
type CallPath struct {
	Call *Call
	Path Path
}

// CallHeld says that one side has put the other on hold: this one if ByMe.
type CallHeld struct {
	Call *Call
	ByMe bool
}

// CallResumed says that one side holds the call no longer. The other may.
type CallResumed struct {
	Call *Call
	ByMe bool
}

// CallWords says that the safety words of a call are known.
type CallWords struct{ Call *Call }

// CallDTMF says that the other side has pressed a key: 0-9, *, #, A-D. It comes
// once for each key, when that begins.
type CallDTMF struct {
	Call  *Call
	Digit byte
}

// CallRecording says that what is said in a call is recorded from now on, or no
// longer. ByMe tells that Call.Record does it, and that the other side knows;
// else the other side says that it does: show that to whoever speaks.
type CallRecording struct {
	Call     *Call
	On, ByMe bool
}

// CallQuality says that something began to be wrong with a call's sound, or no
// longer is; Call.Quality has the numbers.
type CallQuality struct {
	Call         *Call
	Began, Ended media.Warning
}

// CallEnded says that a call is over; Call.Err has the reason.
type CallEnded struct{ Call *Call }

// CallMissed says that somebody called in vain: it rang here, the line was busy, or
// no device of this person was online, which the caller's has told since.
type CallMissed struct {
	Peer identity.ID
	Name string // as the caller gave it
	When time.Time
}

// ContactChanged says that a contact was added, changed or removed.
type ContactChanged struct {
	Contact Contact
	Removed bool
}

// FileEvent says that a transfer is in another state now, or a new one is
// offered. Progress is asked for, not told.
type FileEvent struct {
	Transfer *Transfer
	State    TransferState
}

func (FileEvent) event() {}

func (ContactChanged) event() {}
func (Joined) event()         {}
func (NAT) event()            {}
func (CallSearch) event()     {}
func (CallRinging) event()    {}
func (CallAnswered) event()   {}
func (CallMedia) event()      {}
func (CallPath) event()       {}
func (CallHeld) event()       {}
func (CallResumed) event()    {}
func (CallWords) event()      {}
func (CallEnded) event()      {}
func (CallMissed) event()     {}
func (CallDTMF) event()       {}
func (CallRecording) event()  {}
func (CallQuality) event()    {}

// maxBacklog is how many events may wait for one reader. One that has stopped
// reading loses the oldest.
const maxBacklog = 1024

// feed hands events to any number of readers, each with a queue of its own.
// Publishing never blocks.
type feed[T any] struct {
	mu      sync.Mutex // guards what follows
	readers map[*reader[T]]struct{}
	closed  bool
}

type reader[T any] struct {
	mu    sync.Mutex // guards items
	items []T
	ready chan struct{} // capacity 1: items, or the end, may be there
}

func (f *feed[T]) publish(e T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		r.mu.Lock()
		if len(r.items) == maxBacklog {
			r.items = r.items[1:]
		}
		r.items = append(r.items, e)
		r.mu.Unlock()
		r.wake()
	}
}

func (r *reader[T]) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (f *feed[T]) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		r.wake()
	}
}

// subscribe adds a reader that first gets the events in start.
func (f *feed[T]) subscribe(start []T) *reader[T] {
	r := &reader[T]{items: start, ready: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == nil {
		f.readers = make(map[*reader[T]]struct{})
	}
	f.readers[r] = struct{}{}
	r.wake()
	return r
}

func (f *feed[T]) unsubscribe(r *reader[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
}

// next waits for an event; false when ctx or the feed has ended.
func (f *feed[T]) next(ctx context.Context, r *reader[T]) (e T, ok bool) {
	for {
		r.mu.Lock()
		if len(r.items) > 0 {
			e, r.items = r.items[0], r.items[1:]
			r.mu.Unlock()
			return e, true
		}
		r.mu.Unlock()
		f.mu.Lock()
		closed := f.closed
		f.mu.Unlock()
		if closed {
			return e, false
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			return e, false
		}
	}
}

// all returns an iterator. The reader exists from now on, so that nothing is
// missed between the call and the first step, and ends with ctx or the loop.
// An iterator that is used again begins anew, with what happens from then on.
func (f *feed[T]) all(ctx context.Context, start []T) iter.Seq[T] {
	var first atomic.Pointer[reader[T]]
	first.Store(f.subscribe(start))
	stop := context.AfterFunc(ctx, func() {
		if r := first.Swap(nil); r != nil {
			f.unsubscribe(r)
		}
	})
	return func(yield func(T) bool) {
		stop()
		r := first.Swap(nil)
		if r == nil {
			r = f.subscribe(nil)
		}
		defer f.unsubscribe(r)
		for {
			e, ok := f.next(ctx, r)
			if !ok || !yield(e) {
				return
			}
		}
	}
}
