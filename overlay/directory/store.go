// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// MaxKnocks is how many knocks wait in one inbox during one epoch: more
	// strangers an hour than anybody wants to look at.
	MaxKnocks = 32

	// aheadEpochs and behindEpochs: a record is for the last, this or the next
	// hour; prekeys likewise with periods. That also covers owner, holder and
	// reader whose clocks are wrong by an hour each: whatever the three believe,
	// one epoch is current for all.
	aheadEpochs  = 1
	behindEpochs = 1
)

// Outcome says what became of a record or knock.
type Outcome uint8

// The outcomes. Only Stored and Same mean that the holder has it.
const (
	Stored     Outcome = 1 + iota
	Same               // it was there already; for knocks: this caller has one
	Stale              // one as new or newer is there
	Refused            // malformed, forged, or a knock where no inbox is
	WrongEpoch         // not of the last, this or the next hour by this clock
	Full               // nearer keys, or knocks with more work, fill the room
	Busy               // too many from there at once; come back later
)

// Valid tells whether o is one of the outcomes.
func (o Outcome) Valid() bool { return o >= Stored && o <= Busy }

// Held tells whether the holder has what it was given.
func (o Outcome) Held() bool { return o == Stored || o == Same }

// String returns the outcome's name as counters show it.
func (o Outcome) String() string {
	if !o.Valid() {
		return "unknown"
	}
	return [...]string{"stored", "same", "stale", "refused", "wrong epoch", "full", "busy"}[o-1]
}

// Event is what a machine of this package tells its driver.
type Event interface{ event() }

// Store holds what others publish near this node.
type Store struct {
	self    identity.NodeID
	rng     *rand.Rand
	entries []*entry // nearest to self first
	quota   quota

	neighbours []Candidate // by ID
	events     []Event
	next       time.Time // of Advance; zero = never

	outcomes  [Busy + 1]uint64
	handovers uint64
}

// entry is all that is held under one key.
type entry struct {
	key    Key
	slots  [identity.MaxSlots]*item
	knocks []knock
	spread spread
}

// item is a record held.
type item struct {
	raw   []byte
	info  identity.RecordInfo
	from  netip.Prefix
	since uint64 // order of arrival
}

type knock struct {
	raw   []byte
	token [16]byte
	slot  uint8
	work  int
	from  netip.Prefix
}

// NewStore returns an empty store of the node self. rng is for jitter.
func NewStore(self identity.NodeID, rng *rand.Rand) *Store {
	return &Store{self: self, rng: rng, quota: quota{most: MaxBlobs, share: MaxBlobsPrefix}}
}

// Put takes a record that came from its owner by routing. from is the network
// of the neighbour that brought it (PrefixOf), zero inside a private network
// and on the LAN. The store hands a new record on to the other holders within
// seconds. It does not keep b.
func (s *Store) Put(now time.Time, b []byte, from netip.Prefix) Outcome {
	o, _ := s.put(now, b, from, false)
	return o
}

// PutReplica takes a record that another holder handed over.
func (s *Store) PutReplica(now time.Time, b []byte, from netip.Prefix) Outcome {
	o, _ := s.put(now, b, from, true)
	return o
}

// put checks what is cheap first: two signatures are for records that would be
// kept.
func (s *Store) put(now time.Time, b []byte, from netip.Prefix, replica bool) (o Outcome, held uint64) {
	defer func() { s.outcomes[o]++ }()
	info, err := identity.PeekRecord(b)
	if err != nil {
		return Refused, 0
	}
	if e := info.EpochAt(now); info.Epoch > e+aheadEpochs || info.Epoch+behindEpochs < e {
		return WrongEpoch, 0
	}
	e := s.find(info.Key)
	var it *item
	if e != nil {
		it = e.slots[info.Slot]
	}
	if it != nil {
		if bytes.Equal(it.raw, b) {
			s.plan(now, e, replica, false)
			return Same, it.info.Sequence
		}
		if info.Sequence <= it.info.Sequence {
			return Stale, it.info.Sequence
		}
		held = it.info.Sequence
	}
	from = s.quota.name(from)
	if !s.quota.spend(now, from) {
		return Busy, held
	}
	if it == nil && !s.room(info.Key, from, blobsOf(b), false) {
		return Full, 0
	}
	raw := bytes.Clone(b)
	if info, err = identity.CheckRecord(raw); err != nil {
		return Refused, held
	}
	if it != nil {
		it.raw, it.info = raw, info // whom it counts for stays: an update costs no room
	} else {
		s.room(info.Key, from, blobsOf(b), true)
		if e = s.find(info.Key); e == nil {
			e = s.insert(info.Key)
		}
		e.slots[info.Slot] = &item{raw: raw, info: info, from: from, since: s.quota.add(from, blobsOf(b))}
	}
	s.plan(now, e, replica, true)
	s.wake(info.Expires)
	return Stored, info.Sequence
}

// Knock takes a knock. It needs the inbox's record here, and proof of work for
// that. One of each caller is kept, and in a full inbox those with most work.
func (s *Store) Knock(now time.Time, b []byte, from netip.Prefix) (o Outcome) {
	defer func() { s.outcomes[o]++ }()
	info, err := identity.PeekKnock(b)
	if err != nil {
		return Refused
	}
	e := s.find(info.Key)
	if e == nil || e.slots[info.Slot] == nil || !e.slots[info.Slot].info.Expires.After(now) {
		return Refused
	}
	from = s.quota.name(from)
	if !s.quota.spend(now, from) {
		return Busy
	}
	work := identity.CheckKnock(b, e.slots[info.Slot].info)
	if work < identity.KnockWork {
		return Refused
	}
	for _, k := range e.knocks {
		if k.token == info.Token {
			return Same
		}
	}
	if len(e.knocks) >= MaxKnocks {
		weak := weakest(e.knocks)
		if e.knocks[weak].work >= work {
			return Full
		}
		s.quota.remove(e.knocks[weak].from, 1)
		e.knocks = slices.Delete(e.knocks, weak, weak+1)
	} else if !s.room(info.Key, from, 1, true) {
		return Full
	}
	s.quota.add(from, 1)
	e.knocks = append(e.knocks, knock{raw: bytes.Clone(b), token: info.Token, slot: info.Slot, work: work, from: from})
	return Stored
}

// weakest returns the knock with least work, the newest of equals.
func weakest(list []knock) int {
	weak := 0
	for i, k := range list {
		if k.work <= list[weak].work {
			weak = i
		}
	}
	return weak
}

// Get returns the records under a key, by slot. The caller must not change
// them.
func (s *Store) Get(now time.Time, key Key) [][]byte {
	e := s.find(key)
	if e == nil {
		return nil
	}
	return e.records(now)
}

func (e *entry) records(now time.Time) [][]byte {
	var list [][]byte
	for _, it := range e.slots {
		if it != nil && it.info.Expires.After(now) {
			list = append(list, it.raw)
		}
	}
	return list
}

// Knocks returns the knocks of a slot to who proves to own its inbox, oldest
// first; nothing to others. They stay: several devices and lost answers are
// the owner's business. The caller must not change them.
func (s *Store) Knocks(now time.Time, key Key, slot uint8, proof []byte, from netip.Prefix) [][]byte {
	e := s.find(key)
	if e == nil || slot >= identity.MaxSlots || e.slots[slot] == nil || !s.quota.spend(now, s.quota.name(from)) {
		return nil
	}
	if !identity.CheckInboxOwner(e.slots[slot].info, proof, now) {
		return nil
	}
	var list [][]byte
	for _, k := range e.knocks {
		if k.slot == slot {
			list = append(list, k.raw)
		}
	}
	return list
}

// Receive handles a message that was delivered here and returns the bodies of
// the answers. from is as in Put. The error is ErrMessage, also for messages
// that are answers.
func (s *Store) Receive(now time.Time, body []byte, from netip.Prefix) ([][]byte, error) {
	m, err := Parse(body)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	switch m := m.(type) {
	case StoreMessage:
		a := StoredMessage{}
		for _, b := range m.Records {
			o, held := s.put(now, b, from, m.Replica)
			a.Lines = append(a.Lines, StoredLine{o, held})
		}
		out = append(out, a.Append(nil))
	case KnockMessage:
		a := StoredMessage{Lines: []StoredLine{{Outcome: s.Knock(now, m.Knock, from)}}}
		out = append(out, a.Append(nil))
	case FetchMessage:
		parts := splitRecords(s.Get(now, m.Key))
		for i, p := range parts {
			out = append(out, RecordsMessage{i, len(parts), p}.Append(nil))
		}
	case CollectMessage:
		parts := split(s.Knocks(now, m.Key, m.Slot, m.Proof, from), knocksPerMessage)
		for i, p := range parts {
			out = append(out, KnocksMessage{i, len(parts), p}.Append(nil))
		}
	default:
		return nil, ErrMessage
	}
	return out, nil
}

// StoreStatus is what a store tells about itself.
type StoreStatus struct {
	Keys, Records, Knocks int
	Bytes                 int
	Handovers             uint64            // events of this kind so far
	Outcomes              map[string]uint64 // of Put, PutReplica and Knock so far
}

// Status counts what is held.
func (s *Store) Status() StoreStatus {
	st := StoreStatus{Keys: len(s.entries), Handovers: s.handovers, Outcomes: map[string]uint64{}}
	for _, e := range s.entries {
		for _, it := range e.slots {
			if it != nil {
				st.Records++
				st.Bytes += len(it.raw)
			}
		}
		for _, k := range e.knocks {
			st.Knocks++
			st.Bytes += len(k.raw)
		}
	}
	for o, n := range s.outcomes {
		if n > 0 {
			st.Outcomes[Outcome(o).String()] = n
		}
	}
	return st
}
