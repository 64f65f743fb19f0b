// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"cmp"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// candidate is a node that a neighbour has told us of.
type candidate struct {
	card    Card
	id      ID
	via     *neighbour
	goal    int16
	relay   bool
	swap    bool
	rtt     time.Duration // estimate, from the neighbour's round trip to it
	carried uint8         // links that via carries
	until   time.Duration
}

// nearGoal is the goal of a link near our own ID, or on the way there. All
// others are buckets.
const nearGoal = -1

const (
	// maxCandidates bounds what is kept of the answers to FIND: hearings for each
	// of two buckets.
	maxCandidates = 2 * hearings * maxCards
	// nearTries links towards our own place are made at a time: each brings
	// news of nodes that are nearer.
	nearTries = 3
	// candidateLife: nodes leave, buckets fill.
	candidateLife = 30 * time.Second
)

// receive judges the cards of an answer and keeps those that are of use.
func (f *filler) receive(now time.Time, q question, m *message) {
	at := f.c.since(now)
	for r := wire.NewReader(m.cards); r.Len() > 0; {
		card := readCard(r)
		relayed := m.cards[len(m.cards)-r.Len()-1]&relayedBit != 0
		// From us it is no farther than both ways together and no nearer than
		// their difference: the middle is the longer one.
		rtt := max(q.to.speed(), time.Duration(r.U8())*rttUnit)
		c := candidate{
			card: card, id: card.ID(), via: q.to, swap: q.swap, rtt: rtt, carried: m.carried, until: at + candidateLife,
		}
		if f.useful(at, &c, q.goal, relayed) && (!c.swap || f.faster(&c)) {
			f.keep(c)
		}
	}
}

// useful says whether a candidate serves any goal, and sets which, and how.
func (f *filler) useful(at time.Duration, c *candidate, asked int16, relayed bool) bool {
	t := &f.c.table
	if known := t.find(c.id); c.id == f.c.id || c.card.Leaf || known != nil && !known.spare || f.of(c.id) != nil {
		return false
	}
	bucket := prefixLen(&f.c.id, &c.id)
	b := t.bucket(bucket)
	switch {
	case t.wouldSibling(&c.id):
		c.goal, c.swap = nearGoal, false
	case f.c.self.Leaf:
		return false
	case bucket <= t.depth && int(b.all) < f.c.want():
		c.goal, c.swap = int16(bucket), false
	case c.swap && bucket == int(asked) && f.trying(asked) == 0:
		c.goal = int16(bucket)
	default:
		return false
	}
	if !linkable(f.c.self.Class, c.card.Class) || f.c.failed.has(at, failedKey(c.id)) {
		c.relay = true
		if c.swap || relayed || c.via.relayed || c.carried >= maxCarriedLinks || c.goal != nearGoal && b.all >= minFar {
			return false
		}
	}
	return !f.c.failed.has(at, refusedKey(c.id, c.via.id))
}

// faster reports whether a candidate is likely to be much faster than what it
// would replace.
func (f *filler) faster(c *candidate) bool {
	slow := f.slowest(int(c.goal))
	return slow != nil && c.rtt < slow.rtt*3/5
}

// keep puts a candidate into the list. Of two ways to the same node the direct
// one wins, then the faster, or for carried links the less laden.
func (f *filler) keep(c candidate) {
	if i := slices.IndexFunc(f.cands, func(o candidate) bool { return o.id == c.id }); i >= 0 {
		if o := &f.cands[i]; better(&c, o) {
			*o = c
		}
		return
	}
	if len(f.cands) == maxCandidates {
		last := 0
		for i := range f.cands {
			if f.before(&f.cands[last], &f.cands[i]) {
				last = i
			}
		}
		if !f.before(&c, &f.cands[last]) {
			return
		}
		f.cands[last] = c
		return
	}
	f.cands = append(f.cands, c)
}

func better(a, b *candidate) bool {
	switch {
	case a.relay != b.relay:
		return b.relay
	case a.relay:
		return a.carried < b.carried
	}
	return a.rtt < b.rtt
}

// need is how many links serve a candidate's goal already: the fewer, the more
// urgent.
func (f *filler) need(c *candidate) int {
	if c.goal != nearGoal {
		return int(f.c.table.bucket(int(c.goal)).all) + f.trying(c.goal)
	}
	n := 0
	for _, s := range f.c.table.list {
		if s.sibling && nearer(&f.c.id, &s.id, &c.id) {
			n++
		}
	}
	return n
}

// unsure is 1 for a candidate that may not be to be reached, because this node
// does not know yet what it is behind. Those that anybody can write to come first
// then: they also can tell.
func (f *filler) unsure(c *candidate) int {
	return btoi(f.c.self.Class == Unknown && c.card.Class != Open)
}

func (f *filler) before(a, b *candidate) bool {
	return cmp.Or(
		cmp.Compare(btoi(a.swap), btoi(b.swap)),
		cmp.Compare(f.unsure(a), f.unsure(b)),
		cmp.Compare(f.need(a), f.need(b)),
		cmp.Compare(a.goal, b.goal),
		cmp.Compare(btoi(a.relay), btoi(b.relay)),
		cmp.Compare(a.rtt, b.rtt),
	) < 0
}

// choose takes the best candidate out of the list, and drops those that are of
// no use any more.
func (f *filler) choose(at time.Duration) (candidate, bool) {
	for {
		best := -1
		for i := 0; i < len(f.cands); i++ {
			c := &f.cands[i]
			if c.until <= at || c.via.gone || !f.useful(at, c, c.goal, false) ||
				c.goal != nearGoal && !c.swap && f.need(c) >= f.c.want() {
				f.cands = slices.Delete(f.cands, i, i+1)
				i--
				continue
			}
			if c.goal == nearGoal && f.trying(nearGoal) >= nearTries || c.goal != nearGoal && f.c.table.links+len(f.tries) >= f.c.farLimit() || !c.swap && f.hearing(at, c.goal) || c.via.busy > at || !f.c.diverse(c.id, 0, c.via.id) {
				continue
			}
			if best < 0 || f.before(c, &f.cands[best]) {
				best = i
			}
		}
		if best < 0 {
			return candidate{}, false
		}
		c := f.cands[best]
		f.cands = slices.Delete(f.cands, best, best+1)
		return c, true
	}
}

// have counts the candidates for a bucket.
func (f *filler) have(goal int16) int {
	n := 0
	for i := range f.cands {
		if f.cands[i].goal == goal {
			n++
		}
	}
	return n
}

// trying counts the links to a bucket that are being made.
func (f *filler) trying(goal int16) int {
	n := 0
	for i := range f.tries {
		if f.tries[i].goal == goal {
			n++
		}
	}
	return n
}
