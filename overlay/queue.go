// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"net"
	"sync"
)

// Event is what Next returns: PeerUp, PeerDown, Message or PathChanged.
type Event interface{ event() }

// PeerUp says that the first link to a node stands.
type PeerUp struct{ Peer *Peer }

// PeerRelinked says that one more link to a node stands. The other side may
// have lost the older one, and what it knew with it.
type PeerRelinked struct{ Peer *Peer }

// PeerDown says that the last link to a node is gone. Bye: the node itself has
// closed it, and won't be back under this ID.
type PeerDown struct {
	Peer *Peer
	Bye  bool
}

// Message is a session message that came on a link, or over the route (Link =
// nil) from a node that has signed it.
type Message struct {
	Peer *Peer
	Link *Link
	Body []byte
}

// PathChanged says that a peer is now reached another way, or not at all.
type PathChanged struct {
	Peer   *Peer
	Path   PathInfo
	Replay bool // the old path died: what was sent last may be lost
}

// Unrouted says that a message over the route did not reach a node.
type Unrouted struct{ Peer *Peer }

func (Unrouted) event()     {}
func (PeerUp) event()       {}
func (PeerRelinked) event() {}
func (PeerDown) event()     {}
func (Message) event()      {}
func (PathChanged) event()  {}

// queue holds events between the loop and the session layer. Pushing never
// blocks: messages are bounded by their links' unread tokens, ups and downs by
// the number of peers, and of path changes a peer has only the latest here.
type queue struct {
	mu     sync.Mutex // guards what follows
	items  []Event
	routed int // messages that came over the route
	closed bool
	ready  chan struct{} // capacity 1: something may be there
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) push(e Event) {
	q.mu.Lock()
	if !q.closed {
		q.put(e)
	}
	q.mu.Unlock()
	q.wake()
}

// maxRouted messages from the route wait for the session layer: calls from
// everybody one knows, and no more.
const maxRouted = 64

// pushRouted takes a message from the route, if there is room.
func (q *queue) pushRouted(m Message) bool {
	q.mu.Lock()
	if q.routed >= maxRouted {
		q.mu.Unlock()
		return false
	}
	q.routed++
	q.mu.Unlock()
	q.push(m)
	return true
}

func (q *queue) put(e Event) {
	if pc, ok := e.(PathChanged); ok {
		for i, o := range q.items {
			if old, ok := o.(PathChanged); ok && old.Peer == pc.Peer {
				pc.Replay = pc.Replay || old.Replay
				q.items[i] = pc
				return
			}
		}
	}
	q.items = append(q.items, e)
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.items = nil
	q.mu.Unlock()
	q.wake()
}

func (q *queue) next(ctx context.Context) (Event, error) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			q.wake()
			return nil, net.ErrClosed
		}
		if len(q.items) > 0 {
			e := q.items[0]
			q.items = q.items[1:]
			if m, ok := e.(Message); ok && m.Link == nil {
				q.routed--
			}
			q.mu.Unlock()
			if m, ok := e.(Message); ok && m.Link != nil {
				<-m.Link.unread
			}
			return e, nil
		}
		q.mu.Unlock()
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tasks counts every goroutine that this package starts, so that Close can
// wait for all of them.
type tasks struct {
	mu     sync.Mutex // guards closed and orders Go before Wait
	closed bool
	wg     sync.WaitGroup
}

// run starts f unless the overlay is closing.
func (t *tasks) run(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// close refuses new goroutines and waits for those that run.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
