// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func TestPut(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	b := record(t, d, 0, 5)
	key := keyOf(t, b)
	from := prefixOf("198.51.100.1")

	step := func(what string, b []byte, want Outcome, held []byte) {
		t.Helper()
		if got := s.Put(now, b, from); got != want {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
		if list := s.Get(now, key); len(list) != 1 || !bytes.Equal(list[0], held) {
			t.Fatalf("%s: another record is held", what)
		}
	}
	step("first", b, Stored, b)
	step("again", b, Same, b)
	newer := record(t, d, 0, 6)
	step("newer", newer, Stored, newer)
	step("replayed", b, Stale, newer)
	step("as new, but another", record(t, d, 0, 6), Stale, newer)
	forged := bytes.Clone(record(t, d, 0, 7))
	forged[500] ^= 1
	step("forged", forged, Refused, newer)
	step("cut off", b[:1005], Refused, newer)
	step("oversized", append(bytes.Clone(b), make([]byte, 4000)...), Refused, newer)
	step("nothing", nil, Refused, newer)

	// What is held does not follow the caller's buffer.
	later := record(t, d, 0, 8)
	want := bytes.Clone(later)
	s.Put(now, later, from)
	clear(later)
	if list := s.Get(now, key); len(list) != 1 || !bytes.Equal(list[0], want) {
		t.Error("the store keeps the caller's buffer")
	}
	if st := s.Status(); st.Records != 1 || st.Keys != 1 || st.Bytes != identity.RecordSize || st.Outcomes["stale"] != 2 || st.Outcomes["refused"] != 4 {
		t.Errorf("%+v", st)
	}
}

// Slots stand beside each other, in order; each has its own sequence.
func TestPutSlots(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	for _, slot := range []uint8{4, 0, 2, 1, 3} {
		if o := s.Put(now, recordFor(t, d, d.Reach(), slot, 0, uint64(9-slot)), netip.Prefix{}); o != Stored {
			t.Fatal(o)
		}
	}
	list := s.Get(now, keyOf(t, record(t, d, 0, 1)))
	if len(list) != identity.MaxSlots {
		t.Fatalf("%d records", len(list))
	}
	for i, b := range list {
		if b[1] != byte(i) {
			t.Errorf("slot %d at place %d", b[1], i)
		}
	}
}

// Whatever owner, holder and reader believe within an hour of the truth, the
// true epoch's record is made, kept and asked for.
func TestPutEpochs(t *testing.T) {
	d := newDevice(t)
	for epochs := -4; epochs <= 4; epochs++ {
		s := NewStore(node(1), newRand(1))
		b := record(t, d, epochs, 1)
		want := WrongEpoch
		if epochs >= -1 && epochs <= 1 {
			want = Stored
		}
		if got := s.Put(now, b, netip.Prefix{}); got != want {
			t.Errorf("%+d: %v, want %v", epochs, got, want)
		}
	}
	b := record(t, d, 0, 1)
	for skew := -1; skew <= 1; skew++ {
		at := now.Add(time.Duration(skew) * time.Hour)
		if got := NewStore(node(1), newRand(1)).Put(at, b, netip.Prefix{}); got != Stored {
			t.Errorf("holder's clock %+d h: %v", skew, got)
		}
	}
}

func TestExpiry(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	b := record(t, d, -1, 1)
	end := identity.EpochEnd(identity.Hour(now)) // the epoch behind the record's own
	if o := s.Put(now, b, netip.Prefix{}); o != Stored {
		t.Fatal(o)
	}
	s.Put(now, record(t, d, 0, 1), netip.Prefix{})
	for s.Deadline().Before(end) {
		s.Advance(s.Deadline())
		drain(s.NextEvent)
	}
	if s.Get(end.Add(-time.Second), keyOf(t, b)) == nil {
		t.Error("gone before its time")
	}
	if s.Get(end, keyOf(t, b)) != nil {
		t.Error("given out after its time")
	}
	s.Advance(end)
	if st := s.Status(); st.Records != 1 || s.quota.blobs != 1 {
		t.Errorf("%+v, %d blobs", st, s.quota.blobs)
	}
	for !s.Deadline().IsZero() {
		s.Advance(s.Deadline())
		drain(s.NextEvent)
	}
	if st := s.Status(); st.Keys != 0 || s.quota.blobs != 0 {
		t.Errorf("%+v", st)
	}
}

// Farther keys make room for nearer ones, the farthest first, and never the
// other way round.
func TestEviction(t *testing.T) {
	d := newDevice(t)
	self := node(0x55)
	s := NewStore(self, newRand(1))
	s.quota.most = 10
	list := many(t, d, 40)
	for _, b := range list {
		s.Put(now, b, netip.Prefix{})
		if s.quota.blobs > 10 {
			t.Fatalf("%d blobs", s.quota.blobs)
		}
	}
	slices.SortFunc(list, func(a, b []byte) int { return distance(self, keyOf(t, a), keyOf(t, b)) })
	for i, b := range list {
		if got := s.Get(now, keyOf(t, b)) != nil; got != (i < 10) {
			t.Errorf("the %d. nearest is held: %v", i, got)
		}
	}
	if o := s.Put(now, list[10], netip.Prefix{}); o != Full {
		t.Errorf("a farther one: %v", o)
	}
	// A newer record needs no room.
	i := slices.IndexFunc(s.entries, func(e *entry) bool { return e.key == keyOf(t, list[9]) })
	secret := func() identity.Secret {
		for i := range 40 {
			sec := identity.Secret{0: 1, 1: byte(i)}
			if identity.RecordKey(sec, d.ID(), identity.Hour(now)) == s.entries[9].key {
				return sec
			}
		}
		return identity.Secret{}
	}()
	if o := s.Put(now, recordFor(t, d, secret, 0, 0, 2), netip.Prefix{}); i != 9 || o != Stored {
		t.Errorf("place %d, %v", i, o)
	}
	// At one key the oldest goes first.
	two := NewStore(self, newRand(1))
	two.quota.most = 3
	far := list[39]
	for _, slot := range []uint8{2, 0} {
		two.Put(now, recordFor(t, d, secretOf(t, d, far), slot, 0, 1), netip.Prefix{})
	}
	two.Put(now, list[0], netip.Prefix{})
	two.Put(now, list[1], netip.Prefix{})
	if left := two.Get(now, keyOf(t, far)); len(left) != 1 || left[0][1] != 0 {
		t.Errorf("%d left", len(left))
	}
}

func secretOf(t testing.TB, d *identity.Device, b []byte) identity.Secret {
	t.Helper()
	for i := range 1 << 16 {
		s := identity.Secret{0: 1, 1: byte(i), 2: byte(i >> 8)}
		if identity.RecordKey(s, d.ID(), identity.Hour(now)) == keyOf(t, b) {
			return s
		}
	}
	t.Fatal("not one of many")
	return identity.Secret{}
}

// A flood through one prefix takes its share and displaces only its own.
func TestFloodFromOnePrefix(t *testing.T) {
	d := newDevice(t)
	self := node(0x55)
	s := NewStore(self, newRand(1))
	s.quota.most, s.quota.share = 24, 6
	list := many(t, d, 60)
	honest, flood := list[:12], list[12:]
	for i, b := range honest {
		from := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i), 0}), 24)
		if o := s.Put(now, b, from); o != Stored {
			t.Fatal(o)
		}
	}
	full := 0
	for _, b := range flood {
		switch o := s.Put(now, b, prefixOf("198.51.100.7")); o {
		case Full:
			full++
		case Stored:
		default:
			t.Fatal(o)
		}
	}
	for _, b := range honest {
		if s.Get(now, keyOf(t, b)) == nil {
			t.Error("the flood displaced another's record")
		}
	}
	if s.quota.blobs != 18 || full == 0 {
		t.Errorf("%d blobs, %d refused", s.quota.blobs, full)
	}
	// The private network's members are not counted.
	for _, b := range flood[:10] {
		s.Put(now, b, netip.Prefix{})
	}
	if s.quota.blobs <= 18 {
		t.Errorf("%d blobs", s.quota.blobs)
	}
}

// Checks are paid for: a flood of forgeries costs its tokens and then nothing.
func TestFloodOfForgeries(t *testing.T) {
	d := newDevice(t)
	s := NewStore(node(1), newRand(1))
	b := record(t, d, 0, 5)
	counts := map[Outcome]int{}
	for i := range putBurst + 50 {
		bad := bytes.Clone(b)
		bad[300], bad[301], bad[302] = byte(i), byte(i>>8), bad[302]^1
		counts[s.Put(now, bad, prefixOf("198.51.100.7"))]++
	}
	if counts[Refused] != putBurst || counts[Busy] != 50 {
		t.Errorf("%v", counts)
	}
	if o := s.Put(now, b, prefixOf("203.0.113.1")); o != Stored {
		t.Errorf("another prefix: %v", o)
	}
	if o := s.Put(now.Add(time.Second), record(t, d, 0, 6), prefixOf("198.51.100.7")); o != Stored {
		t.Errorf("a second later: %v", o)
	}
}

// The number of prefixes told apart is bounded, and forgotten again.
func TestSourcesBounded(t *testing.T) {
	var q quota
	q.share = 5
	for i := range 3 * maxSources {
		p := q.name(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
		q.spend(now, p)
		q.add(p, 1)
		if i%2 == 0 {
			q.remove(p, 1)
		}
	}
	if len(q.sources) != maxSources+1 || !q.over(others(), 1) {
		t.Errorf("%d sources", len(q.sources))
	}
	q.forget(now.Add(time.Hour))
	if n := len(q.sources); n != maxSources/2+1 {
		t.Errorf("%d sources left", n)
	}
}

// knocks makes finished knocks at callee's inbox by strangers.
func knocks(t testing.TB, callee *identity.Device, inbox []byte, bits ...int) [][]byte {
	t.Helper()
	in, err := identity.OpenInbox(inbox, callee.ID(), now)
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, b := range bits {
		job, err := identity.MakeKnock(newDevice(t), in, identity.Greeting{Name: "Ann"})
		if err != nil {
			t.Fatal(err)
		}
		var k []byte
		for k == nil {
			k = job.Try(10_000, b)
		}
		list = append(list, k)
	}
	return list
}

func makeInbox(t testing.TB, d *identity.Device) []byte {
	t.Helper()
	b, err := identity.MakeInbox(d, 0, identity.Hour(now), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKnocks(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	inbox := makeInbox(t, d)
	key := keyOf(t, inbox)
	list := knocks(t, d, inbox, identity.KnockWork, identity.KnockWork, 4)
	from := prefixOf("198.51.100.1")
	if o := s.Knock(now, list[0], from); o != Refused {
		t.Errorf("before the inbox: %v", o)
	}
	s.Put(now, inbox, from)
	bad := bytes.Clone(list[0])
	bad[100] ^= 1
	for i, c := range []struct {
		b    []byte
		want Outcome
	}{{list[0], Stored}, {list[0], Same}, {list[1], Stored}, {list[2], Refused}, {bad, Refused}, {bad[:50], Refused}} {
		if o := s.Knock(now, c.b, from); o != c.want {
			t.Errorf("%d: %v, want %v", i, o, c.want)
		}
	}
	proof := identity.ProveInbox(d, 0, identity.Hour(now), now)
	if got := s.Knocks(now, key, 0, proof, from); len(got) != 2 || !bytes.Equal(got[0], list[0]) {
		t.Errorf("%d knocks for their owner", len(got))
	}
	for what, got := range map[string][][]byte{
		"a stranger": s.Knocks(now, key, 0, identity.ProveInbox(newDevice(t), 0, identity.Hour(now), now), from),
		"no proof":   s.Knocks(now, key, 0, nil, from),
		"late":       s.Knocks(now.Add(2*time.Hour), key, 0, proof, from),
		"other slot": s.Knocks(now, key, 1, proof, from),
		"wild slot":  s.Knocks(now, key, 99, proof, from),
		"other key":  s.Knocks(now, Key{1}, 0, proof, from),
	} {
		if len(got) != 0 {
			t.Errorf("%s gets %d knocks", what, len(got))
		}
	}
	// Knocks go with their inbox.
	for !s.Deadline().IsZero() {
		s.Advance(s.Deadline())
		drain(s.NextEvent)
	}
	if s.quota.blobs != 0 {
		t.Errorf("%d blobs left", s.quota.blobs)
	}
}

// In a full inbox more work displaces less, and equal work nobody.
func TestKnocksFull(t *testing.T) {
	e := &entry{}
	for i := range 5 {
		e.knocks = append(e.knocks, knock{work: []int{22, 20, 25, 20, 21}[i], token: [16]byte{byte(i)}})
	}
	if w := weakest(e.knocks); w != 3 {
		t.Errorf("the weakest is %d", w)
	}
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	inbox := makeInbox(t, d)
	s.Put(now, inbox, netip.Prefix{})
	real := knocks(t, d, inbox, identity.KnockWork)[0]
	info, err := identity.CheckRecord(inbox)
	if err != nil {
		t.Fatal(err)
	}
	work := identity.CheckKnock(real, info)
	fill := func(work int) {
		e := s.find(keyOf(t, inbox))
		for range len(e.knocks) {
			s.quota.remove(netip.Prefix{}, 1)
		}
		e.knocks = nil
		for i := range MaxKnocks {
			s.quota.add(netip.Prefix{}, 1)
			e.knocks = append(e.knocks, knock{work: work, token: [16]byte{1, byte(i)}})
		}
	}
	fill(work)
	if o := s.Knock(now, real, netip.Prefix{}); o != Full {
		t.Errorf("equal work: %v", o)
	}
	fill(work - 1)
	if o := s.Knock(now, real, netip.Prefix{}); o != Stored || s.Status().Knocks != MaxKnocks || s.quota.blobs != 1+MaxKnocks {
		t.Errorf("more work: %v, %d knocks", o, s.Status().Knocks)
	}
}

func TestReceive(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	var list [][]byte
	for slot := range uint8(identity.MaxSlots) {
		list = append(list, recordFor(t, d, d.Reach(), slot, 0, 3))
	}
	key := keyOf(t, list[0])
	ask := func(body []byte) (out []Message) {
		t.Helper()
		answers, err := s.Receive(now, body, netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			m, err := Parse(a)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
		return out
	}
	empty := ask(FetchMessage{Key: key}.Append(nil))
	if len(empty) != 1 || fmt.Sprint(empty[0]) != fmt.Sprint(RecordsMessage{0, 1, nil}) {
		t.Errorf("%v", empty)
	}
	for _, body := range storeBodies(false, list) {
		for _, l := range ask(body)[0].(StoredMessage).Lines {
			if l.Outcome != Stored || l.Sequence == 0 {
				t.Errorf("%+v", l)
			}
		}
	}
	got := ask(FetchMessage{Key: key}.Append(nil))
	if len(got) != 2 || len(got[0].(RecordsMessage).Records) != 3 || len(got[1].(RecordsMessage).Records) != 2 || got[1].(RecordsMessage).Part != 1 {
		t.Errorf("%d answers", len(got))
	}
	if _, err := s.Receive(now, StoredMessage{Lines: []StoredLine{{Stored, 1}}}.Append(nil), netip.Prefix{}); !errors.Is(err, ErrMessage) {
		t.Errorf("an answer as a question: %v", err)
	}
	if _, err := s.Receive(now, []byte{99}, netip.Prefix{}); !errors.Is(err, ErrMessage) {
		t.Errorf("nonsense: %v", err)
	}
	inbox := makeInbox(t, d)
	ask(StoreMessage{Records: [][]byte{inbox}}.Append(nil))
	lazy := knocks(t, d, inbox, 1)[0]
	if o := ask(KnockMessage{Knock: lazy}.Append(nil))[0].(StoredMessage).Lines[0].Outcome; o != Refused {
		t.Error(o)
	}
	s.find(keyOf(t, inbox)).knocks = []knock{{raw: lazy}}
	c := CollectMessage{Key: keyOf(t, inbox), Proof: identity.ProveInbox(d, 0, identity.Hour(now), now)}
	if k := ask(c.Append(nil))[0].(KnocksMessage); len(k.Knocks) != 1 {
		t.Errorf("%+v", k)
	}
}
