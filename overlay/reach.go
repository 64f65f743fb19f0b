// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"sync"
	"time"
)

// Reach looks for the nodes of a target, by its addresses and through every
// neighbour and named introducer at once. It sends each node that a link was
// made to, and closes the channel when every way was tried or ctx ends.
// Whether a node really is the target's only the session can tell.
func (o *Overlay) Reach(ctx context.Context, t Target) <-chan *Peer {
	out := make(chan *Peer, maxFound+len(t.Addrs))
	if !o.tasks.run(func() { o.reach(ctx, t, out) }) {
		close(out)
	}
	return out
}

func (o *Overlay) reach(ctx context.Context, t Target, out chan<- *Peer) {
	defer close(out)
	ctx, cancel := context.WithTimeout(ctx, askLife+dialTime)
	defer cancel()
	stop := context.AfterFunc(o.ctx, cancel)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, a := range t.Addrs {
		wg.Go(func() {
			if p, err := o.Dial(ctx, a); err == nil {
				out <- p
			}
		})
	}
	wg.Go(func() { o.ask(ctx, t, nil, out) })
	for _, a := range t.Introducers {
		wg.Go(func() {
			if p, err := o.Dial(ctx, a); err == nil {
				o.ask(ctx, t, p, out)
			}
		})
	}
}

// ask puts the question to one neighbour, or to all (via = nil), and waits for
// what comes of it. When nobody knows the target it asks again: the target may
// have joined a moment ago, or be changing its network.
func (o *Overlay) ask(ctx context.Context, t Target, via *Peer, out chan<- *Peer) {
	for wait := askAgain; !o.askOnce(ctx, t, via, out) && wait <= askAgainMost; wait *= 2 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

const (
	askAgain     = 250 * time.Millisecond
	askAgainMost = time.Second
)

// askOnce reports whether any node was found, or nobody is there to be asked.
func (o *Overlay) askOnce(ctx context.Context, t Target, via *Peer, out chan<- *Peer) (any bool) {
	found := make(chan *Peer, maxFound)
	var id uint32
	err := o.loop.Do(ctx, func(now time.Time) { id = o.core.ask(now, t, via, found) })
	if err != nil || id == 0 {
		return true
	}
	defer o.loop.Do(context.Background(), func(time.Time) { delete(o.core.asks, id) })
	timeout := time.NewTimer(askLife)
	defer timeout.Stop()
	for {
		select {
		case p, ok := <-found:
			if !ok {
				return any
			}
			any = true
			select {
			case out <- p:
			default: // the asker has had maxFound already
			}
		case <-timeout.C:
			return true
		case <-ctx.Done():
			return true
		}
	}
}
