// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
)

const (
	// maxReceipts a queue, of 64 blobs each: a full queue of the smallest blobs.
	// The oldest go first.
	maxReceipts = 16
)

// Store holds what others write near this node.
type Store struct {
	self   identity.NodeID
	rng    *rand.Rand
	shelf  Shelf
	queues []*queue // nearest to self first
	quota  quota
	number uint64 // of the last body put on the shelf

	neighbours []directory.Candidate // by ID
	pending    map[uint32]*offered   // questions to other holders
	ref        uint32
	wanted     []want // pieces to be handed over
	events     []Event
	next       time.Time // of Advance; zero = never

	outcomes [directory.Busy + 1]uint64
	handed   uint64
}

// queue is all that is held of one place.
type queue struct {
	key      [32]byte
	place    [32]byte
	from     netip.Prefix // of who began it
	pieces   []*item      // oldest first
	receipts []heldReceipt
	bytes    int
	spread   spread
}

// item is a piece held. Its bytes are on the shelf.
type item struct {
	number  uint64
	name    name
	blob    ID
	size    int
	expires time.Time
	from    netip.Prefix
}

type heldReceipt struct {
	receipt
	expires time.Time
	from    netip.Prefix
	fresh   bool // to be handed to the other holders
}

// NewStore returns an empty store of the node self, with the bodies of pieces on
// shelf. rng is for jitter.
func NewStore(self identity.NodeID, shelf Shelf, rng *rand.Rand) *Store {
	return &Store{
		self: self, shelf: shelf, rng: rng,
		quota:   quota{most: MaxBytes, share: MaxBytesPrefix, queues: MaxQueues, each: MaxQueuesPrefix},
		pending: map[uint32]*offered{},
	}
}

// Limit sets how many bytes the store holds at most; zero and less = none. It is
// called before anything is held.
func (s *Store) Limit(bytes int64) {
	s.quota.most = int(max(0, min(bytes, MaxBytes)))
	s.quota.share = min(s.quota.share, s.quota.most)
}

// Receive handles a message that was delivered here and returns the bodies of
// the answers. from is the network of the neighbour that brought it
// (directory.PrefixOf), zero inside a private network and on the LAN. It does
// not keep body. The error is ErrMessage, also for messages that are answers.
func (s *Store) Receive(now time.Time, body []byte, from netip.Prefix) ([][]byte, error) {
	m, err := parse(body)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case putMessage:
		return [][]byte{takenMessage{s.put(now, m.piece, from, m.replica)}.append(nil)}, nil
	case dropMessage:
		return [][]byte{takenMessage{s.drop(now, m.receipt, from, m.replica)}.append(nil)}, nil
	case askMessage:
		return s.answer(now, m), nil
	case haveMessage:
		return [][]byte{s.have(now, m).append(nil)}, nil
	}
	return nil, ErrMessage
}

// put takes a piece. It checks what is cheap first: the signature is for pieces
// that would be kept.
func (s *Store) put(now time.Time, b []byte, from netip.Prefix, replica bool) (o Outcome) {
	defer func() { s.outcomes[o]++ }()
	p, err := parsePiece(b)
	if err != nil {
		return directory.Refused
	}
	if p.created > hour(now)+skewHours || !p.expires().After(now) {
		return directory.WrongEpoch
	}
	place := placeOf(p.key)
	q := s.find(place)
	if q != nil && (q.has(p.name()) || q.dropped(p.blob)) {
		s.plan(now, q, replica, false)
		return directory.Same
	}
	from = s.quota.name(from)
	if !s.quota.spend(now, from) {
		return directory.Busy
	}
	if q != nil && q.bytes+len(b) > MaxQueue || !s.room(place, from, len(b), false) {
		return directory.Full
	}
	if !p.genuine() {
		return directory.Refused
	}
	s.number++
	if s.shelf.Put(s.number, bytes.Clone(b)) != nil {
		return directory.Full
	}
	s.room(place, from, len(b), true)
	if q = s.find(place); q == nil {
		q = s.insert(p.key, place, from)
	}
	q.pieces = append(q.pieces, &item{
		number: s.number, name: p.name(), blob: p.blob, size: len(b), expires: p.expires(), from: from,
	})
	q.bytes += len(b)
	s.quota.add(from, len(b))
	s.plan(now, q, replica, true)
	s.wake(p.expires())
	return directory.Stored
}

// drop takes a receipt: the blobs that it names go, and stay away.
func (s *Store) drop(now time.Time, b []byte, from netip.Prefix, replica bool) (o Outcome) {
	defer func() { s.outcomes[o]++ }()
	x, err := parseReceipt(b)
	if err != nil {
		return directory.Refused
	}
	place := placeOf(x.key)
	q := s.find(place)
	if q != nil {
		if i := slices.IndexFunc(q.receipts, func(h heldReceipt) bool { return bytes.Equal(h.raw, b) }); i >= 0 {
			q.receipts[i].fresh = q.receipts[i].fresh && !replica // another one hands it on
			return directory.Same
		}
	}
	from = s.quota.name(from)
	if !s.quota.spend(now, from) {
		return directory.Busy
	}
	if !x.genuine() {
		return directory.Refused
	}
	if !s.room(place, from, len(b), true) {
		return directory.Full
	}
	if q = s.find(place); q == nil {
		q = s.insert(x.key, place, from)
	}
	if len(q.receipts) == maxReceipts {
		s.forgetReceipt(q, 0)
	}
	h := heldReceipt{receipt: x, expires: now.Add(Life + skewHours*time.Hour), from: from, fresh: !replica}
	h.raw = bytes.Clone(b)
	q.receipts = append(q.receipts, h)
	q.bytes += len(b)
	s.quota.add(from, len(b))
	for i := len(q.pieces) - 1; i >= 0; i-- {
		if slices.Contains(x.blobs, q.pieces[i].blob) {
			s.forgetPiece(q, i)
		}
	}
	s.plan(now, q, replica, true)
	s.wake(h.expires)
	return directory.Stored
}

func (q *queue) has(n name) bool {
	return slices.ContainsFunc(q.pieces, func(it *item) bool { return it.name == n })
}

// dropped tells whether a receipt names a blob.
func (q *queue) dropped(id ID) bool {
	return slices.ContainsFunc(q.receipts, func(h heldReceipt) bool { return slices.Contains(h.blobs, id) })
}

func (s *Store) forgetPiece(q *queue, i int) {
	it := q.pieces[i]
	q.pieces = slices.Delete(q.pieces, i, i+1)
	q.bytes -= it.size
	s.quota.add(it.from, -it.size)
	s.shelf.Delete(it.number)
}

func (s *Store) forgetReceipt(q *queue, i int) {
	h := q.receipts[i]
	q.receipts = slices.Delete(q.receipts, i, i+1)
	q.bytes -= len(h.raw)
	s.quota.add(h.from, -len(h.raw))
}

func (q *queue) empty() bool { return len(q.pieces)+len(q.receipts) == 0 }

// answer returns pieces that the asker does not have, oldest first.
func (s *Store) answer(now time.Time, m askMessage) (out [][]byte) {
	var list [][]byte
	left := 0
	if q := s.find(m.place); q != nil {
		for _, it := range q.pieces {
			if !it.expires.After(now) || slices.Contains(m.names, it.name) {
				continue
			}
			if len(list) == maxParts {
				left++
				continue
			}
			if b := s.shelf.Get(it.number); b != nil {
				list = append(list, b)
			}
		}
	}
	if len(list) == 0 {
		return [][]byte{piecesMessage{parts: 1}.append(nil)}
	}
	for i, b := range list {
		out = append(out, piecesMessage{i, len(list), left, b}.append(nil))
	}
	return out
}

// find returns the queue of a place, nil when there is none.
func (s *Store) find(place [32]byte) *queue {
	if i, ok := s.search(place); ok {
		return s.queues[i]
	}
	return nil
}

func (s *Store) search(place [32]byte) (int, bool) {
	return slices.BinarySearchFunc(s.queues, place, func(q *queue, k [32]byte) int { return distance(s.self, q.place, k) })
}

func (s *Store) insert(key, place [32]byte, from netip.Prefix) *queue {
	i, _ := s.search(place)
	q := &queue{key: key, place: place, from: from}
	s.quota.addQueues(from, 1)
	s.queues = slices.Insert(s.queues, i, q)
	return q
}

// victim is a piece, or with receipt a receipt, that has to make room.
type victim struct {
	q       *queue
	i       int
	receipt bool
}

// room tells whether n more bytes for place from p fit, and with take makes the
// room. What must go is what lies farthest from this node: others are nearer to
// it. Above its share a prefix displaces only its own.
func (s *Store) room(place [32]byte, p netip.Prefix, n int, take bool) bool {
	if !s.roomForQueue(place, p, false) {
		return false
	}
	var list []victim
	free := 0
	tight := func() (only, tight bool) {
		only = s.quota.over(p, n-free)
		return only, only || s.quota.bytes-free+n > s.quota.most
	}
	try := func(v victim, size int, from netip.Prefix) bool {
		only, tight := tight()
		if tight && (!only || from == p) {
			list, free = append(list, v), free+size
		}
		return tight
	}
	for i := len(s.queues) - 1; ; i-- {
		if _, tight := tight(); !tight {
			break
		}
		if i < 0 || distance(s.self, s.queues[i].place, place) <= 0 {
			return false
		}
		q := s.queues[i]
		for j := len(q.pieces) - 1; j >= 0 && try(victim{q, j, false}, q.pieces[j].size, q.pieces[j].from); j-- {
		}
		for j := len(q.receipts) - 1; j >= 0 && try(victim{q, j, true}, len(q.receipts[j].raw), q.receipts[j].from); j-- {
		}
	}
	if !take {
		return true
	}
	for _, v := range list { // from the end of each list, so the numbers stay true
		if v.receipt {
			s.forgetReceipt(v.q, v.i)
		} else {
			s.forgetPiece(v.q, v.i)
		}
	}
	if len(list) > 0 {
		s.sweep()
	}
	return s.roomForQueue(place, p, true)
}

// roomForQueue is the same for the number of queues: the farthest goes with all
// that is in it.
func (s *Store) roomForQueue(place [32]byte, p netip.Prefix, take bool) bool {
	only := s.quota.overQueues(p)
	if s.find(place) != nil || !only && len(s.queues) < s.quota.queues {
		return true
	}
	for i := len(s.queues) - 1; i >= 0 && distance(s.self, s.queues[i].place, place) > 0; i-- {
		q := s.queues[i]
		if only && q.from != p {
			continue
		}
		for take && len(q.pieces) > 0 {
			s.forgetPiece(q, len(q.pieces)-1)
		}
		for take && len(q.receipts) > 0 {
			s.forgetReceipt(q, len(q.receipts)-1)
		}
		if take {
			s.sweep()
		}
		return true
	}
	return false
}

// sweep forgets queues in which nothing is left.
func (s *Store) sweep() {
	s.queues = slices.DeleteFunc(s.queues, func(q *queue) bool {
		if q.empty() {
			s.quota.addQueues(q.from, -1)
		}
		return q.empty()
	})
}

// StoreStatus is what a store tells about itself.
type StoreStatus struct {
	Queues, Pieces, Receipts int
	Bytes                    int
	Handed                   uint64            // pieces handed to other holders so far
	Outcomes                 map[string]uint64 // of pieces and receipts so far
}

// Status counts what is held.
func (s *Store) Status() StoreStatus {
	st := StoreStatus{Queues: len(s.queues), Bytes: s.quota.bytes, Handed: s.handed, Outcomes: map[string]uint64{}}
	for _, q := range s.queues {
		st.Pieces += len(q.pieces)
		st.Receipts += len(q.receipts)
	}
	for o, n := range s.outcomes {
		if n > 0 {
			st.Outcomes[Outcome(o).String()] = n
		}
	}
	return st
}

// distance compares the XOR distances of a and b to target: -1, 0 or +1.
func distance(target, a, b [32]byte) int {
	for i := range target {
		if x, y := a[i]^target[i], b[i]^target[i]; x != y {
			return int(x) - int(y)
		}
	}
	return 0
}
