// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"testing"
	"time"
)

// Who has hardly any way into our half of the network gets a direct link beyond
// the cap of its bucket, but not more than some of them in the whole table, and
// only for as long as it says so.
func TestNeedy(t *testing.T) {
	b := newBench(t, Config{NoCaps: true})
	k := &cards{self: b.m.ID()}
	for range siblings {
		b.up(Link{Card: k.from(8), Ours: true, RTT: 50 * time.Millisecond})
	}
	b.pass(2 * time.Second)
	via := b.m.c.table.list[0].card
	far := b.m.c.table.depth - claimSlack // buckets that hold nobody's siblings
	request := uint32(0)
	offered := func(bucket int, relay bool) (Card, bool) {
		request++
		b.pass(time.Second) // one introducer may not bring more at once
		c := k.in(bucket)
		m := message{request: request, card: c, flags: flagScarce, sealed: []byte("offer"), seen: address(int(request), 2)}
		if relay {
			m.flags |= flagRelay
		}
		b.receive(via, m, typeIntroduction)
		asked := eventsOf[Asked](b)
		if len(asked) == 0 {
			return c, false
		}
		b.m.Accept(b.now, asked[0].Request, []byte("answer"))
		b.drain()
		return c, b.up(Link{Card: c, Relayed: relay})
	}
	var needy []Card
	for bucket := range far {
		for range bucketCap {
			b.up(Link{Card: k.in(bucket)})
		}
		c, _ := offered(bucket, true) // takes the place that each bucket has for one in need
		b.receive(c, message{state: byte(claimScarce) << claimShift}, typeCard)
		if _, ok := offered(bucket, true); ok {
			t.Errorf("a carried link got into the full bucket %d", bucket)
		}
		for range 2 * maxClaimed {
			if c, ok := offered(bucket, false); ok {
				b.receive(c, message{state: byte(claimScarce) << claimShift}, typeCard)
				needy = append(needy, c)
			}
		}
		if n := b.m.c.table.bucket(bucket).claimed; n > maxClaimed {
			t.Errorf("%d links beyond the cap of bucket %d", n, bucket)
		}
	}
	if n := b.m.c.table.needy; n != maxNeedy {
		t.Errorf("%d links for nodes in need, not %d", n, maxNeedy)
	}
	stay := func() (n int) {
		b.pass(2 * guestLife)
		for _, c := range needy {
			n += btoi(!b.m.c.table.find(c.ID()).spare)
		}
		return n
	}
	if n := stay(); n != len(needy) {
		t.Errorf("%d of %d stay", n, len(needy))
	}
	for _, c := range needy {
		b.receive(c, message{}, typeCard)
	}
	if n := stay(); n > far {
		t.Errorf("%d stay that need it no more", n)
	}
}
