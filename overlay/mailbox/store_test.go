// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
)

func newStore() *Store { return NewStore(identity.NodeID{1}, new(Memory), newRand(1)) }

func pieces(t testing.TB, q Queue, at time.Time, blob []byte) [][]byte {
	t.Helper()
	list, err := cut(q, at, blob)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// put gives a store one piece from a network.
func put(t testing.TB, s *Store, at time.Time, b []byte, from string) Outcome {
	t.Helper()
	var p netip.Prefix
	if from != "" {
		p = directory.PrefixOf(netip.MustParseAddr(from))
	}
	out, err := s.Receive(at, putMessage{piece: b}.append(nil), p)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(out[0])
	if err != nil {
		t.Fatal(err)
	}
	return m.(takenMessage).outcome
}

// What is forged, stale, oversized or of another time is refused, and counted.
func TestPutBad(t *testing.T) {
	q := queueOf(1, now)
	good := pieces(t, q, now, blobOf(Medium, 1))[0]
	edit := func(at int, x byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= x
		return b
	}
	for _, c := range []struct {
		what string
		b    []byte
		want Outcome
	}{
		{"good", good, directory.Stored},
		{"again", good, directory.Same},
		{"content", edit(100, 1), directory.Same}, // of a piece that is here: not looked at
		{"signature", edit(len(good)-1, 1), directory.Same},
		{"another blob's name", edit(40, 1), directory.Refused},
		{"another queue", edit(5, 1), directory.Refused},
		{"cut", good[:len(good)-1], directory.Refused},
		{"longer", append(bytes.Clone(good), 0), directory.Refused},
		{"version 2", edit(0, 3), directory.Refused},
		{"size 3", edit(53, 2), directory.Refused},
		{"part 3 of 2", edit(54, 3), directory.Refused},
		{"nothing", nil, directory.Refused},
		{"two hours ahead", pieces(t, q, now.Add(2*time.Hour), blobOf(Small, 2))[0], directory.WrongEpoch},
		{"an hour ahead", pieces(t, q, now.Add(time.Hour), blobOf(Small, 3))[0], directory.Stored},
		{"14 days old", pieces(t, q, now.Add(-Life), blobOf(Small, 4))[0], directory.WrongEpoch},
		{"13 days old", pieces(t, q, now.Add(-Life+24*time.Hour), blobOf(Small, 5))[0], directory.Stored},
	} {
		s := newStore()
		if c.want == directory.Same {
			put(t, s, now, good, "")
		}
		if o := put(t, s, now, c.b, "203.0.113.1"); o != c.want || s.Status().Outcomes[o.String()] == 0 {
			t.Errorf("%s: %v, want %v", c.what, o, c.want)
		}
	}
	if _, err := newStore().Receive(now, takenMessage{directory.Stored}.append(nil), netip.Prefix{}); err == nil {
		t.Error("an answer as a question was taken")
	}
	if _, err := newStore().Receive(now, []byte{0x99}, netip.Prefix{}); err == nil {
		t.Error("nonsense was taken")
	}
}

// A queue has its limit, and reading makes room.
func TestQueueFull(t *testing.T) {
	s, q := newStore(), queueOf(1, now)
	n := 0
	for ; n < 2000; n++ {
		b := blobOf(Small, 1)
		b[0], b[1] = byte(n), byte(n>>8)
		o := put(t, s, now, pieces(t, q, now, b)[0], "")
		if o == directory.Full {
			break
		}
		if o != directory.Stored {
			t.Fatal(o)
		}
	}
	if st := s.Status(); st.Bytes > MaxQueue || st.Bytes < MaxQueue-2*Small {
		t.Errorf("%d bytes in %d pieces", st.Bytes, n)
	}
	if o := put(t, s, now, pieces(t, queueOf(2, now), now, blobOf(Large, 1))[0], ""); o != directory.Stored {
		t.Errorf("another queue: %v", o)
	}
}

// A flood from one prefix displaces what came from it, and nothing else; when a
// node is full, the farthest queue goes.
func TestFlood(t *testing.T) {
	s := newStore()
	s.quota.most, s.quota.share = 40<<10, 10<<10
	blob := blobOf(Small, 1)
	honest := map[byte]Queue{}
	for i := range byte(12) {
		honest[i] = queueOf(i, now)
		if o := put(t, s, now, pieces(t, honest[i], now, blob)[0], "203.0."+string(rune('0'+i%10))+".1"); o != directory.Stored {
			t.Fatal(o)
		}
	}
	counts := map[Outcome]int{}
	for i := range byte(100) {
		counts[put(t, s, now, pieces(t, queueOf(100+i, now), now, blob)[0], "198.51.100.7")]++
	}
	for i, q := range honest {
		if s.find(q.Place()) == nil {
			t.Errorf("the flood displaced %d", i)
		}
	}
	if counts[directory.Full] == 0 || s.quota.bytes > 12*1200+10<<10 {
		t.Errorf("%v, %d bytes", counts, s.quota.bytes)
	}
	// Far queues go first, receipts too.
	far := s.queues[len(s.queues)-1]
	s.quota.most = s.quota.bytes
	near := queueOf(0, now)
	for i := byte(0); distance(s.self, near.Place(), far.place) > 0; i++ {
		near = queueOf(200+i, now)
	}
	if o := put(t, s, now, pieces(t, near, now, blobOf(Small, 7))[0], "192.0.2.1"); o != directory.Stored || s.find(far.place) != nil {
		t.Errorf("%v; the farthest is still there: %v", o, s.find(far.place) != nil)
	}
	if s.quota.bytes > s.quota.most {
		t.Errorf("%d bytes, at most %d", s.quota.bytes, s.quota.most)
	}
	// Only signatures are paid for.
	burst := map[Outcome]int{}
	s = newStore()
	good := pieces(t, queueOf(1, now), now, blob)[0]
	for i := range putBurst + 20 {
		b := bytes.Clone(good)
		b[38], b[39] = byte(i), byte(i>>8)
		burst[put(t, s, now, b, "198.51.100.7")]++
	}
	if burst[directory.Refused] != putBurst || burst[directory.Busy] != 20 {
		t.Errorf("%v", burst)
	}
	if o := put(t, s, now.Add(time.Second), good, "198.51.100.7"); o != directory.Stored {
		t.Errorf("a second later: %v", o)
	}
}

// Queues are few however small they are, since each costs time: a flood of
// receipts, the smallest that begins one, displaces what came from its prefix.
func TestQueuesBounded(t *testing.T) {
	s := newStore()
	s.quota.queues, s.quota.each = 24, 8
	blob := blobOf(Small, 1)
	drop := func(i byte, from netip.Prefix) Outcome {
		r := makeReceipts(queueOf(i, now), []ID{IDOf(blob)})[0]
		out, err := s.Receive(now, dropMessage{receipt: r}.append(nil), from)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := parse(out[0])
		return m.(takenMessage).outcome
	}
	var honest []Queue
	for i := range byte(12) {
		honest = append(honest, queueOf(i, now))
		put(t, s, now, pieces(t, honest[i], now, blob)[0], "203.0."+string(rune('0'+i%10))+".1")
	}
	flood := directory.PrefixOf(netip.MustParseAddr("198.51.100.7"))
	counts := map[Outcome]int{}
	for i := range byte(100) {
		counts[drop(100+i, flood)]++
	}
	if st := s.Status(); st.Queues != 20 || counts[directory.Full] == 0 || counts[directory.Stored] < 9 || s.quota.of(flood).queues != 8 {
		t.Errorf("%d queues, %d of the flood, %v", st.Queues, s.quota.of(flood).queues, counts)
	}
	for i, q := range honest {
		if s.find(q.Place()) == nil {
			t.Errorf("the flood displaced %d", i)
		}
	}
	for i := range byte(100) { // from inside a private network there is the one limit
		drop(i, netip.Prefix{})
	}
	if st := s.Status(); st.Queues != 24 {
		t.Errorf("%d queues, at most 24", st.Queues)
	}
	s.Advance(now.Add(2 * Life))
	if st := s.Status(); st.Queues != 0 || st.Bytes != 0 || s.quota.of(flood).queues != 0 {
		t.Errorf("not given back: %+v, %d", st, s.quota.of(flood).queues)
	}
}

// Receipts delete, and keep deleted what another holder brings back.
func TestReceipts(t *testing.T) {
	s, q := newStore(), queueOf(1, now)
	blob, other := blobOf(Large, 1), blobOf(Small, 2)
	all := append(pieces(t, q, now, blob), pieces(t, q, now, other)...)
	for _, p := range all {
		put(t, s, now, p, "")
	}
	drop := func(b []byte) Outcome {
		t.Helper()
		out, err := s.Receive(now, dropMessage{receipt: b}.append(nil), netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		m, _ := parse(out[0])
		return m.(takenMessage).outcome
	}
	r := makeReceipts(q, []ID{IDOf(blob)})[0]
	forged := bytes.Clone(r)
	forged[40] ^= 1
	foreign := makeReceipts(queueOf(2, now), []ID{IDOf(blob)})[0]
	if o := drop(forged); o != directory.Refused || s.Status().Pieces != 6 {
		t.Errorf("forged: %v, %d pieces", o, s.Status().Pieces)
	}
	if o := drop(foreign); o != directory.Stored || s.Status().Pieces != 6 { // of a queue of its own
		t.Errorf("another queue's: %v, %d pieces", o, s.Status().Pieces)
	}
	if o := drop(r); o != directory.Stored || s.Status().Pieces != 1 {
		t.Errorf("%v, %d pieces", o, s.Status().Pieces)
	}
	if o := drop(r); o != directory.Same {
		t.Errorf("again: %v", o)
	}
	if o := put(t, s, now, all[0], ""); o != directory.Same || s.Status().Pieces != 1 {
		t.Errorf("brought back: %v, %d pieces", o, s.Status().Pieces)
	}
	// To a holder that still has it, the receipt is shown.
	w := s.have(now, haveMessage{place: q.Place(), names: []name{{1}, nameOf(t, all[0])}})
	if len(w.receipts) != 1 || !bytes.Equal(w.receipts[0], r) || len(w.names) != 1 {
		t.Errorf("%d receipts, %d names", len(w.receipts), len(w.names))
	}
	// Bounded, the oldest first; and over after their time.
	for i := range byte(maxReceipts + 3) {
		drop(makeReceipts(q, []ID{{i}})[0])
	}
	if n := len(s.find(q.Place()).receipts); n != maxReceipts || s.find(q.Place()).dropped(IDOf(blob)) {
		t.Errorf("%d receipts", n)
	}
	for !s.Deadline().IsZero() {
		s.Advance(s.Deadline())
		for _, ok := s.NextEvent(); ok; _, ok = s.NextEvent() {
		}
	}
	if st := s.Status(); st.Bytes != 0 || st.Queues != 0 || len(s.shelf.(*Memory).m) != 0 {
		t.Errorf("after their time: %+v", st)
	}
}

func nameOf(t testing.TB, b []byte) name {
	t.Helper()
	p, err := parsePiece(b)
	if err != nil {
		t.Fatal(err)
	}
	return p.name()
}

func TestSourcesBounded(t *testing.T) {
	var q quota
	q.share = 1
	for i := range 3 * maxSources {
		p := q.name(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
		q.spend(now, p)
	}
	if len(q.sources) != maxSources+1 {
		t.Errorf("%d sources", len(q.sources))
	}
	if q.forget(now.Add(time.Hour)); len(q.sources) != 0 {
		t.Errorf("%d sources left", len(q.sources))
	}
}
