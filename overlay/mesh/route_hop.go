// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

const (
	// maxDetours bounds how many neighbours may be silent or busy before a node
	// gives a copy back: with half of all nodes dead, 1 − 0.5⁷ of the hops find
	// a way.
	maxDetours = 6
	// lossCost is what a lost message costs in seconds: what the origin waits
	// until it sends more copies, and they travel. It weighs scores against
	// round trips.
	lossCost = 1.0
	// exploring: one copy in this many of those beyond a message's first may
	// go through a demoted neighbour, so that who mends its ways is seen.
	exploring = 16
	// spreadBits, in 1/256: see spread. Less lets copies meet, more lengthens
	// their ways.
	spreadBits = 384
	// nearEnough: a node that knows fewer nodes nearer to a key is one of the
	// eight that hold its records; it may not know one in two.
	nearEnough = siblings / 2
)

// rank orders neighbours as next hops: by tier, then by the bits they share
// with the key, then by cost. Trading bits against cost made messages arrive
// 1 % sooner and be lost in 2 % more cases among black holes.
type rank struct {
	tier uint8
	bits int // in 1/256
	cost float32
}

// The tiers. Those that don't make progress are for exact messages alone:
// around a hole that dead nodes left. An origin that is itself among the
// nearest also gives its other copies to them.
const (
	tierNear uint8 = iota
	tierNearDemoted
	tierFar
	tierFarDemoted
)

// choose returns the best neighbour to give a copy to, nil when none is left,
// and how many there are that are nearer to the key than this node.
func (r *router) choose(now time.Duration, t *trail, l *leg) (best *neighbour, more int) {
	key, exact := &t.head.key, t.head.exact()
	r.standard.renew(now, r.c.table.list, &r.c.id)
	explore := t.own && l.nth > 0 && r.c.rng.IntN(exploring) == 0
	var bestRank rank
	var last *neighbour // of those near enough for the copies beyond the one that ended here
	if !exact && t.route != 0 {
		var room [siblings]*neighbour
		if near := r.c.table.nearest(room[:0], *key, siblings, func(n *neighbour) bool { return n.leaf() }); len(near) > 0 {
			last = near[len(near)-1]
		}
	}
	for _, n := range r.c.table.list {
		if n.id == *key && exact {
			if n.score.waiting < n.window(t.next) && t.tryOf(&n.id) < 0 && !t.broughtBy(n) {
				return n, 1
			}
			continue
		}
		if n.spare || n.leaf() || n.score.waiting >= n.window(false) {
			continue
		}
		var k rank
		if !nearer(key, &n.id, &r.c.id) {
			if !exact && !t.own && (last == nil || nearer(key, &last.id, &n.id)) {
				continue
			}
			k.tier = tierFar
		}
		if !explore && (r.standard.demoted(n) || n.score.doubtful(now)) {
			k.tier++
		}
		mark := fingerprint(&t.trace, &n.id)
		k.bits, k.cost = prefixLen(key, &n.id)<<8, r.cost(n)
		if l.nth >= firstCopies {
			k.bits = min(k.bits, (r.standard.depth-1)<<8) + spread(mark, l.nth)
		}
		if exact && best != nil && !k.before(&bestRank) {
			continue
		}
		if l.seen.has(mark) || t.tryOf(&n.id) >= 0 || t.broughtBy(n) {
			continue
		}
		if k.tier < tierFar {
			more++
		}
		if best == nil || k.before(&bestRank) {
			best, bestRank = n, k
		}
	}
	return best, more
}

func (k *rank) before(o *rank) bool {
	switch {
	case k.tier != o.tier:
		return k.tier < o.tier
	case k.bits != o.bits:
		return k.bits > o.bits
	}
	return k.cost < o.cost
}

// cost is what giving a message to n takes, in seconds.
func (r *router) cost(n *neighbour) float32 {
	return float32(n.roundTrip().Seconds())/2 + (1-n.score.value())*lossCost
}

// spread is what a neighbour's bits are raised by for one copy of a message, 0
// to 1½ bits, in 1/256. Copies would keep apart only as far as nodes refuse
// what they have seen; a black hole near the target refuses none and takes them
// all. So each copy beyond the first three has other neighbours that it likes
// better, and doesn't care how near they are once they are likely to know the
// target.
func spread(mark uint16, nth uint8) int {
	h := (uint32(mark) + 1) * (2*uint32(nth) + 1) * 0x9e3779b1
	return int(h >> 16 * spreadBits >> 16)
}

func (t *trail) broughtBy(n *neighbour) bool {
	for i := range t.backs {
		if t.backs[i].n.id == n.id {
			return true
		}
	}
	return false
}

// What step did.
type stepped uint8

const (
	noStep   stepped = iota // nobody is left, or the leg has had its share
	stepGave                // a neighbour has it
	stepEnds                // it is to be delivered here
)

// step gives a leg's message to the next best neighbour, unless it ends here.
func (r *router) step(now time.Duration, t *trail, i int) stepped {
	l := &t.legs[i]
	l.cur = -1
	most := hopTries
	if t.own {
		most = ownTries
	}
	if len(t.tries) >= most || l.detours > maxDetours || l.returned > maxStuck || l.seen.full() || l.hops >= maxHops {
		return noStep
	}
	n, more := r.choose(now, t, l)
	if t.next && (n == nil || n.id != t.head.key) {
		return noStep
	}
	if r.ends(t, l, more) {
		return stepEnds
	}
	if n == nil || more == 0 && r.absent(now, t, l) {
		return noStep
	}
	l.seen.add(fingerprint(&t.trace, &n.id))
	l.cur = int8(len(t.tries))
	t.tries = append(t.tries, given{to: n, sent: now, leg: uint8(i)})
	n.score.waiting++
	r.setTimer(now+n.timeout(r.standard.oneWay())+2*r.late.by(now), t, timeAck, int(l.cur))
	r.c.out.push(n.id, t.encode(l))
	if !t.own { // what answers may be as fast as the ACK
		r.passed(t, i, n)
	}
	return stepGave
}

// passed tells that a ring goes on to n.
func (r *router) passed(t *trail, leg int, n *neighbour) {
	if t.head.kind == Ring {
		r.c.events.push(Passed{From: t.bringer(leg).n.id, To: n.id, Trace: t.trace})
	}
}

// encode returns the message for a leg.
func (t *trail) encode(l *leg) []byte {
	size := routeSize(&l.seen, t.tail)
	if len(t.frame) != size {
		return appendRoute(make([]byte, 0, size), l.nth, l.hops+1, &l.seen, t.tail)
	}
	b := t.frame
	t.frame = nil
	appendRoute(b[:0:size-len(t.tail)], l.nth, l.hops+1, &l.seen, nil)
	return b
}

// ends reports whether a copy of a message to the nearest nodes ends here, where
// more of them are nearer. The first copy goes on to the very nearest; as that
// one may be a black hole, the others end at the first node on their way that
// is among the nearest few. Who looks for neighbours wants others, not itself.
func (r *router) ends(t *trail, l *leg, more int) bool {
	if t.head.exact() || t.route != 0 || r.c.self.Leaf || t.own && t.head.kind == Find {
		return false
	}
	return more == 0 || l.nth > 0 && more < nearEnough
}

// absent reports whether a target to which nobody known is nearer is not there
// at all. Where a neighbour was silent, or many were lost just now, it may be
// the way that is broken, and farther nodes may know one.
func (r *router) absent(now time.Duration, t *trail, l *leg) bool {
	return t.head.exact() && !t.own && l.detours == 0 && l.returned == 0 && !r.c.massFailure(r.c.epoch.Add(now))
}

// quorum is how many nodes near a target must miss it: one may have come a
// minute ago, or have lost that link alone.
const quorum = 2
