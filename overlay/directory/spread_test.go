// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func neighbours(ids ...byte) (list []Candidate) {
	for _, n := range ids {
		list = append(list, Candidate{ID: node(n)})
	}
	return list
}

// handed returns to whom the next advances hand something, until the given
// time.
func handed(s *Store, until time.Time) (list []Handover) {
	for !s.Deadline().IsZero() && !s.Deadline().After(until) {
		s.Advance(s.Deadline())
		for _, ev := range drain(s.NextEvent) {
			list = append(list, ev.(Handover))
		}
	}
	return list
}

// What an owner published goes to the other holders within seconds, and then
// every half hour.
func TestHandover(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	crowd := neighbours(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
	s.SetNeighbours(now, crowd)
	b := record(t, d, 0, 1)
	for !s.among(keyOf(t, b), crowd, Copies) { // who is no holder has no rounds
		d = newDevice(t)
		b = record(t, d, 0, 1)
	}
	if s.Put(now, b, netip.Prefix{}); !s.Deadline().Before(now.Add(soon)) {
		t.Errorf("deadline after %v", s.Deadline().Sub(now))
	}
	list := handed(s, now.Add(soon))
	if len(list) != 1 || list[0].Key != keyOf(t, b) || len(list[0].Bodies) != 1 {
		t.Fatalf("%+v", list)
	}
	want := Replicas(keyOf(t, b), append(slices.Clone(crowd), Candidate{ID: s.self}), Copies)
	want = slices.DeleteFunc(want, func(id identity.NodeID) bool { return id == s.self })
	if !slices.Equal(list[0].To, want) {
		t.Errorf("to %v, want %v", list[0].To, want)
	}
	m, err := Parse(list[0].Bodies[0])
	if err != nil || !m.(StoreMessage).Replica {
		t.Errorf("%+v, %v", m, err)
	}
	// In a small network everybody has it.
	few := NewStore(node(1), newRand(1))
	few.SetNeighbours(now, crowd[:small-1])
	few.Put(now, b, netip.Prefix{})
	if list := handed(few, now.Add(soon)); len(list) != 1 || len(list[0].To) != small-1 {
		t.Errorf("in a small network: %+v", list)
	}
	// Unchanged, it is handed on in rounds.
	if n := len(handed(s, now.Add(round*4/5-time.Second))); n != 0 {
		t.Errorf("%d handovers before the round", n)
	}
	if n := len(handed(s, now.Add(time.Hour))); n < 1 || n > 2 {
		t.Errorf("%d rounds in an hour", n)
	}
	// A newer one is handed on at once again.
	at := now.Add(time.Hour)
	s.Put(at, record(t, d, 0, 2), netip.Prefix{})
	if n := len(handed(s, at.Add(soon))); n != 1 {
		t.Errorf("%d handovers of the newer record", n)
	}
}

// Another holder's replica saves this one its turn, but not for ever.
func TestHandoverSpared(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	s.SetNeighbours(now, neighbours(2, 3))
	b := record(t, d, 0, 1)
	if o := s.PutReplica(now, b, netip.Prefix{}); o != Stored {
		t.Fatal(o)
	}
	if n := len(handed(s, now.Add(soon))); n != 0 {
		t.Errorf("a replica is handed on at once: %d", n)
	}
	sp := &s.find(keyOf(t, b)).spread
	// Another holder hands it out a second before this one would.
	pretend := func(turns int) (handedOn bool) {
		for range turns {
			turn := sp.at
			s.PutReplica(turn.Add(-time.Second), b, netip.Prefix{})
			if len(handed(s, turn.Add(time.Minute))) > 0 {
				return true
			}
		}
		return false
	}
	if pretend(maxSpared) {
		t.Error("not spared")
	}
	if !pretend(1) {
		t.Error("a neighbour prevents every round")
	}
	// A newer record is no pretence: it came from the owner.
	at := now.Add(time.Minute)
	s = NewStore(node(1), newRand(2))
	s.SetNeighbours(now, neighbours(2, 3))
	s.PutReplica(now, b, netip.Prefix{})
	s.PutReplica(now, b, netip.Prefix{})
	sp = &s.find(keyOf(t, b)).spread
	b = record(t, d, 0, 2)
	if o := s.PutReplica(at, b, netip.Prefix{}); o != Stored || sp.spared != 0 || sp.at.Before(at.Add(round*4/5)) {
		t.Errorf("%v, next turn in %v, spared %d times", o, sp.at.Sub(at), sp.spared)
	}
	// Who left a publication to another holder looks after it earlier, and leaves
	// that to another only once.
	at = at.Add(time.Minute)
	b = record(t, d, 0, 3)
	s.Put(at, b, netip.Prefix{})
	s.PutReplica(at.Add(time.Millisecond), b, netip.Prefix{})
	if n := len(handed(s, at.Add(soon))); n != 0 || sp.at.After(at.Add(doubt*6/5+time.Second)) {
		t.Errorf("%d handovers of what another has handed on; next turn in %v", n, sp.at.Sub(at))
	}
	if pretend(1) || !pretend(1) {
		t.Error("a neighbour prevents that others get a publication")
	}
}

// When a nearer node appears, or a holder goes, the nearest hands the key over;
// the others leave it to that one.
func TestHandoverToNewHolder(t *testing.T) {
	d := newDevice(t)
	b := record(t, d, 0, 1)
	key := keyOf(t, b)
	at := func(n byte) identity.NodeID { id := key; id[31] ^= n; return id } // the n-th nearest
	cand := func(ids ...byte) (list []Candidate) {
		for _, n := range ids {
			list = append(list, Candidate{ID: at(n)})
		}
		return list
	}
	eight := []byte{10, 20, 30, 40, 50, 60, 70, 80}
	far := []byte{201, 202, 203, 204, 205, 206, 207, 208, 209, 210} // so that it is no small network
	for self, hands := range map[byte]bool{10: true, 20: false, 30: false, 80: false} {
		others := slices.DeleteFunc(slices.Clone(eight), func(n byte) bool { return n == self })
		for what, c := range map[string]struct {
			then []byte
			to   byte
			some bool
		}{
			"a nearer node appears":  {append([]byte{1}, others...), 1, true},
			"a farther node appears": {append([]byte{99}, others...), 0, false},
			"nothing changes":        {others, 0, false},
			"the last goes, another is there": {func() []byte {
				return append(slices.DeleteFunc(slices.Clone(others), func(n byte) bool { return n == 70 }), 90)
			}(), 90, true},
		} {
			s := NewStore(at(self), newRand(1))
			s.SetNeighbours(now, cand(append(slices.Clone(others), far...)...))
			s.PutReplica(now, b, netip.Prefix{})
			s.SetNeighbours(now, cand(append(slices.Clone(c.then), far...)...))
			list := handed(s, now.Add(2*settle))
			if got := len(list) > 0; got != (hands && c.some) {
				t.Errorf("%s, node %d: %d handovers", what, self, len(list))
			} else if got && (len(list) != 1 || !slices.Equal(list[0].To, []identity.NodeID{at(c.to)})) {
				t.Errorf("%s, node %d: %+v", what, self, list)
			}
		}
	}
}

// Many keys go to a new neighbour in bursts with pauses.
func TestHandoverPaced(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	list := many(t, d, 3*maxBurst)
	for _, b := range list {
		s.PutReplica(now, b, netip.Prefix{})
	}
	s.SetNeighbours(now, neighbours(2))
	at := now.Add(2 * settle)
	s.Advance(at)
	if n := len(drain(s.NextEvent)); n != maxBurst {
		t.Errorf("%d at once", n)
	}
	if n := len(handed(s, at.Add(2*burstPause))); n != 2*maxBurst {
		t.Errorf("%d later", n)
	}
}

// world is a tiny network: every node knows the twelve nearest that live, two
// seconds late; messages take no time.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	now   time.Time
	nodes []*Store // alive
	made  int
	moved int // bodies handed over
}

func (w *world) add() {
	id := identity.NodeID{}
	for i := range id {
		id[i] = byte(w.rng.Uint32())
	}
	w.made++
	w.nodes = append(w.nodes, NewStore(id, newRand(uint64(w.made))))
}

func (w *world) look() {
	for _, s := range w.nodes {
		var all []Candidate
		for i, o := range w.nodes {
			if o != s {
				addr := netip.AddrFrom4([4]byte{byte(20 + i%60), byte(i), 1, 1})
				all = append(all, Candidate{ID: o.self, Addr: addr})
			}
		}
		slices.SortFunc(all, func(a, b Candidate) int { return distance(s.self, a.ID, b.ID) })
		s.SetNeighbours(w.now, all[:min(12, len(all))])
	}
}

// run drives all nodes to a time.
func (w *world) run(until time.Time) {
	for {
		var first *Store
		for _, s := range w.nodes {
			if d := s.Deadline(); !d.IsZero() && !d.After(until) && (first == nil || d.Before(first.Deadline())) {
				first = s
			}
		}
		if first == nil {
			w.now = until
			return
		}
		if w.now.Before(first.Deadline()) {
			w.now = first.Deadline()
		}
		first.Advance(w.now)
		for _, ev := range drain(first.NextEvent) {
			h := ev.(Handover)
			for _, to := range h.To {
				for _, o := range w.nodes {
					if o.self != to {
						continue
					}
					for _, b := range h.Bodies {
						w.moved++
						if _, err := o.Receive(w.now, b, netip.Prefix{}); err != nil {
							w.t.Fatal(err)
						}
					}
				}
			}
		}
	}
}

func (w *world) holders(key Key) (n int) {
	for _, s := range w.nodes {
		if len(s.Get(w.now, key)) > 0 {
			n++
		}
	}
	return n
}

// Eight holders stay eight while every node of the network is replaced.
func TestReplicationUnderChurn(t *testing.T) {
	d := newDevice(t)
	w := &world{t: t, rng: newRand(7), now: now}
	for range 40 {
		w.add()
	}
	w.look()
	var keys []Key
	for _, b := range many(t, d, 12) {
		key := keyOf(t, b)
		keys = append(keys, key)
		slices.SortFunc(w.nodes, func(a, b *Store) int { return distance(key, a.self, b.self) })
		for _, s := range w.nodes[:3] { // three routes end at the three nearest
			s.Put(w.now, b, netip.Prefix{})
		}
	}
	w.run(now.Add(10 * time.Second))
	for _, k := range keys {
		if n := w.holders(k); n < Copies {
			t.Errorf("%d holders after 10 s", n)
		}
	}
	start, moved := w.now, w.moved
	checks, low := 0, 0
	for minute := range 60 {
		at := start.Add(time.Duration(minute) * time.Minute)
		w.run(at)
		dead := w.rng.IntN(len(w.nodes))
		w.nodes = slices.Delete(w.nodes, dead, dead+1)
		w.add()
		w.run(at.Add(2 * time.Second))
		w.look()
		w.run(at.Add(12 * time.Second))
		for _, k := range keys {
			n := w.holders(k)
			if checks++; n < Copies {
				low++
			}
			if n < Copies-2 {
				t.Fatalf("minute %d: %d holders", minute, n)
			}
		}
	}
	t.Logf("below %d in %d of %d checks; %.1f KiB handed over for a key and minute", Copies, low, checks, float64(w.moved-moved)/float64(len(keys))/60)
	if low*50 > checks {
		t.Errorf("fewer than %d holders in %d of %d checks", Copies, low, checks)
	}
}

// Same seed, same trace.
func TestStoreTrace(t *testing.T) {
	d := newDevice(t)
	list := many(t, d, 30)
	trace := func() (out string) {
		s := NewStore(node(1), newRand(3))
		s.SetNeighbours(now, neighbours(9, 2, 7, 4, 5, 6, 3, 8, 1, 11))
		for _, b := range list {
			s.Put(now, b, prefixOf("198.51.100.1"))
		}
		for _, h := range handed(s, now.Add(30*time.Minute)) {
			out += fmt.Sprintf("%x %v\n", h.Key[:4], h.To)
		}
		return out
	}
	if a, b := trace(), trace(); a != b || len(a) == 0 {
		t.Error("two runs differ")
	}
}
