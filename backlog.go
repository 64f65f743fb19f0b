// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import "sync"

// maxBacklogWrites bounds what waits to be written. When it is reached, whoever
// has more waits for the disk.
const maxBacklogWrites = 256

// backlog runs functions in order on a goroutine of its own, which lives while
// there are any: an idle node pays nothing. What was added before close runs.
type backlog struct {
	mu      sync.Mutex // guards what follows
	jobs    []func()
	running bool
	closed  bool
	room    *sync.Cond
	wg      sync.WaitGroup
}

// add has f run in its turn; after close it doesn't, and reports false.
func (b *backlog) add(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room == nil {
		b.room = sync.NewCond(&b.mu)
	}
	for len(b.jobs) >= maxBacklogWrites && !b.closed {
		b.room.Wait()
	}
	if b.closed {
		return false
	}
	b.jobs = append(b.jobs, f)
	if !b.running {
		b.running = true
		b.wg.Go(b.run)
	}
	return true
}

func (b *backlog) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.jobs) > 0 {
		f := b.jobs[0]
		b.jobs = b.jobs[1:]
		b.mu.Unlock()
		f()
		b.mu.Lock()
		b.room.Signal()
	}
	b.running = false
}

// wait returns when all that was added before has run.
func (b *backlog) wait() {
	done := make(chan struct{})
	if b.add(func() { close(done) }) {
		<-done
	}
}

// close runs what waits and refuses more.
func (b *backlog) close() {
	b.mu.Lock()
	b.closed = true
	if b.room != nil {
		b.room.Broadcast()
	}
	b.mu.Unlock()
	b.wg.Wait()
}
