// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"sync"
	"time"
)

const (
	// MaxReplay is how many of a peer's latest QUIC packets are kept. After an
	// outage QUIC's timer has backed off; these few on the new path draw the
	// acknowledgement that resets it (measured: 115 ms instead of 3 s).
	MaxReplay = 8

	// replayQuiet is how long QUIC must have been silent before a replay is
	// taken for useless, plus twice the time it sent without being answered:
	// during an outage its probes double their distance, so the next one
	// always comes before that.
	replayQuiet = 2 * time.Second

	// replayMax ends the doubling: the idle timeout of links, after which
	// there is nothing to repair.
	replayMax = 5 * time.Minute
)

// replay keeps the last packets QUIC wrote to one peer. Media is not kept: old
// sound is of no use, and QUIC drops duplicates by itself.
type replay struct {
	mu    sync.Mutex
	ring  [MaxReplay]*buffer // nil where nothing is kept
	next  int
	first time.Duration // of the first packet since the ring was empty
	last  time.Duration // of the latest packet
}

func (r *replay) record(pool *buffers, b []byte, now time.Duration) {
	if len(b) > MaxDatagram {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty() {
		r.first = now
	}
	r.last = now
	slot := r.ring[r.next]
	if slot == nil {
		slot = pool.get()
		r.ring[r.next] = slot
	}
	slot.n = copy(slot.b[:], b)
	r.next = (r.next + 1) % MaxReplay
}

// empty reports whether nothing is kept; r.mu is held.
func (r *replay) empty() bool { return r.ring[(r.next+MaxReplay-1)%MaxReplay] == nil }

// copies returns the last n packets, oldest first.
func (r *replay) copies(n int) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list [][]byte
	for i := range MaxReplay {
		if b := r.ring[(r.next+i)%MaxReplay]; b != nil && i >= MaxReplay-n {
			list = append(list, append([]byte(nil), b.data()...))
		}
	}
	return list
}

// trim frees the ring when QUIC has nothing in flight that a replay could
// help, judged from when it last wrote and when something last came back.
func (r *replay) trim(pool *buffers, now, received time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unanswered := max(r.last-max(received, r.first), 0)
	if !r.empty() && now-r.last >= min(replayQuiet+2*unanswered, replayMax) {
		r.drop(pool)
	}
}

func (r *replay) free(pool *buffers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(pool)
}

// drop gives the buffers back; r.mu is held.
func (r *replay) drop(pool *buffers) {
	for i, b := range r.ring {
		pool.put(b)
		r.ring[i] = nil
	}
	r.next = 0
}

// Replay sends the last n QUIC packets to this peer, at most MaxReplay, on
// path once more, oldest first, and returns how many it sent. For the moment
// when path takes over from one that went silent.
func (p *Peer) Replay(path Path, n int) int {
	path = path.canonical()
	sent := 0
	for _, b := range p.replay.copies(n) {
		if p.s.WriteTo(path, b) == nil {
			sent++
		}
	}
	return sent
}

// Trim frees the packets kept for a replay when they can't be of use any more:
// two seconds after a healthy link fell silent, later the longer it has gone
// unanswered. Call it every few seconds; an idle peer then holds none. now is
// Config.Now's.
func (p *Peer) Trim(now time.Time) {
	p.replay.trim(&p.s.pool, now.Sub(p.s.start), time.Duration(p.received.Load()))
}
