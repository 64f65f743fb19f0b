// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "sync/atomic"

// reason says why something was dropped.
type reason uint8

const (
	garbage         reason = iota // empty, or a first byte that means nothing
	oversize                      // longer than MaxDatagram
	badSource                     // a source nobody can answer
	badSTUN                       // refused by ValidSTUN
	unreadSTUN                    // STUN and nobody here to read it
	dtls                          // browsers have a socket of their own
	relayed                       // a relayed frame and no relay here
	unsignalled                   // media that nobody here recognised
	unknownSource                 // QUIC from a stranger, and no Initial
	provisionalFull               // an Initial too many
	peersFull                     // an Initial while MaxPeers are known
	queueFull                     // QUIC didn't read fast enough; the oldest goes
	unknownVirtual                // QUIC wrote to a peer that is forgotten
	noPath                        // QUIC wrote to a peer that has no path yet
	writeFailed                   // the system refused a datagram of QUIC's on every path
	numReasons
)

// reasonNames are the keys of Socket.Dropped.
func (r reason) String() string {
	return [numReasons]string{
		"garbage", "oversize", "bad source", "bad stun", "stun", "dtls", "relay", "unsignalled media", "unknown source",
		"provisional full", "peers full", "queue full", "unknown virtual address", "no path", "write failed",
	}[r]
}

// counters counts drops by reason; the zero value is ready.
type counters [numReasons]atomic.Uint64

func (c *counters) add(r reason) { c[r].Add(1) }

// Dropped returns how many datagrams were dropped since Open, by reason; every
// reason is present. Reasons are words for people, not an interface.
func (s *Socket) Dropped() map[string]uint64 {
	m := make(map[string]uint64, numReasons)
	for r := range numReasons {
		m[r.String()] = s.drops[r].Load()
	}
	return m
}

// Traffic returns the bytes of UDP payload that came in and went out since
// Open, of whatever kind.
func (s *Socket) Traffic() (received, sent uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	received, sent = s.gone.received, s.gone.sent
	for _, l := range *s.locals.Load() {
		if l == nil {
			continue
		}
		received += l.received.Load()
		sent += l.sent.Load()
	}
	return received, sent
}
