// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"testing"
	"time"
)

// Asleep, a node keeps four links: the two nearest, contacts, fast ones. Awake
// again it looks for more.
func TestAsleep(t *testing.T) {
	b, k := settled(t, Config{})
	contact, fast := k.in(0), k.in(0)
	b.up(Link{Card: contact, Anchor: true, RTT: time.Second})
	b.up(Link{Card: fast, Ours: true, RTT: time.Millisecond})
	b.up(Link{Card: k.in(0), Ours: true, RTT: 2 * time.Millisecond})
	b.out = nil
	b.m.SetSelf(b.now, Easy, true)
	b.pass(2 * settleDelay)
	if n := len(eventsOf[Surplus](b)); n != siblings+3-leafLinks {
		t.Errorf("%d links handed back", n)
	}
	for i, n := range b.m.Siblings() {
		if i >= leafSiblings || n.Spare {
			t.Error("sibling", i, n.Spare)
		}
	}
	for _, c := range []Card{contact, fast} {
		if b.m.c.table.find(c.ID()).spare {
			t.Error("contact or fast link handed back")
		}
	}
	if told := b.sent(contact.ID(), typeCard); len(told) == 0 || told[0].state&leafBit == 0 {
		t.Errorf("contact heard %+v", told)
	}
	if b.up(Link{Card: k.in(0)}) {
		t.Error("a sleeping node takes a fifth link")
	}
	b.receive(fast, message{request: 1, id: contact.ID(), count: 9}, typeFind)
	if a := b.sent(fast.ID(), typeCards); len(a) != 1 || len(a[0].cards) > 0 {
		t.Errorf("a sleeping node introduces: %+v", a)
	}
	b.pass(questionLife)
	b.out = nil
	b.m.SetSelf(b.now, Easy, false)
	b.drain()
	if len(b.sent(b.m.Siblings()[0].ID, typeFind)) == 0 {
		t.Error("awake, and asks nobody")
	}
}

// Sleeping neighbours take no places, are no siblings, and are bounded.
func TestLeaves(t *testing.T) {
	b, k := settled(t, Config{})
	before := b.m.Status()
	for i := range maxLeaves + 1 {
		c := k.from(0)
		c.Leaf = true
		if got, want := b.up(Link{Card: c}), i < maxLeaves; got != want {
			t.Errorf("leaf %d: %v", i, got)
		}
	}
	s := b.m.Status()
	if s.Leaves != maxLeaves || s.Siblings != siblings || s.Guests != before.Guests {
		t.Errorf("%+v", s)
	}
	full := b.m.c.table.full
	c := b.m.Neighbours()[0].Card // a sibling falls asleep
	b.receive(c, message{state: byte(Easy) | leafBit}, typeCard)
	if b.m.c.table.full != full-1 || b.m.Siblings()[0].Card == c {
		t.Error("a sleeping sibling counts")
	}
}

// A neighbour's class is what it says last; nobody else has one.
func TestClassOf(t *testing.T) {
	b, k := settled(t, Config{})
	for _, class := range []Class{Open, Easy, Hard} {
		c := k.in(0)
		c.Class = class
		if got := b.m.Class(c.ID()); got != Unknown {
			t.Errorf("a stranger: %v", got)
		}
		b.up(Link{Card: c, Ours: true})
		if got := b.m.Class(c.ID()); got != class {
			t.Errorf("%v, want %v", got, class)
		}
	}
}
