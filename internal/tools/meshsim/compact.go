// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

// A compact network is a field and nothing else. What it leaves out: how
// tables come about and are repaired, scores, bytes, and time between
// messages. What it keeps: the tables' rules, the choice of the next hop, hop
// acknowledgements and detours, going back when stuck, refusing what was seen,
// and copies. IDs have 64 bits.

// newCompact plants n nodes.
func newCompact(s setup) *field {
	rng := rand.New(rand.NewPCG(s.seed, 0x636f6d70))
	ids, sites := make([]uint64, s.n), make([]site, s.n)
	for i := range ids {
		ids[i], sites[i] = rng.Uint64(), newSite(rng, s.mix, s.n)
	}
	slices.Sort(ids)
	f := newField(ids, sites, s.odds, rng)
	f.plant()
	f.all, f.inbound = nil, nil
	return f
}

// The router's numbers: see overlay/mesh, route*.go.
const (
	compactDetours = 6
	compactTries   = 12
	compactVisited = 32
	moreAfter      = 400 * time.Millisecond
	lastAfter      = 1200 * time.Millisecond
)

// courier carries one message through a field.
type courier struct {
	f        *field
	from, to int32
	dead     []bool
	legs     []*compactLeg
	known    map[int32]map[int32]bool // node → whom it has given the message to
	forward  []int32                  // messages passed on by each node, when counted
}

// compactLeg is a copy: where it is, since when, and by which way it came.
type compactLeg struct {
	at      time.Duration
	way     []int32
	seen    []int32
	detours int
	over    bool
}

// compactCopies says how many copies are out after some time.
type compactCopies struct {
	after time.Duration
	n     int
}

// send returns when a message arrives and over how many hops; never is zero.
func (c *courier) send(copies int) (time.Duration, int) {
	c.known = make(map[int32]map[int32]bool)
	if c.f.linked(c.from, c.to) {
		copies = 1
	}
	for _, step := range []compactCopies{{0, copies}, {moreAfter, 8}, {lastAfter, 16}} {
		for len(c.legs) < step.n {
			c.legs = append(c.legs, &compactLeg{at: step.after, way: []int32{c.from}, seen: []int32{c.from}})
		}
	}
	for {
		var l *compactLeg
		for _, o := range c.legs {
			if !o.over && (l == nil || o.at < l.at) {
				l = o
			}
		}
		if l == nil {
			return 0, 0
		}
		if l.way[len(l.way)-1] == c.to {
			return l.at, len(l.way) - 1
		}
		c.step(l)
	}
}

// step gives a copy to the next hop, or back when there is none.
func (c *courier) step(l *compactLeg) {
	here := l.way[len(l.way)-1]
	given := c.known[here]
	if given == nil {
		given = make(map[int32]bool)
		c.known[here] = given
	}
	most := compactTries
	if here == c.from {
		most = compactVisited
	}
	next, ok := c.choose(here, l, given)
	if !ok || len(given) >= most || l.detours > compactDetours || len(l.seen) >= compactVisited {
		if len(l.way) == 1 {
			l.over = true
			return
		}
		back := l.way[len(l.way)-2]
		l.way = l.way[:len(l.way)-1]
		l.at += c.hop(here, back)
		l.detours = 0
		return
	}
	given[next.to] = true
	l.seen = append(l.seen, next.to)
	d := c.delay(here, next)
	switch {
	case c.dead != nil && (c.dead[next.to] || next.carrier >= 0 && c.dead[next.carrier]):
		l.detours++
		l.at += 3*d + 30*time.Millisecond
	case next.to != c.to && (c.known[next.to] != nil || next.to == c.from):
		l.at += 2 * d // refused: another copy came by
	default:
		if c.forward != nil && here != c.from {
			c.forward[here]++
		}
		c.known[next.to] = make(map[int32]bool)
		l.at += d
		l.way = append(l.way, next.to)
		l.detours = 0
	}
}

// choose returns the neighbour that shares most bits with the target, the
// fastest of those; around holes also such as are no nearer than this node.
func (c *courier) choose(here int32, l *compactLeg, given map[int32]bool) (best link, ok bool) {
	key := c.f.ids[c.to]
	own := c.f.ids[here] ^ key
	bestFar, bestBits, bestDelay := false, 0, time.Duration(0)
	for _, n := range c.f.links[here] {
		if n.to == c.to && !given[n.to] {
			return n, true
		}
		far := c.f.ids[n.to]^key > own
		shared := bits.LeadingZeros64(c.f.ids[n.to] ^ key)
		d := c.delay(here, n)
		if ok && (far && !bestFar || far == bestFar && (shared < bestBits || shared == bestBits && d >= bestDelay)) {
			continue
		}
		if given[n.to] || slices.Contains(l.seen, n.to) {
			continue
		}
		best, ok, bestFar, bestBits, bestDelay = n, true, far, shared, d
	}
	return best, ok
}

func (c *courier) delay(from int32, n link) time.Duration {
	if n.carrier >= 0 {
		return c.f.delay(from, n.carrier) + c.f.delay(n.carrier, n.to)
	}
	return c.f.delay(from, n.to)
}

// hop is the delay of a link that is known to be there.
func (c *courier) hop(a, b int32) time.Duration {
	for _, n := range c.f.links[a] {
		if n.to == b {
			return c.delay(a, n)
		}
	}
	return c.f.delay(a, b)
}

// compactTraffic sends count messages between random living pairs.
func (f *field) traffic(count, copies int, dead []bool, forward []int32) *fate {
	t := &fate{}
	pick := func() int32 {
		for {
			if i := f.rng.IntN(len(f.ids)); dead == nil || !dead[i] {
				return int32(i)
			}
		}
	}
	for range count {
		a, b := pick(), pick()
		for a == b {
			b = pick()
		}
		c := courier{f: f, from: a, to: b, dead: dead, forward: forward}
		at, hops := c.send(copies)
		t.add(0, at, hops)
	}
	return t
}
