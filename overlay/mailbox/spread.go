// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/overlay/directory"
)

const (
	// round is how often a queue's holders compare what they have, its jitter a
	// fifth.
	round = 10 * time.Minute

	// soon bounds the delay after which something new goes to the other holders.
	// It differs between the three nodes that a piece reaches, so that the first
	// usually saves the others the work.
	soon = 2 * time.Second

	// settle is how long a change of neighbours is left to settle.
	settle = 5 * time.Second

	// keepers is how many of the nodes nearest to a place look after a holder
	// that comes new.
	keepers = 2

	// maxNeighbours bounds what SetNeighbours keeps: more than a node has links.
	maxNeighbours = 128

	// maxPending bounds the questions to other holders that wait for an answer,
	// pendingLife how long: the life of a route.
	maxPending  = 512
	pendingLife = 15 * time.Second

	// maxWanted bounds the pieces that wait to be handed over, maxBurst how many
	// go at once, burstPause the time to the next: 16 times 3.4 KB, 2 Mbit/s at
	// the most.
	maxWanted  = 4096
	maxBurst   = 16
	burstPause = 200 * time.Millisecond
)

// Event is what a machine of this package tells its driver.
type Event interface{ event() }

// Ask asks the driver to route a message. With Ref, each answer is reported with
// Answer, and their absence with Undelivered.
type Ask struct {
	Ref    uint32 // 0 = answers don't matter
	To     [32]byte
	Exact  bool // exactly to the node To; else to the nodes nearest to it
	Fetch  bool // a question; else something to be kept
	Copies int
	Body   []byte
}

func (Ask) event() {}

// spread is a queue's plan to reach the other holders.
type spread struct {
	at     time.Time // next round
	fresh  bool      // it was advanced for something new
	spared bool      // the last was left to another holder
	new    []identity.NodeID
	newAt  time.Time // when they are asked what they lack; zero when there are none
}

// offered is a HAVE on its way.
type offered struct {
	place   [32]byte
	to      identity.NodeID
	expires time.Time
}

// want is a piece that another holder lacks.
type want struct {
	place [32]byte
	name  name
	to    identity.NodeID
}

// plan notes that something came to q, or was there.
func (s *Store) plan(now time.Time, q *queue, replica, changed bool) {
	sp := &q.spread
	switch {
	case changed && !replica:
		at := now.Add(s.jitter(soon))
		if sp.at.IsZero() || at.Before(sp.at) {
			sp.at = at
		}
		sp.fresh, sp.spared = true, false
	case sp.at.IsZero():
		sp.at = s.nextRound(now)
	}
	s.wake(sp.at)
}

func (s *Store) nextRound(now time.Time) time.Time {
	return now.Add(round - round/5 + s.jitter(2*round/5))
}

func (s *Store) jitter(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

func (s *Store) wake(t time.Time) {
	if s.next.IsZero() || t.Before(s.next) {
		s.next = t
	}
}

// SetNeighbours tells which nodes this one has links to, siblings included;
// only the first 128 count.
func (s *Store) SetNeighbours(now time.Time, list []directory.Candidate) {
	old := s.neighbours
	s.neighbours = slices.Clone(list[:min(len(list), maxNeighbours)])
	order.Sort(s.neighbours, func(a, b directory.Candidate) int { return a.ID.Compare(b.ID) })
	if slices.Equal(old, s.neighbours) {
		return
	}
	for _, q := range s.queues {
		if !s.among(q.place, s.neighbours, keepers) {
			continue
		}
		before := s.holders(q.place, old)
		for _, id := range s.holders(q.place, s.neighbours) {
			sp := &q.spread
			if id == s.self || slices.Contains(before, id) || slices.Contains(sp.new, id) || len(sp.new) == directory.Far {
				continue
			}
			if sp.new = append(sp.new, id); sp.newAt.IsZero() {
				sp.newAt = now.Add(settle/5 + s.jitter(settle))
				s.wake(sp.newAt)
			}
		}
	}
}

// among tells whether this node is one of the n that should hold place before
// all others.
func (s *Store) among(place [32]byte, neighbours []directory.Candidate, n int) bool {
	nearer := 0
	for _, c := range neighbours {
		if distance(place, c.ID, s.self) < 0 {
			nearer++
		}
	}
	return nearer < n || slices.Contains(s.choose(place, neighbours, n), s.self)
}

func (s *Store) holders(place [32]byte, neighbours []directory.Candidate) []identity.NodeID {
	return s.choose(place, neighbours, directory.HolderCount(len(neighbours)))
}

func (s *Store) choose(place [32]byte, neighbours []directory.Candidate, n int) []identity.NodeID {
	return directory.Replicas(place, append(slices.Clone(neighbours), directory.Candidate{ID: s.self}), n)
}

// Advance forgets what has expired, compares with other holders and hands over
// what they lack.
func (s *Store) Advance(now time.Time) {
	if s.next.IsZero() || now.Before(s.next) {
		return
	}
	s.next = time.Time{}
	s.expire(now)
	s.handOver(now)
	for _, q := range s.queues {
		sp := &q.spread
		if !sp.at.After(now) {
			if sp.fresh || s.among(q.place, s.neighbours, directory.Far) {
				others := s.holders(q.place, s.neighbours)
				s.handReceipts(q, others)
				s.offer(now, q, others)
			}
			sp.new, sp.newAt = nil, time.Time{}
			sp.fresh, sp.spared = false, false
			sp.at = s.nextRound(now)
		} else if !sp.newAt.IsZero() && !sp.newAt.After(now) {
			s.offer(now, q, sp.new)
			sp.new, sp.newAt = nil, time.Time{}
		}
		s.wake(sp.at)
		if !sp.newAt.IsZero() {
			s.wake(sp.newAt)
		}
	}
	s.quota.forget(now)
}

func (s *Store) expire(now time.Time) {
	for _, q := range s.queues {
		for i := len(q.pieces) - 1; i >= 0; i-- {
			if q.pieces[i].expires.After(now) {
				s.wake(q.pieces[i].expires)
			} else {
				s.forgetPiece(q, i)
			}
		}
		for i := len(q.receipts) - 1; i >= 0; i-- {
			if q.receipts[i].expires.After(now) {
				s.wake(q.receipts[i].expires)
			} else {
				s.forgetReceipt(q, i)
			}
		}
	}
	s.sweep()
	for ref, o := range s.pending { // order doesn't show
		if !o.expires.After(now) {
			delete(s.pending, ref)
		}
	}
}

// offer tells other holders what is here.
func (s *Store) offer(now time.Time, q *queue, to []identity.NodeID) {
	var names []name
	for _, it := range q.pieces {
		names = append(names, it.name)
	}
	for first := true; first || len(names) > 0; first = false {
		n := min(len(names), maxNames)
		body := haveMessage{q.place, names[:n]}.append(nil)
		names = names[n:]
		for _, id := range to {
			if id == s.self || len(s.pending) >= maxPending {
				continue
			}
			s.ref++
			s.pending[s.ref] = &offered{q.place, id, now.Add(pendingLife)}
			s.events = append(s.events, Ask{Ref: s.ref, To: id, Exact: true, Fetch: true, Copies: 1, Body: body})
		}
	}
}

// handReceipts hands on what was dropped here at first hand. A HAVE would not
// do: it names nothing of what is gone.
func (s *Store) handReceipts(q *queue, to []identity.NodeID) {
	for i := range q.receipts {
		h := &q.receipts[i]
		if !h.fresh {
			continue
		}
		h.fresh = false
		body := dropMessage{true, h.raw}.append(nil)
		for _, id := range to {
			if id != s.self {
				s.events = append(s.events, Ask{To: id, Exact: true, Copies: 1, Body: body})
			}
		}
	}
}

// have answers another holder: with what this one lacks, and with receipts for
// what the other should not have. It spares this node's round, but never twice
// in a row, so that one who only pretends can delay a round and not prevent it.
func (s *Store) have(now time.Time, m haveMessage) (w wantMessage) {
	q := s.find(m.place)
	if q == nil {
		w.names = m.names
		return w
	}
	for _, n := range m.names {
		if q.has(n) {
			continue
		}
		i := slices.IndexFunc(q.receipts, func(h heldReceipt) bool {
			return slices.ContainsFunc(h.blobs, func(id ID) bool { return [7]byte(id[:7]) == [7]byte(n[:7]) })
		})
		if i < 0 {
			w.names = append(w.names, n)
			continue
		}
		raw := q.receipts[i].raw
		if len(w.receipts) < maxWantReceipts && !slices.ContainsFunc(w.receipts, func(r []byte) bool { return &r[0] == &raw[0] }) {
			w.receipts = append(w.receipts, raw)
		}
	}
	all := !slices.ContainsFunc(q.pieces, func(it *item) bool { return !slices.Contains(m.names, it.name) })
	if sp := &q.spread; all && len(w.names)+len(w.receipts) == 0 && !sp.spared {
		sp.at, sp.fresh, sp.spared = s.nextRound(now), false, true
		s.wake(sp.at)
	}
	return w
}

// Answer takes an answer to an Ask.
func (s *Store) Answer(now time.Time, ref uint32, _ identity.NodeID, body []byte) {
	o := s.pending[ref]
	m, err := parse(body)
	if o == nil || err != nil {
		return
	}
	w, ok := m.(wantMessage)
	q := s.find(o.place)
	if !ok || q == nil {
		return
	}
	delete(s.pending, ref)
	for _, n := range w.names {
		if q.has(n) && len(s.wanted) < maxWanted {
			s.wanted = append(s.wanted, want{o.place, n, o.to})
		}
	}
	for _, b := range w.receipts {
		if x, err := parseReceipt(b); err == nil && x.key == q.key {
			s.drop(now, b, others(), true)
		}
	}
	if len(s.wanted) > 0 {
		s.wake(now)
	}
}

// Undelivered takes the news that an Ask got no answer: the next round will.
func (s *Store) Undelivered(_ time.Time, ref uint32) { delete(s.pending, ref) }

// handOver gives other holders some of what they lack.
func (s *Store) handOver(now time.Time) {
	n := 0
	for len(s.wanted) > 0 && n < maxBurst {
		w := s.wanted[0]
		s.wanted = s.wanted[1:]
		q := s.find(w.place)
		if q == nil {
			continue
		}
		i := slices.IndexFunc(q.pieces, func(it *item) bool { return it.name == w.name })
		if i < 0 {
			continue
		}
		b := s.shelf.Get(q.pieces[i].number)
		if b == nil {
			continue
		}
		n++
		s.handed++
		s.events = append(s.events, Ask{To: w.to, Exact: true, Copies: 1, Body: putMessage{true, b}.append(nil)})
	}
	if len(s.wanted) > 0 {
		s.wake(now.Add(burstPause))
	} else {
		s.wanted = nil
	}
}

// Deadline returns when Advance is due; zero when nothing is held.
func (s *Store) Deadline() time.Time { return s.next }

// NextEvent returns the next event, an Ask.
func (s *Store) NextEvent() (Event, bool) {
	if len(s.events) == 0 {
		return nil, false
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, true
}
