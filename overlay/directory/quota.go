// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// MaxBlobs bounds a store's memory: records and knocks of at most 1 KiB,
	// 4 MiB in all. A network where everybody has three reach secrets makes
	// each node hold about 100.
	MaxBlobs = 4096

	// MaxBlobsPrefix is what may come through the neighbours of one prefix. An
	// honest neighbour brings what others publish through it, so the share is
	// large; with four prefixes at least behind what it holds, no single
	// operator's flood empties a store.
	MaxBlobsPrefix = MaxBlobs / 4

	// A prefix may bring putBurst records at once (what a node hands over that
	// becomes its neighbour) and then putRate a second: at 0.1 ms for the
	// signatures that is under 1 % of a core for one prefix.
	putBurst = 256
	putRate  = 8

	// maxSources bounds the prefixes that are told apart: several times the
	// links that a node has. Those above share one quota.
	maxSources = 512
)

// quota counts blobs by the prefix that brought them. The zero prefix is not
// counted: private networks trust their members.
type quota struct {
	most    int // MaxBlobs
	share   int // MaxBlobsPrefix
	blobs   int
	arrived uint64
	sources map[netip.Prefix]*source
}

type source struct {
	blobs  int
	tokens float64
	at     time.Time // of tokens
}

// others stands for all prefixes above maxSources.
func others() netip.Prefix { return netip.PrefixFrom(netip.IPv6Unspecified(), 0) }

// name returns the prefix as which p counts.
func (q *quota) name(p netip.Prefix) netip.Prefix {
	if p.IsValid() && q.sources[p] == nil && len(q.sources) >= maxSources {
		return others()
	}
	return p
}

// of returns the source of a prefix that name gave, nil for the zero one.
func (q *quota) of(p netip.Prefix) *source {
	if !p.IsValid() {
		return nil
	}
	if s := q.sources[p]; s != nil {
		return s
	}
	if q.sources == nil {
		q.sources = map[netip.Prefix]*source{}
	}
	s := &source{tokens: putBurst}
	q.sources[p] = s
	return s
}

// spend takes a token for a check that costs signatures.
func (q *quota) spend(now time.Time, p netip.Prefix) bool {
	s := q.of(p)
	if s == nil {
		return true
	}
	if !s.at.IsZero() {
		s.tokens = min(putBurst, s.tokens+putRate*max(now.Sub(s.at), 0).Seconds())
	}
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// add counts a blob and returns its place in the order of arrival.
func (q *quota) add(p netip.Prefix) uint64 {
	q.blobs++
	q.arrived++
	if s := q.of(p); s != nil {
		s.blobs++
	}
	return q.arrived
}

func (q *quota) remove(p netip.Prefix) {
	q.blobs--
	if s := q.of(p); s != nil && s.blobs > 0 {
		s.blobs--
	}
}

// forget drops sources that hold nothing and have all their tokens back.
func (q *quota) forget(now time.Time) {
	for p, s := range q.sources { // order doesn't show: nothing is sent or told
		if s.blobs == 0 && s.tokens+putRate*now.Sub(s.at).Seconds() >= putBurst {
			delete(q.sources, p)
		}
	}
}

// full tells whether one more blob from p is above p's share.
func (q *quota) full(p netip.Prefix) bool {
	s := q.of(p)
	return s != nil && s.blobs >= q.share
}

// find returns the entry of a key, nil when there is none.
func (s *Store) find(key Key) *entry {
	if i, ok := s.search(key); ok {
		return s.entries[i]
	}
	return nil
}

func (s *Store) search(key Key) (int, bool) {
	return slices.BinarySearchFunc(s.entries, key, func(e *entry, k Key) int { return distance(s.self, e.key, k) })
}

func (s *Store) insert(key Key) *entry {
	i, _ := s.search(key)
	e := &entry{key: key}
	s.entries = slices.Insert(s.entries, i, e)
	return e
}

// room tells whether one more blob under key from p fits, and with take makes
// the room. What must go is what lies farthest from this node: others are
// nearer to it. Above its share a prefix displaces only its own.
func (s *Store) room(key Key, p netip.Prefix, take bool) bool {
	only := s.quota.full(p)
	if !only && s.quota.blobs < s.quota.most {
		return true
	}
	for i := len(s.entries) - 1; i >= 0; i-- {
		e := s.entries[i]
		if distance(s.self, e.key, key) <= 0 {
			return false
		}
		if s.displace(e, p, only, take) {
			if take && e.empty() {
				s.entries = slices.Delete(s.entries, i, i+1)
			}
			return true
		}
	}
	return false
}

// displace finds the blob of e that goes first, and with take drops it: knocks
// before records, the oldest first.
func (s *Store) displace(e *entry, p netip.Prefix, only, take bool) bool {
	for i, k := range e.knocks {
		if !only || k.from == p {
			if take {
				s.quota.remove(k.from)
				e.knocks = slices.Delete(e.knocks, i, i+1)
			}
			return true
		}
	}
	oldest := -1
	for i, it := range e.slots {
		if it != nil && (!only || it.from == p) && (oldest < 0 || it.since < e.slots[oldest].since) {
			oldest = i
		}
	}
	if oldest < 0 {
		return false
	}
	if take {
		s.drop(e, oldest)
	}
	return true
}

// drop forgets a slot's record; knocks at an inbox go with the last record.
func (s *Store) drop(e *entry, slot int) {
	s.quota.remove(e.slots[slot].from)
	e.slots[slot] = nil
	if e.empty() {
		for _, k := range e.knocks {
			s.quota.remove(k.from)
		}
		e.knocks = nil
	}
}

// empty tells whether no record is left.
func (e *entry) empty() bool { return e.slots == [len(e.slots)]*item{} }
