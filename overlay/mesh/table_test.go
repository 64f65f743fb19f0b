// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestNearest(t *testing.T) {
	b := newBench(t, Config{NoCaps: true})
	rng := rand.New(rand.NewPCG(3, 4))
	var all []ID
	for i := range 100 {
		c := testCard(uint64(i+1), Easy)
		all = append(all, c.ID())
		b.up(Link{Card: c, Ours: true})
	}
	tab := &b.m.c.table
	if !slices.IsSortedFunc(tab.list, func(x, y *neighbour) int {
		if nearer(&tab.id, &x.id, &y.id) {
			return -1
		}
		return 1
	}) {
		t.Fatal("table out of order")
	}
	for _, n := range tab.list {
		n.spare = false
	}
	var room [20]*neighbour
	for range 200 {
		key := testCard(rng.Uint64(), Easy).ID()
		odd := func(n *neighbour) bool { return n.id[0]%2 == 1 }
		want := slices.DeleteFunc(slices.Clone(all), func(id ID) bool { return id[0]%2 == 1 })
		slices.SortFunc(want, func(x, y ID) int {
			if nearer(&key, &x, &y) {
				return -1
			}
			return 1
		})
		n := rng.IntN(len(room))
		got := tab.nearest(room[:0], key, n, odd)
		if len(got) != n {
			t.Fatalf("%d of %d", len(got), n)
		}
		for i, g := range got {
			if g.id != want[i] {
				t.Fatalf("place %d of %d: %s, want %s", i, n, g.id.Short(), want[i].Short())
			}
		}
	}
	key := all[7]
	if tab.find(key).spare = true; tab.nearest(room[:0], key, 1, nil)[0].id != key {
		t.Error("a spare link does not even lead to its own end")
	}
	if got := tab.nearest(room[:0], testCard(9999, Easy).ID(), len(all), nil); slices.ContainsFunc(got, func(n *neighbour) bool { return n.spare }) {
		t.Error("spare link offered")
	}
	if a := testing.AllocsPerRun(100, func() { tab.nearest(room[:0], key, 8, nil); tab.find(key) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// A bucket holds six, and three of the places are for links of our own asking.
func TestBucketCap(t *testing.T) {
	b, k := settled(t, Config{})
	for i := range bucketCap / 2 {
		if !b.up(Link{Card: k.in(0)}) {
			t.Fatalf("inbound %d of an empty bucket refused", i)
		}
	}
	for i := range maxGuests {
		if !b.up(Link{Card: k.in(0)}) {
			t.Fatalf("guest %d refused", i)
		}
	}
	if n := b.m.Status().Guests; n != maxGuests {
		t.Fatalf("%d guests", n)
	}
	if c := k.in(0); b.up(Link{Card: c}) || eventsOf[Surplus](b)[0].Node != c.ID() {
		t.Error("a ninth guest has a place")
	}
	old := b.inBucket(0)[:0]
	for _, n := range b.inBucket(0) {
		if n.role == member {
			old = append(old, n)
		}
	}
	for range bucketCap - bucketCap/2 {
		if !b.up(Link{Card: k.in(0), Ours: true, RTT: time.Second}) {
			t.Fatal("own link refused")
		}
	}
	b.pass(guestLife + 2*roundTime)
	if n := len(b.inBucket(0)); n != bucketCap {
		t.Errorf("%d links in the bucket once the guests have gone", n)
	}
	for _, n := range old {
		if n.spare {
			t.Error("an old link went for a newcomer")
		}
	}
	for _, n := range b.inBucket(0) {
		if n.role != member {
			t.Errorf("role %d", n.role)
		}
	}
}

// What is worth more: a place before none, our own asking before others', then
// the faster, but among links that others asked for only the older.
func TestKeepOrder(t *testing.T) {
	best := []*neighbour{
		{ours: true, rtt: 90, claims: claimScarce, since: 9}, {ours: true, rtt: 10, since: 8}, {ours: true, rtt: 20, since: 1}, {ours: true, rtt: 10, relayed: true},
		{rtt: 90, relayed: true, since: 2}, {rtt: 10, claims: claimScarce | claimSibling, since: 3}, {role: claimed, rtt: 1, since: 1},
		{role: guest, ours: true, rtt: 1}, {role: guest, rtt: 1},
	}
	for i, a := range best {
		for j, b := range best {
			if got := keepOrder(a, b); got != cmp.Compare(i, j) {
				t.Errorf("%d before %d: %d", i, j, got)
			}
		}
	}
}

// Of the eight guests two may be of one prefix.
func TestGuestsOfPrefix(t *testing.T) {
	b := newBench(t, Config{})
	k := &cards{self: b.m.ID()}
	for range siblings {
		b.up(Link{Card: k.from(7), Ours: true})
	}
	for i := range 3 {
		for range bucketCap / 2 {
			b.up(Link{Card: k.in(i)})
		}
		if got, want := b.up(Link{Card: k.in(i), Addr: address(999, i)}), i < guestsPerPrefix; got != want {
			t.Errorf("guest %d of one /24: %v", i, got)
		}
	}
}

// A node that lost all its links joins anew, with its wait.
func TestBornAgain(t *testing.T) {
	b := newBench(t, Config{})
	first := testCard(1, Open)
	for range 2 {
		b.pass(time.Hour)
		b.up(Link{Card: first, Ours: true, Addr: address(1, 1)})
		q := b.sent(first.ID(), typeFind)
		b.receive(first, message{request: q[len(q)-1].request, load: 255}, typeCards)
		if b.m.fill.quiet < b.m.c.since(b.now) || b.m.fill.quiet > b.m.c.since(b.now)+maxJitter {
			t.Errorf("waits until %v at %v", b.m.fill.quiet, b.m.c.since(b.now))
		}
		b.m.LinkDown(b.now, first.ID())
		b.drain()
	}
}

// In a private network everybody holds the secret: no half for ourselves.
func TestNoCaps(t *testing.T) {
	b, k := settled(t, Config{NoCaps: true})
	for i := range bucketCap {
		if !b.up(Link{Card: k.in(0), Addr: address(1, i), Via: testCard(77, Easy).ID()}) || b.m.Status().Guests > 0 {
			t.Fatalf("inbound %d has no place", i)
		}
	}
}

// Two of a /24 in a bucket, ten in the table; LANs and loopback don't count,
// nor do contacts.
func TestPrefixCaps(t *testing.T) {
	for _, ours := range []bool{true, false} {
		b, k := settled(t, Config{})
		for i := range perPrefixInBucket + 1 {
			if got, want := b.up(Link{Card: k.in(0), Addr: address(999, i), Ours: ours}), i < perPrefixInBucket; got != want {
				t.Errorf("ours %v: link %d of one /24 in a bucket: %v", ours, i, got)
			}
		}
	}
	b, k := settled(t, Config{})
	six := func(n int) netip.AddrPort {
		a := netip.MustParseAddr("2a00:1:2::").As16()
		a[7], a[15] = byte(n), 1
		return netip.AddrPortFrom(netip.AddrFrom16(a), 1)
	}
	for i := range perPrefixInBucket + 1 {
		if got, want := b.up(Link{Card: k.in(1), Addr: six(i), Ours: true}), i < perPrefixInBucket; got != want {
			t.Errorf("link %d of one /48: %v", i, got)
		}
	}
	for i := range 12 {
		if got, want := b.up(Link{Card: k.in(i), Addr: address(998, i), Ours: true}), i < perPrefixInTable; got != want {
			t.Errorf("link %d of one /24 in the table: %v", i, got)
		}
	}
	for _, addr := range []string{"192.168.1.7:1", "127.0.0.1:2", "[fe80::1]:3", "[fd00::1]:4", "10.0.0.1:5", "[::ffff:10.0.0.2]:5"} {
		b, k := settled(t, Config{})
		for i := range bucketCap / 2 {
			if !b.up(Link{Card: k.in(0), Addr: netip.MustParseAddrPort(addr), Via: k.in(3).ID()}) || b.m.Status().Guests > 0 {
				t.Errorf("link %d of %s refused", i, addr)
			}
		}
	}
	b, k = settled(t, Config{})
	for i := range 20 {
		if !b.up(Link{Card: k.in(0), Addr: address(999, i), Anchor: true}) {
			t.Errorf("contact %d refused", i)
		}
	}
	if b.pass(10 * time.Minute); b.m.Status().Spare > 0 {
		t.Error("contact handed back")
	}
}

// An introducer brings eight links, or a quarter of the table.
func TestViaCap(t *testing.T) {
	b := newBench(t, Config{})
	k := &cards{self: b.m.ID()}
	via := k.in(0).ID()
	for i := range viaFree + 1 {
		if got, want := b.up(Link{Card: k.from(0), Via: via, Ours: true}), i < viaFree; got != want {
			t.Errorf("link %d through one introducer: %v", i, got)
		}
	}
	for b.m.c.table.links < 40 {
		b.up(Link{Card: k.from(0), Ours: true})
	}
	got := 0
	for range 10 {
		if b.up(Link{Card: k.from(0), Via: via, Ours: true}) {
			got++
		}
	}
	if n := b.m.c.table.links; (viaFree+got)*viaShare > n || (viaFree+got+1)*viaShare <= n {
		t.Errorf("%d of %d links through one introducer", viaFree+got, n)
	}
}

// The limit is by class, by Config and by quota, of which the least is 16.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		class        Class
		links, quota int
		want         int
	}{
		"easy": {class: Easy, want: maxLinks}, "hard": {class: Hard, want: maxHardLinks}, "config": {class: Hard, links: 30, want: 30},
		"quota": {class: Hard, quota: 20, want: 20}, "least": {class: Hard, quota: 3, want: minQuota}, "large quota": {class: Hard, quota: 500, want: maxHardLinks},
	} {
		self := testCard(0, c.class)
		b := newBench(t, Config{Self: self, Links: c.links, NoCaps: true})
		k := &cards{self: b.m.ID()}
		b.m.SetQuota(c.quota)
		for range 2 * maxLinks {
			b.up(Link{Card: k.from(0)})
		}
		if n := b.m.Status().Links; n > c.want {
			t.Errorf("%s: %d links by others", name, n)
		}
		for range 2 * maxLinks {
			b.up(Link{Card: k.from(0), Ours: true})
		}
		b.pass(settleDelay)
		if n := b.m.Status().Links; n > c.want {
			t.Errorf("%s: %d links, want %d", name, n, c.want)
		}
		if s := b.m.Status(); s.Siblings != siblings {
			t.Errorf("%s: %d siblings", name, s.Siblings)
		}
	}
	b, k := settled(t, Config{NoCaps: true})
	for i := range 5 {
		for range bucketCap {
			b.up(Link{Card: k.in(i), Ours: true})
		}
	}
	b.pass(settleDelay)
	if before := b.m.Status().Links; before <= minQuota {
		t.Fatal(before)
	}
	b.m.SetQuota(minQuota)
	b.pass(settleDelay)
	if s := b.m.Status(); s.Links != minQuota || s.Siblings != siblings {
		t.Errorf("after the quota fell: %+v", s)
	}
}

// Whoever asks for it, and whatever it says: an old link stays.
func TestInboundEvictsNobody(t *testing.T) {
	b, k := settled(t, Config{})
	for i := range 4 {
		for range wanted {
			b.up(Link{Card: k.in(i), Ours: true, RTT: time.Second})
		}
	}
	b.pass(2 * guestLife)
	var old []ID
	for _, n := range b.m.Neighbours() {
		if !n.Spare {
			old = append(old, n.ID)
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 3000 {
		c := k.from(rng.IntN(9)) // also far nearer than any sibling
		b.up(Link{Card: c, RTT: time.Millisecond, Via: testCard(uint64(i%50), Easy).ID()})
		b.receive(c, message{state: byte(Easy) | byte(claimSibling|claimScarce)<<claimShift}, typeCard)
		b.pass(100 * time.Millisecond)
		for _, s := range eventsOf[Surplus](b) {
			b.m.LinkDown(b.now, s.Node)
			b.drain()
		}
	}
	for _, id := range old {
		if n := b.m.c.table.find(id); n == nil || n.spare {
			t.Errorf("old link of bucket %d is gone", prefixLenOf(b.m.ID(), id))
		}
	}
	s := b.m.Status()
	if s.Links > maxLinks {
		t.Errorf("%d links", s.Links)
	}
	for i := range 3 { // where nobody can claim to be near
		if n := len(b.inBucket(i)); n > bucketCap+maxGuests {
			t.Errorf("bucket %d holds %d", i, n)
		}
	}
}

// Others may count us among their siblings only near our own place, and a
// dozen of a bucket at the most.
func TestClaims(t *testing.T) {
	b, k := settled(t, Config{})
	shallow, deep := b.m.c.table.depth-claimSlack-1, b.m.c.table.depth-claimSlack
	if shallow < 0 {
		t.Fatal("no shallow bucket")
	}
	for _, bucket := range []int{shallow, deep} {
		for range bucketCap / 2 {
			b.up(Link{Card: k.in(bucket)})
		}
		for range 2 * maxClaimed {
			c := k.in(bucket)
			b.up(Link{Card: c})
			if n := b.m.c.table.bucket(bucket).claimed; n > maxClaimed {
				t.Fatalf("%d claimed", n)
			}
			b.receive(c, message{state: byte(claimSibling) << claimShift}, typeCard)
			for _, s := range eventsOf[Surplus](b) {
				b.m.LinkDown(b.now, s.Node)
			}
		}
		b.pass(2 * guestLife)
	}
	if n := len(b.inBucket(shallow)); n != bucketCap/2 {
		t.Errorf("%d links stay in a far bucket for a claim", n)
	}
	if n := len(b.inBucket(deep)); n != bucketCap/2+maxClaimed {
		t.Errorf("%d links stay in a near bucket for a claim", n)
	}
}

// A relayed link is for siblings, and for buckets with fewer than three.
func TestRelayedLinks(t *testing.T) {
	b, k := settled(t, Config{})
	relayed := func(bucket int, ours bool) bool {
		return b.up(Link{Card: k.in(bucket), Relayed: true, Carrier: testCard(1, Open).ID(), Ours: ours})
	}
	for i := range minFar {
		if !relayed(0, i%2 == 0) {
			t.Errorf("relayed link %d of an empty bucket refused", i)
		}
	}
	if relayed(0, false) {
		t.Error("one too many")
	}
	for range minFar {
		b.up(Link{Card: k.in(0), Ours: true})
	}
	b.pass(2 * roundTime)
	for _, n := range b.inBucket(0) {
		if n.relayed {
			t.Error("relayed link stays beside three direct ones")
		}
	}
	near := k.from(12)
	b.up(Link{Card: near, Relayed: true})
	if b.pass(2 * roundTime); b.m.c.table.find(near.ID()).spare {
		t.Error("relayed sibling handed back")
	}
}

// A link that its driver keeps although it was handed back is used again when
// there is room.
func TestSpareComesBack(t *testing.T) {
	b, k := settled(t, Config{})
	for range bucketCap / 2 {
		b.up(Link{Card: k.in(0)})
	}
	for range maxGuests {
		b.up(Link{Card: k.in(0)})
	}
	c := k.in(0)
	b.up(Link{Card: c})
	n := b.m.c.table.find(c.ID())
	if !n.spare {
		t.Fatal("not spare")
	}
	b.ev = nil
	if b.pass(spareAgain + 2*roundTime); len(eventsOf[Surplus](b)) == 0 {
		t.Error("named once only")
	}
	for _, o := range b.inBucket(0) {
		b.m.LinkDown(b.now, o.id)
	}
	// The guests that were handed back with it want the same places.
	if b.pass(2 * roundTime); len(b.inBucket(0)) != bucketCap/2 {
		t.Errorf("%d links used although there is room for %d", len(b.inBucket(0)), bucketCap/2)
	}
}

func TestPrefixOf(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"1.2.3.4", "1.2.3.99", true}, {"1.2.3.4", "1.2.4.4", false}, {"::ffff:1.2.3.4", "1.2.3.7", true},
		{"2a00:1:2:3::1", "2a00:1:2:4::1", true}, {"2a00:1:2::1", "2a00:1:3::1", false}, {"100.64.0.1", "100.64.1.1", false},
	} {
		if got := prefixOf(netip.MustParseAddr(c.a)) == prefixOf(netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
	if prefixOf(netip.Addr{}) != 0 || prefixOf(netip.MustParseAddr("0.0.0.0")) == 0 {
		t.Error("no address")
	}
}

func ExampleMachine() {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := New(now, Config{Self: testCard(1, Easy)}, rand.New(rand.NewPCG(1, 1)))
	m.LinkUp(now, Link{Card: testCard(2, Open), Ours: true, RTT: 40 * time.Millisecond})
	for o, ok := m.Poll(); ok; o, ok = m.Poll() {
		fmt.Printf("type %d to %s\n", o.Body[0], o.To.Short())
	}
	fmt.Println(m.Status().Links, "link")
	// Output:
	// type 6 to 1c8432b0
	// type 1 to 1c8432b0
	// 1 link
}
