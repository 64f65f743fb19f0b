// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

const (
	// round is after how long a key is handed to all its holders again, its jitter a
	// fifth: mostly the owner's next publication comes before. For who left a
	// publication to another holder it is doubt: perhaps the other only pretended.
	round = 30 * time.Minute
	doubt = 10 * time.Minute

	// soon bounds the delay after which a new record goes to the other
	// holders. It differs between the three nodes that a publication reaches,
	// so that the first usually saves the others the work.
	soon = 2 * time.Second

	// settle is how long a change of neighbours is left to settle.
	settle = 5 * time.Second

	// keepers is how many of the nodes nearest to a key hand it to a holder that
	// comes new. Should that one lie or die, the owner's next publication reaches
	// the new holder; a second one sent twice as much for nothing.
	keepers = 1

	// Far is how many holders before it excuse a node from the rounds of package
	// mailbox, which cost little. Here all but the holders themselves are excused:
	// others' rounds don't come by at those behind them, so each of a dozen would
	// hand on what the holders have.
	Far = 2 * Copies

	// maxSpared is how many turns in a row other holders' rounds may save a node
	// its own. One in a row, as once, lets nearly all holders have their turn in
	// every round: each is spared by the first and then by none.
	maxSpared = 2

	// small networks, where a node knows fewer others, keep a key everywhere: a
	// node that stops being one of eight holders because newcomers are nearer
	// would go on answering with what it had, and in a network of ten it is asked.
	small = 2 * Copies

	// maxNeighbours bounds what SetNeighbours keeps: more than a node has links.
	maxNeighbours = 128

	// maxBurst is how many handovers one Advance makes, and burstPause the time
	// to the next: 3 to 5 KiB each, so that a store of 4 MiB does not go to a
	// new neighbour at once.
	maxBurst   = 16
	burstPause = 250 * time.Millisecond
)

// Handover asks the driver to send messages (kind Store, exactly to each of To)
// with the records under a key. A node that cannot be reached is left out:
// others hand over too, and the next round comes.
type Handover struct {
	Key    Key
	To     []identity.NodeID // nearest first, at most 16
	Bodies [][]byte          // StoreMessages
}

func (Handover) event() {}

// spread is an entry's plan to reach the other holders.
type spread struct {
	at     time.Time         // next round
	fresh  bool              // it was advanced for a new record
	spared uint8             // so many in a row were left to other holders
	new    []identity.NodeID // holders that have come new
	newAt  time.Time         // when they get the records; zero when there are none
}

// plan notes that a record came or was confirmed. A publication advances the
// round. A replica shows that another holder has just done it, so this node's turn
// moves: freely where the record is a newer one, which only its owner can make,
// else maxSpared times in a row, so that a neighbour that only pretends can delay
// a round and not prevent it. Who left a publication to another is spared once
// more at the most.
func (s *Store) plan(now time.Time, e *entry, replica, changed bool) {
	sp := &e.spread
	switch {
	case changed && !replica:
		at := now.Add(s.jitter(soon))
		if sp.at.IsZero() || at.Before(sp.at) {
			sp.at = at
		}
		sp.fresh, sp.spared = true, 0
	case sp.at.IsZero():
		sp.at = s.turn(now, round)
	case replica && changed:
		sp.at, sp.fresh, sp.spared = s.turn(now, round), false, 0
	case replica && sp.fresh:
		sp.at, sp.fresh, sp.spared = s.turn(now, doubt), false, maxSpared-1
	case replica && sp.spared < maxSpared:
		sp.at = s.turn(now, round)
		sp.spared++
	}
	s.wake(sp.at)
}

// turn returns when a round is due, about d from now.
func (s *Store) turn(now time.Time, d time.Duration) time.Time {
	return now.Add(d - d/5 + s.jitter(2*d/5))
}

// jitter returns a random part of d.
func (s *Store) jitter(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

func (s *Store) wake(t time.Time) {
	if s.next.IsZero() || t.Before(s.next) {
		s.next = t
	}
}

// SetNeighbours tells which nodes this one has links to, siblings included;
// only the first 128 count. Where a change brings a new node among a key's
// holders, the nearest node hands the key to it, within seconds.
func (s *Store) SetNeighbours(now time.Time, list []Candidate) {
	old := s.neighbours
	s.neighbours = slices.Clone(list[:min(len(list), maxNeighbours)])
	order.Sort(s.neighbours, func(a, b Candidate) int { return a.ID.Compare(b.ID) })
	if slices.Equal(old, s.neighbours) {
		return
	}
	// Those who were here before know what is here; who comes new does not.
	stayed := slices.DeleteFunc(slices.Clone(s.neighbours), func(c Candidate) bool {
		_, ok := slices.BinarySearchFunc(old, c.ID, func(o Candidate, id identity.NodeID) int { return o.ID.Compare(id) })
		return !ok
	})
	for _, e := range s.entries {
		if !s.among(e.key, stayed, keepers) {
			continue
		}
		before := s.holders(e.key, old)
		for _, id := range s.holders(e.key, s.neighbours) {
			if id == s.self || slices.Contains(before, id) || slices.Contains(e.spread.new, id) || len(e.spread.new) == small {
				continue
			}
			if e.spread.new = append(e.spread.new, id); e.spread.newAt.IsZero() {
				e.spread.newAt = now.Add(settle/5 + s.jitter(settle))
				s.wake(e.spread.newAt)
			}
		}
	}
}

// among tells whether this node is one of the n that should hold key before all
// others. It goes by Replicas, so that many nodes of one network cannot make
// the others think that they are not needed.
func (s *Store) among(key Key, neighbours []Candidate, n int) bool {
	nearer := 0
	for _, c := range neighbours {
		if less(key, c.ID, s.self) {
			nearer++
		}
	}
	return nearer < n || slices.Contains(s.choose(key, neighbours, n), s.self)
}

// holders returns who should hold key, as far as this node sees.
func (s *Store) holders(key Key, neighbours []Candidate) []identity.NodeID {
	return s.choose(key, neighbours, HolderCount(len(neighbours)))
}

// HolderCount returns how many nodes hold a key, for a node with this many
// neighbours: eight, or all in a small network.
func HolderCount(neighbours int) int {
	if neighbours < small {
		return neighbours + 1
	}
	return Copies
}

func (s *Store) choose(key Key, neighbours []Candidate, n int) []identity.NodeID {
	return Replicas(key, append(slices.Clone(neighbours), Candidate{ID: s.self}), n)
}

// Advance forgets what has expired and hands on what is due.
func (s *Store) Advance(now time.Time) {
	if s.next.IsZero() || now.Before(s.next) {
		return
	}
	s.next = time.Time{}
	s.expire(now)
	burst := maxBurst
	for _, e := range s.entries {
		sp := &e.spread
		if burst == 0 && s.due(now, sp) {
			s.wake(now.Add(burstPause))
			continue
		}
		if !sp.at.After(now) {
			to := s.holders(e.key, s.neighbours)
			if sp.fresh || slices.Contains(to, s.self) {
				burst -= s.hand(now, e, to)
			}
			sp.new, sp.newAt = nil, time.Time{}
			sp.fresh, sp.spared = false, 0
			sp.at = s.turn(now, round)
		} else if !sp.newAt.IsZero() && !sp.newAt.After(now) {
			burst -= s.hand(now, e, sp.new)
			sp.new, sp.newAt = nil, time.Time{}
		}
		s.wake(sp.at)
		if !sp.newAt.IsZero() {
			s.wake(sp.newAt)
		}
	}
	s.quota.forget(now)
}

func (s *Store) due(now time.Time, sp *spread) bool {
	return !sp.at.After(now) || !sp.newAt.IsZero() && !sp.newAt.After(now)
}

// expire drops records whose time is over and sees to it that Advance comes
// back for the others.
func (s *Store) expire(now time.Time) {
	for _, e := range s.entries {
		for slot, it := range e.slots {
			if it == nil {
				continue
			}
			if it.info.Expires.After(now) {
				s.wake(it.info.Expires)
				continue
			}
			s.drop(e, slot)
		}
	}
	s.entries = slices.DeleteFunc(s.entries, (*entry).empty)
}

// hand emits a Handover of e's records to the nodes of to that are others than
// this one. It returns how many it emitted.
func (s *Store) hand(now time.Time, e *entry, to []identity.NodeID) int {
	to = slices.DeleteFunc(slices.Clone(to), func(id identity.NodeID) bool { return id == s.self })
	records := e.records(now)
	if len(to) == 0 || len(records) == 0 {
		return 0
	}
	s.events = append(s.events, Handover{Key: e.key, To: to, Bodies: storeBodies(true, records)})
	s.handovers++
	return 1
}

// Deadline returns when Advance is due; zero when nothing is held.
func (s *Store) Deadline() time.Time { return s.next }

// NextEvent returns the next event, a Handover.
func (s *Store) NextEvent() (Event, bool) {
	if len(s.events) == 0 {
		return nil, false
	}
	ev := s.events[0]
	s.events = s.events[1:]
	return ev, true
}
