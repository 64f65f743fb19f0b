// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// bench is one machine whose other ends are the test.
type bench struct {
	t    *testing.T
	m    *Machine
	now  time.Time
	out  []Out
	ev   []Event
	nets int
}

func newBench(t *testing.T, c Config) *bench {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if c.Self == (Card{}) {
		c.Self = testCard(0, Easy)
	}
	return &bench{t: t, now: now, m: New(now, c, rand.New(rand.NewPCG(1, 2)))}
}

// drain collects what the machine says.
func (b *bench) drain() {
	for {
		o, ok := b.m.Poll()
		if !ok {
			break
		}
		b.out = append(b.out, Out{o.To, slices.Clone(o.Body)})
	}
	for {
		e, ok := b.m.NextEvent()
		if !ok {
			break
		}
		b.ev = append(b.ev, e)
	}
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	for end := b.now.Add(d); ; {
		at := b.m.Deadline()
		if at.IsZero() || at.After(end) {
			b.now = end
			return
		}
		if at.After(b.now) {
			b.now = at
		}
		b.m.Advance(b.now)
		b.drain()
	}
}

func (b *bench) receive(from Card, m message, typ byte) error {
	err := b.m.Receive(b.now, from.ID(), m.append(nil, typ))
	b.drain()
	return err
}

// sent returns and forgets the messages of a type to one node.
func (b *bench) sent(to ID, typ byte) (list []message) {
	b.out = slices.DeleteFunc(b.out, func(o Out) bool {
		if o.To != to || o.Body[0] != typ {
			return false
		}
		var m message
		if _, err := m.parse(o.Body); err != nil {
			b.t.Fatalf("machine sends % x: %v", o.Body, err)
		}
		list = append(list, m)
		return true
	})
	return list
}

// events returns and forgets the events of one type.
func eventsOf[E Event](b *bench) (list []E) {
	b.ev = slices.DeleteFunc(b.ev, func(e Event) bool {
		x, ok := e.(E)
		if ok {
			list = append(list, x)
		}
		return ok
	})
	return list
}

// address returns the n-th address of the i-th network.
func address(i, n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, byte(i >> 8), byte(i), byte(n)}), 5000)
}

// cards hands out cards by bucket in the table of a machine.
type cards struct {
	self ID
	next uint64
}

// in returns a card of a bucket.
func (c *cards) in(bucket int) Card {
	for {
		c.next++
		if k := testCard(c.next, Easy); prefixLenOf(c.self, k.ID()) == bucket {
			return k
		}
	}
}

// from returns a card of that bucket or a deeper one.
func (c *cards) from(bucket int) Card {
	for {
		c.next++
		if k := testCard(c.next, Easy); prefixLenOf(c.self, k.ID()) >= bucket {
			return k
		}
	}
}

func prefixLenOf(a, b ID) int { return prefixLen(&a, &b) }

// up makes a link, and reports whether the table has a use for it.
func (b *bench) up(l Link) bool {
	if !l.Addr.IsValid() && !l.Relayed {
		b.nets++
		l.Addr = address(b.nets, 1)
	}
	b.m.LinkUp(b.now, l)
	b.drain()
	return !b.m.c.table.find(l.Card.ID()).spare
}

// settled is a machine with eight siblings from bucket 4 on, each introduced
// by another.
func settled(t *testing.T, c Config) (*bench, *cards) {
	b := newBench(t, c)
	k := &cards{self: b.m.ID()}
	for range siblings {
		b.up(Link{Card: k.from(4), Ours: true, RTT: 50 * time.Millisecond})
	}
	b.pass(2 * time.Second)
	return b, k
}

// inBucket returns the links with a use.
func (b *bench) inBucket(i int) (list []*neighbour) {
	for _, n := range b.m.c.table.list {
		if int(n.bucket) == i && !n.spare {
			list = append(list, n)
		}
	}
	return list
}
