// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"sync"
)

// mailNews is a blob, or the end of a job.
type mailNews struct {
	mail Mail
	done bool
	left bool
	err  error
}

// mailBox holds news between the loop and who waits for it. Pushing never
// blocks; what the readers of 48 queues keep bounds it.
type mailBox struct {
	mu    sync.Mutex // guards list
	list  []mailNews
	ready chan struct{} // capacity 1: something may be there
}

func newMailBox() *mailBox { return &mailBox{ready: make(chan struct{}, 1)} }

func (b *mailBox) push(n mailNews) {
	b.mu.Lock()
	b.list = append(b.list, n)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take waits for news and returns all of it.
func (b *mailBox) take(ctx, node context.Context) ([]mailNews, error) {
	for {
		b.mu.Lock()
		list := b.list
		b.list = nil
		b.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, closedOr(ctx, node)
		case <-node.Done():
			return nil, closedOr(ctx, node)
		}
	}
}
