// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// family returns Anna with two devices and Ben with two, all on; own devices
// know of each other as from linking.
func family(t testing.TB, seed uint64) (w *world, a, b []*phone) {
	w = newWorld(t, seed)
	for i, d := range devices(t, 1, 2) {
		a = append(a, w.phone(fmt.Sprint("anna", i+1), d).on())
	}
	for i, d := range devices(t, 2, 2) {
		b = append(b, w.phone(fmt.Sprint("ben", i+1), d).on())
	}
	know(append(a, b...)...)
	a[0].link(a[1])
	b[0].link(b[1])
	w.run(time.Second)
	return w, a, b
}

// Every device of both gets every text, its author's other device too; the
// receipts come to the author once.
func TestFanOut(t *testing.T) {
	w, a, b := family(t, 1)
	id := a[0].send(b[0], "to all of you")
	w.run(10 * time.Second)
	for _, p := range b {
		p.wants("anna: to all of you")
	}
	a[1].wants("me: to all of you")
	if d, _, _ := a[0].receipts(); !slices.Equal(d, []ID{id}) {
		t.Errorf("delivered %v", d)
	}
	b[1].do(func() error { return b[1].m.MarkRead(w.now, id) })
	w.run(10 * time.Second)
	for _, p := range a {
		if _, r, _ := p.receipts(); !slices.Equal(r, []ID{id}) {
			t.Errorf("%s: read %v", p.name, r)
		}
	}
	if got := b[0].m.person(a[0].party.Identity); got.readTo == 0 {
		t.Error("the other device does not know that it was read")
	}
	a[1].send(b[0], "from the other one")
	b[0].send(a[0], "hello both")
	w.run(10 * time.Second)
	for _, p := range a {
		if got := p.texts(); len(got) != 3 {
			t.Errorf("%s has %q", p.name, got)
		}
	}
	if c := a[0].m.Counters(); c.Restarts+c.Unread+c.Malformed > 0 {
		t.Errorf("%+v", c)
	}
}

// One device of Ben's takes what Anna says; she leaves; the other one gets it
// from the first.
func TestOwnDeviceHandsOn(t *testing.T) {
	w, a, b := family(t, 1)
	w.offline = true // no mailbox at all
	b[1].off()
	for i := range 100 {
		a[0].send(b[0], fmt.Sprint(i))
	}
	w.run(time.Minute)
	a[0].off()
	a[1].off()
	if n := len(b[0].texts()); n != 100 {
		t.Fatalf("the first has %d", n)
	}
	b[1].on()
	b[0].link(b[1])
	w.run(time.Minute)
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint("anna: ", i))
	}
	b[1].wants(want...)
}

// Two devices of one person that did not see each other for a month, both with
// talk of their own, and no mailbox: they merge, each author's texts in order.
func TestDivergedForAMonth(t *testing.T) {
	w, a, b := family(t, 1)
	for _, p := range w.phones {
		p.do(func() error { return p.m.Alone(w.now) }) // no mailbox
	}
	a[0].send(b[0], "before")
	w.run(time.Minute)
	a[0].cut(a[1])
	a[1].group, b[1].group = 1, 1
	for _, p := range []*phone{a[0], b[0]} {
		p.cut(a[1])
		p.cut(b[1])
	}
	for day := range 30 {
		for i, p := range a {
			p.send(b[i], fmt.Sprintf("day %d of anna%d", day, i+1))
			b[i].send(p, fmt.Sprintf("day %d of ben%d", day, i+1))
		}
		w.run(24 * time.Hour)
	}
	if n := len(a[0].texts()); n != 61 {
		t.Fatalf("anna1 has %d", n)
	}
	a[1].group, b[1].group = 0, 0
	a[0].link(a[1])
	b[0].link(b[1])
	w.run(time.Hour)
	for _, p := range append(a, b...) {
		got := p.texts()
		if len(got) != 121 {
			t.Errorf("%s has %d texts", p.name, len(got))
		}
		for _, author := range []string{"anna1", "anna2", "ben1", "ben2"} {
			next := 0
			for _, s := range got {
				var day int
				var who string
				if n, _ := fmt.Sscanf(s[indexDay(s):], "day %d of %s", &day, &who); n == 2 && who == author {
					if day != next {
						t.Fatalf("%s: day %d of %s instead of %d", p.name, day, author, next)
					}
					next++
				}
			}
			if next != 30 {
				t.Errorf("%s has %d of %s's", p.name, next, author)
			}
		}
	}
	if x, y := a[0].m.digestOf(), a[1].m.digestOf(); x != y {
		t.Error("the two differ still")
	}
}

func indexDay(s string) int {
	for i := range s {
		if s[i:] != "" && len(s[i:]) > 4 && s[i:i+4] == "day " {
			return i
		}
	}
	return len(s)
}
