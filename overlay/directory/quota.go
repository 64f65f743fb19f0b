// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
)

const (
	// MaxBlobs bounds a store's memory: records and knocks of at most 1 KiB,
	// 4 MiB in all; prekeys count as four. A network where everybody has three reach secrets makes
	// each node hold about 100, and 16 of prekeys.
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

// blobsOf returns as how many blobs a record counts.
func blobsOf(b []byte) int { return (len(b) + 1023) / 1024 }

// add counts n blobs and returns their place in the order of arrival.
func (q *quota) add(p netip.Prefix, n int) uint64 {
	q.blobs += n
	q.arrived++
	if s := q.of(p); s != nil {
		s.blobs += n
	}
	return q.arrived
}

func (q *quota) remove(p netip.Prefix, n int) {
	q.blobs -= n
	if s := q.of(p); s != nil {
		s.blobs = max(s.blobs-n, 0)
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

// over tells whether n more blobs from p are above p's share.
func (q *quota) over(p netip.Prefix, n int) bool {
	s := q.of(p)
	return s != nil && s.blobs+n > q.share
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

// victim is a knock, or the record of a slot, that has to make room.
type victim struct {
	e     *entry
	i     int
	knock bool
	blobs int
	from  netip.Prefix
}

// room tells whether n more blobs under key from p fit, and with take makes the
// room. What must go is what lies farthest from this node: others are nearer to
// it. Above its share a prefix displaces only its own.
func (s *Store) room(key Key, p netip.Prefix, n int, take bool) bool {
	var list []victim
	freed := 0
	for i := len(s.entries) - 1; ; i-- {
		if !s.quota.over(p, n-freed) && s.quota.blobs-freed+n <= s.quota.most {
			break
		}
		if i < 0 || distance(s.self, s.entries[i].key, key) <= 0 {
			return false
		}
		for _, v := range s.entries[i].victims() {
			only := s.quota.over(p, n-freed)
			if !only && s.quota.blobs-freed+n <= s.quota.most {
				break
			}
			if !only || v.from == p {
				list, freed = append(list, v), freed+v.blobs
			}
		}
	}
	if !take {
		return true
	}
	for _, v := range slices.Backward(list) { // knocks by falling number
		switch {
		case !v.knock:
			s.drop(v.e, v.i)
		case v.i < len(v.e.knocks): // they may have gone with their inbox
			s.quota.remove(v.from, 1)
			v.e.knocks = slices.Delete(v.e.knocks, v.i, v.i+1)
		}
	}
	if len(list) > 0 {
		s.entries = slices.DeleteFunc(s.entries, (*entry).empty)
	}
	return true
}

// victims lists what goes first: knocks before records, the oldest first.
func (e *entry) victims() (list []victim) {
	for i, k := range e.knocks {
		list = append(list, victim{e, i, true, 1, k.from})
	}
	var slots []int
	for i, it := range e.slots {
		if it != nil {
			slots = append(slots, i)
		}
	}
	order.Sort(slots, func(a, b int) int { return cmp.Compare(e.slots[a].since, e.slots[b].since) })
	for _, i := range slots {
		list = append(list, victim{e, i, false, blobsOf(e.slots[i].raw), e.slots[i].from})
	}
	return list
}

// drop forgets a slot's record; knocks at an inbox go with the last record.
func (s *Store) drop(e *entry, slot int) {
	s.quota.remove(e.slots[slot].from, blobsOf(e.slots[slot].raw))
	e.slots[slot] = nil
	if e.empty() {
		for _, k := range e.knocks {
			s.quota.remove(k.from, 1)
		}
		e.knocks = nil
	}
}

// empty tells whether no record is left.
func (e *entry) empty() bool { return e.slots == [len(e.slots)]*item{} }
