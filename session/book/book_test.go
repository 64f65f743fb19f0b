// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

func TestClock(t *testing.T) {
	var c Clock
	now := time.Unix(1000, 0)
	a := c.Next(now)
	if b := c.Next(now); b <= a {
		t.Error("two changes of one moment are one")
	}
	c.See(StampOf(now.AddDate(1, 0, 0))) // of a device whose clock is wrong
	if b := c.Next(now); b <= StampOf(now.AddDate(1, 0, 0)) {
		t.Error("a change that was made after another one was seen is earlier")
	}
	if StampOf(time.Time{}) != 1 || StampOf(time.Unix(1<<40, 0)) != maxStamp {
		t.Error("a clock that is very wrong")
	}
}

// Offline on two devices: one renames, the other blocks; both hold.
func TestMerge(t *testing.T) {
	id := identity.ID{7}
	base := Contact{ID: id, Name: "Ben", Added: 5}.Edited(Contact{ID: id}, 10, true)
	edit := func(c Contact, at Stamp, f func(*Contact)) Contact {
		old := c
		f(&c)
		return c.Edited(old, at, true)
	}
	renamed := edit(base, 20, func(c *Contact) { c.Name = "Benno" })
	blocked := edit(base, 30, func(c *Contact) { c.Blocked = true })
	if m := Merge(renamed, blocked); m.Name != "Benno" || !m.Blocked || m.Added != 5 {
		t.Errorf("%+v", m)
	}
	later := edit(base, 40, func(c *Contact) { c.Name = "Ben Lee" })
	if m := Merge(later, renamed); m.Name != "Ben Lee" {
		t.Errorf("the earlier name won: %+v", m)
	}
	gone := blocked.Removed(35)
	if gone.Present() || gone.Name != "" || gone.Blocked {
		t.Errorf("%+v", gone)
	}
	if m := Merge(gone, renamed); m.Present() {
		t.Errorf("removed after the change, and there: %+v", m)
	}
	if m := Merge(gone, later); !m.Present() || m.Name != "Ben Lee" || m.Blocked {
		t.Errorf("changed after it was removed elsewhere: %+v", m)
	}
	learnt := base
	learnt.Reach = identity.Secret{1}
	learnt = learnt.Edited(base, 50, false)
	if m := Merge(gone, learnt); m.Present() {
		t.Errorf("a reach secret brought somebody back: %+v", m)
	}
	again := edit(gone, 60, func(c *Contact) { c.Name = "Ben" })
	if m := Merge(again, blocked); !m.Present() || m.Blocked {
		t.Errorf("added anew, and blocked as long ago: %+v", m)
	}
}

// Any order, any number of times, by any way: devices that have heard the same
// have the same bytes.
func TestMergeSeeds(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		id := identity.ID{1}
		// Five devices change what they have, and now and then hear of each other.
		devices := make([]Contact, 5)
		clocks := make([]Clock, len(devices))
		for i := range devices {
			devices[i] = Contact{ID: id}
		}
		var said []Contact
		now := time.Unix(1_800_000_000, 0)
		for range 30 {
			i := rng.IntN(len(devices))
			c := &devices[i]
			if rng.IntN(3) == 0 {
				*c = Merge(*c, devices[rng.IntN(len(devices))])
				clocks[i].See(c.Last())
				said = append(said, *c)
				continue
			}
			// Their clocks are wrong by up to an hour, and two agree now and then.
			at := clocks[i].Next(now.Add(time.Duration(rng.IntN(8)) * 10 * time.Minute))
			old := *c
			switch rng.IntN(5) {
			case 0:
				c.Name = []string{"", "Ann", "Ben", "Cem"}[rng.IntN(4)]
			case 1:
				c.Verified = !c.Verified
			case 2:
				c.Blocked = !c.Blocked
			case 3:
				c.Reach, c.Ticket = identity.Secret{byte(rng.IntN(3))}, []string{"", "p2pos:x"}[rng.IntN(2)]
			case 4:
				*c = c.Removed(at)
				said = append(said, *c)
				continue
			}
			if !old.Present() {
				c.Added = int64(rng.IntN(3))
			}
			*c = c.Edited(old, at, rng.IntN(4) > 0)
			said = append(said, *c)
		}
		var first []byte
		for range 4 {
			rng.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
			m := Contact{ID: id}
			for _, c := range said {
				if rng.IntN(2) == 0 {
					m = Merge(m, c)
				} else {
					m = Merge(c, m)
				}
				if again := Merge(m, c); again != m {
					t.Fatalf("seed %d: said twice:\n%+v\n%+v", seed, m, again)
				}
			}
			a, b, c := said[0], said[1], said[2]
			if Merge(Merge(a, b), c) != Merge(a, Merge(b, c)) {
				t.Fatalf("seed %d: grouped otherwise, it is another one", seed)
			}
			got := m.Encode()
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) {
				p, _ := ParseContact(id[:], first)
				t.Fatalf("seed %d: in another order:\n%+v\n%+v", seed, p, m)
			}
			if p, err := ParseContact(id[:], got); err != nil || p != m {
				t.Fatalf("seed %d: %+v, %v, want %+v", seed, p, err, m)
			}
		}
	}
}

func TestContactCoding(t *testing.T) {
	for _, c := range []Contact{
		{ID: identity.ID{1}, Added: 1, At: Stamps{There: 4}},
		{
			ID: identity.ID{2}, Name: "Anna", Verified: true, Blocked: true, Added: 1e9, Reach: identity.Secret{3}, Ticket: "p2pos:x",
			At: Stamps{1, 2, 3, 4, 5, 6},
		},
		{ID: identity.ID{3}, At: Stamps{Gone: 9}},
	} {
		got, err := ParseContact(c.ID[:], append(c.Encode(), 99, 0, 1, 7)) // and a field of a later program
		if err != nil || got != c {
			t.Errorf("%+v, %v, want %+v", got, err, c)
		}
	}
	// Of a program that knew no stamps.
	old := wire.AppendField(nil, 1, []byte("Anna"))
	old = wire.AppendField(old, 2, []byte{flagVerified})
	old = wire.AppendField(old, 3, binary.BigEndian.AppendUint64(nil, 1e9))
	c, err := ParseContact(make([]byte, 32), old)
	if want := StampOf(time.Unix(1e9, 0)); err != nil || !c.Present() || !c.Verified || c.At.Name != want || c.At.Blocked != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	never := wire.AppendField(nil, 6, bytes.Repeat([]byte{255}, 48))
	for what, b := range map[string][]byte{
		"a stamp that nothing follows": never,
		"a name without end":           wire.AppendField(nil, 1, make([]byte, maxName+1)),
		"a ticket without end":         wire.AppendField(nil, 5, make([]byte, maxTicket+1)),
		"half a stamp":                 wire.AppendField(nil, 6, make([]byte, 47)),
	} {
		if _, err := ParseContact(make([]byte, 32), b); !errors.Is(err, ErrContact) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ParseContact([]byte{1}, nil); err == nil {
		t.Error("an ID of one byte")
	}
}

func TestTrim(t *testing.T) {
	var list []Contact
	for i := range MaxGone + 2 {
		id := identity.ID{byte(i), byte(i >> 8)}
		list = append(list, Contact{ID: id, At: Stamps{Gone: Stamp(1000 + i*7919%5003)}})
	}
	drop := Trim(list)
	if len(drop) != 2 {
		t.Fatalf("%d dropped", len(drop))
	}
	slices.Reverse(list)
	if !slices.Equal(Trim(list), drop) {
		t.Error("in another order, others are dropped")
	}
	for _, c := range list {
		if slices.Contains(drop, c.ID) && c.At.Gone > 1010 {
			t.Errorf("dropped %v of %d", c.ID, c.At.Gone)
		}
	}
}

func TestNames(t *testing.T) {
	named := func(id byte, name string, at Stamp) Contact {
		return Contact{ID: identity.ID{id}, Name: name, At: Stamps{There: at, Name: at}}
	}
	long := strings.Repeat("ä", 32)
	list := []Contact{
		named(1, "Anna", 9), named(2, "ANNA", 5), named(3, "anna", 7), named(4, "Anna (2)", 1), named(5, "Ben", 2),
		named(6, long, 1), named(7, long, 2), {ID: identity.ID{8}, Name: "Ben", At: Stamps{Gone: 3, Name: 4}},
	}
	want := map[identity.ID]string{{3}: "anna (3)", {1}: "Anna (4)", {7}: strings.Repeat("ä", 30) + " (2)"}
	for range 10 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := Names(list); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	if got := Names(list[:1]); got != nil {
		t.Errorf("%v", got)
	}
	for _, s := range []string{"ANNA", "Straße", "ΣΑΣ", "K"} {
		if Fold(s) != Fold(strings.ToLower(s)) {
			t.Errorf("%q", s)
		}
	}
}

func TestPast(t *testing.T) {
	p := NewPast(77, []byte("rang"))
	got, err := ParsePast(p.ID[:], p.Encode())
	if err != nil || got.ID != p.ID || got.When != 77 || string(got.Body) != "rang" {
		t.Errorf("%+v, %v", got, err)
	}
	other := NewPast(78, []byte("rang"))
	for what, b := range map[string][]byte{"another one": other.Encode(), "too short": {1}, "too long": make([]byte, 9+MaxBody)} {
		if _, err := ParsePast(p.ID[:], b); !errors.Is(err, ErrPast) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Whoever hears of the same has the same, in whatever order.
	var all []Past
	for i := range MaxPast + 50 {
		all = append(all, NewPast(int64(i*7919%10007), fmt.Append(nil, i)))
	}
	want := Newest(all)
	if len(want) != MaxPast {
		t.Fatalf("%d", len(want))
	}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var have []Past
		for len(have) < MaxPast {
			i, j := rng.IntN(len(all)), rng.IntN(len(all))
			have = Newest(append(have, all[min(i, j):max(i, j)]...))
		}
		if have = Newest(append(have, all...)); !slices.EqualFunc(have, want, func(a, b Past) bool { return a.ID == b.ID }) {
			t.Fatalf("seed %d: another list", seed)
		}
	}
}

func TestDigest(t *testing.T) {
	var items []Item
	for i := range 500 {
		items = append(items, Item{Key{Kind(1 + i%2), fmt.Sprint(i)}, []byte{byte(i)}})
	}
	a, b := Digest{}, Digest{}
	for i := range items {
		a.Add(items[i])
		b.Add(items[len(items)-1-i])
	}
	odd := Item{Key{Pasts, "odd"}, nil}
	frame := b.Frame()
	n, err := ParseLength([4]byte(frame))
	if err != nil || n != len(frame)-4 || Type(frame[4]) != TypeDigest {
		t.Fatalf("%d, %v", n, err)
	}
	if b, err = ParseDigest(frame[5:]); err != nil {
		t.Fatal(err)
	}
	for _, i := range append(items, odd) {
		if a.Differs(b, i.Key) {
			t.Fatalf("%v differs", i.Key)
		}
	}
	b.Add(odd)
	differ := 0
	for _, i := range items {
		if a.Differs(b, i.Key) {
			differ++
		}
	}
	if !b.Differs(a, odd.Key) || differ > 10 {
		t.Errorf("%d of the others differ", differ)
	}
	if !(Digest{}).Differs(a, items[0].Key) {
		t.Error("nothing is as much as something")
	}
}

func TestItems(t *testing.T) {
	var body []byte
	for i := range 3 {
		body = AppendItem(body, Item{Key{Contacts, strings.Repeat("x", i)}, make([]byte, i)})
	}
	f := ItemsFrame(body)
	list, err := ParseItems(f[5:])
	if err != nil || len(list) != 3 || list[2].Name != "xx" || len(list[2].Value) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := ParseItems(body[:len(body)-1]); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
	for _, n := range []uint32{0, MaxFrame + 1, 1 << 31} {
		if _, err := ParseLength([4]byte(binary.BigEndian.AppendUint32(nil, n))); !errors.Is(err, ErrFrame) {
			t.Errorf("%d: %v", n, err)
		}
	}
	// The largest item fits behind what the room takes.
	c := Contact{Name: strings.Repeat("x", maxName), Ticket: strings.Repeat("x", maxTicket), Reach: identity.Secret{1}}
	if n := len(AppendItem(nil, Item{Key{Contacts, string(c.ID[:])}, c.Encode()})); FrameRoom+n+1 > MaxFrame || n < 8+MaxBody {
		t.Errorf("an item of %d bytes", n)
	}
}

func FuzzContact(f *testing.F) {
	c := Contact{Name: "Anna", Verified: true, Reach: identity.Secret{3}, Ticket: "p2pos:x", At: Stamps{0, 2, 3, 4, 5, 6}}
	f.Add(c.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseContact(make([]byte, 32), b)
		if err != nil {
			return
		}
		if d, err := ParseContact(make([]byte, 32), c.Encode()); err != nil || d != c || Merge(c, d) != c {
			t.Errorf("%+v, %v, %+v", c, err, d)
		}
	})
}

func FuzzFrame(f *testing.F) {
	d := Digest{}
	d.Add(Item{Key{Contacts, "x"}, nil})
	f.Add(d.Frame()[5:])
	f.Add(AppendItem(nil, Item{Key{Contacts, "x"}, []byte("y")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseDigest(b); err == nil {
			if e, err := ParseDigest(d.Frame()[5:]); err != nil || len(e) != len(d) {
				t.Errorf("%v", err)
			}
		}
		if list, err := ParseItems(b); err == nil {
			var again []byte
			for _, i := range list {
				again = AppendItem(again, i)
			}
			if !bytes.Equal(again, b) {
				t.Errorf("%x", again)
			}
		}
	})
}

func FuzzPast(f *testing.F) {
	p := NewPast(77, []byte("rang"))
	f.Add(p.ID[:], p.Encode())
	f.Fuzz(func(t *testing.T, id, b []byte) {
		if p, err := ParsePast(id, b); err == nil && !bytes.Equal(p.Encode(), b) {
			t.Error("another one")
		}
	})
}
