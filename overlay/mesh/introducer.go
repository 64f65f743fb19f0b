// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"net/netip"
	"slices"
	"time"
)

// introducer carries sealed offers between two neighbours, and says to each
// where it sees the other. It learns nothing else, and what it carries can't be
// changed unseen.
type introducer struct {
	c       *core
	pending []passage // in order of expiry
	carried []pair
	quotas  []quota // by prefix
	total   tokens
	lately  float32 // introductions of late, halved every loadHalf
	latelyA time.Duration
	counts  IntroducerStatus
}

// passage is an introduction on its way: the answer goes back to asker.
type passage struct {
	request uint32 // ours, towards the target
	theirs  uint32 // the asker's own number
	asker   *neighbour
	target  *neighbour
	relay   bool
	until   time.Duration
}

type pair struct{ a, b ID }

// quota is what the links of one prefix may still ask for together.
type quota struct {
	prefix prefix
	left   tokens
}

const (
	// maxPassages bounds introductions on their way: two seconds at the
	// highest total rate, and ten times what a node sees in a mass failure.
	maxPassages = 256
	// passageLife is how long a target may take: a sleeping phone's radio
	// needs two seconds, the asker gives up a little later.
	passageLife = 8 * time.Second
	// maxCarriedLinks: in the simulation's worst network, without any public
	// node, no node was needed for more (reference: 10^5 nodes).
	maxCarriedLinks = 32
	// keptForNear of them are kept for siblings, which no other link can stand
	// in for: with a fifth of all nodes behind endpoint-independent NATs there
	// are three to carry for each node.
	keptForNear = 24
	// maxQuotas bounds the prefixes looked after one by one; of more, the one
	// that has been quiet longest is forgotten.
	maxQuotas = 64
	// loadHalf is the half-life of what CARDS tells of our load.
	loadHalf = 20 * time.Second
)

// workRate is what one neighbour may ask of us, FIND and INTRODUCE together: a
// join needs some 16 at once, a repair round ten. soughtRate is how often we let
// others ask for it: twice that, so that one asker can't use it up. networkRate is
// for all neighbours of one prefix, totalRate for all: 32 introductions a second
// are some 400 kbit/s with offers and answers, for as long as a storm lasts.
func workRate() rate    { return rate{2, 48} }
func soughtRate() rate  { return rate{4, 96} }
func networkRate() rate { return rate{4, 96} }
func totalRate() rate   { return rate{32, 128} }

// find answers FIND with neighbours near the point. A scope of bits means that the
// asker is in the bucket bits-1 of all that are in it: who has no room there is
// left out, unless the asker has hardly any other.
func (s *introducer) find(now time.Time, from *neighbour, m *message) {
	if !s.allowed(now, from) {
		s.counts.Shed++
		return
	}
	var room [maxCards]*neighbour
	list := room[:0]
	if !s.c.self.Leaf {
		list = s.c.table.nearest(list, m.id, min(m.count, maxCards), func(n *neighbour) bool {
			return n == from || n.leaf() || n.spare || prefixLen(&n.id, &m.id) < m.bits ||
				m.bits > 0 && m.bits <= maxFar && m.flags&flagScarce == 0 && n.room>>(m.bits-1)&1 == 0
		})
	}
	cards := make([]byte, 0, len(list)*entryLen)
	for _, n := range list {
		cards = appendEntry(cards, n)
	}
	answer := message{request: m.request, cards: cards, load: s.load(now), carried: uint8(len(s.carried))}
	s.c.out.push(from.id, answer.append(nil, typeCards))
}

// allowed takes one permit of a neighbour's.
func (s *introducer) allowed(now time.Time, from *neighbour) bool {
	return from.work.take(s.c.since(now), workRate())
}

// introduce passes an asker's offer on to its target, when there are live
// links to both.
func (s *introducer) introduce(now time.Time, from *neighbour, m *message) {
	relay := m.flags&flagRelay != 0
	target := s.c.table.find(m.id)
	switch {
	case target == nil || target == from || s.c.self.Leaf:
		s.refuse(from, m.request, answerAbsent)
		return
	case relay && (from.relayed || target.relayed || s.carriedNow() >= mayCarry(m.flags)):
		s.counts.Full++
		s.refuse(from, m.request, answerBusy)
		return
	case !s.allowed(now, from) || len(s.pending) == maxPassages || !s.within(now, from.prefix) ||
		!target.sought.take(s.c.since(now), soughtRate()) || !s.total.take(s.c.since(now), totalRate()):
		s.counts.Shed++
		s.refuse(from, m.request, answerBusy)
		return
	}
	s.c.seq++
	s.pending = append(s.pending, passage{s.c.seq, m.request, from, target, relay, s.c.since(now) + passageLife})
	s.counts.Asked++
	s.lately = s.recent(now) + 1
	s.latelyA = s.c.since(now)
	pass := message{request: s.c.seq, card: from.card, flags: m.flags, sealed: m.sealed, seen: s.sees(from)}
	s.c.out.push(target.id, pass.append(nil, typeIntroduction))
}

// sees returns where this node sees a neighbour: on its own direct link only.
func (s *introducer) sees(n *neighbour) netip.AddrPort {
	if n.relayed {
		return netip.AddrPort{}
	}
	return n.addr
}

func (s *introducer) refuse(to *neighbour, request uint32, answer uint8) {
	no := message{request: request, answer: answer}
	s.c.out.push(to.id, no.append(nil, typeReply))
}

// reply takes a target's answer back to the asker. It returns false when we
// asked that node nothing of this number.
func (s *introducer) reply(from *neighbour, m *message) bool {
	i := slices.IndexFunc(s.pending, func(p passage) bool { return p.request == m.request && p.target == from })
	if i < 0 {
		return false
	}
	p := s.pending[i]
	s.pending = slices.Delete(s.pending, i, i+1)
	answer := *m
	answer.request, answer.seen = p.theirs, netip.AddrPort{}
	if m.answer == answerAgreed {
		answer.seen = s.sees(from)
		s.counts.Passed++
		if p.relay {
			s.carry(pair{p.asker.id, from.id})
		}
	} else {
		answer.sealed = nil
	}
	s.c.out.push(p.asker.id, answer.append(nil, typeReply))
	return true
}

func (s *introducer) carry(p pair) {
	if !slices.ContainsFunc(s.carried, p.same) {
		s.carried = append(s.carried, p)
		s.c.events.push(Carry{p.a, p.b})
	}
}

func (p pair) same(o pair) bool { return p == o || p.a == o.b && p.b == o.a }

// carriedNow counts the links that are carried, and those that will be when
// their targets agree.
func (s *introducer) carriedNow() int {
	n := len(s.carried)
	for _, p := range s.pending {
		if p.relay {
			n++
		}
	}
	return n
}

func mayCarry(flags uint8) int {
	if flags&flagNear != 0 {
		return maxCarriedLinks
	}
	return maxCarriedLinks - keptForNear
}

// ended is told that a carried link is gone.
func (s *introducer) ended(p pair) {
	s.carried = slices.DeleteFunc(s.carried, p.same)
}

// forget drops a neighbour whose link is gone, and what it had to do with.
func (s *introducer) forget(n *neighbour) {
	s.carried = slices.DeleteFunc(s.carried, func(p pair) bool { return p.a == n.id || p.b == n.id })
	for i := 0; i < len(s.pending); i++ {
		p := s.pending[i]
		if p.asker != n && p.target != n {
			continue
		}
		if p.target == n {
			s.refuse(p.asker, p.theirs, answerAbsent)
		}
		s.pending = slices.Delete(s.pending, i, i+1)
		i--
	}
}

// within takes one permit of a prefix's. Unknown and local ones have none of
// their own.
func (s *introducer) within(now time.Time, p prefix) bool {
	if s.c.noCaps || p <= local {
		return true
	}
	at := s.c.since(now)
	i := slices.IndexFunc(s.quotas, func(q quota) bool { return q.prefix == p })
	if i < 0 {
		if len(s.quotas) == maxQuotas {
			i = 0
			for j, q := range s.quotas {
				if q.left.at < s.quotas[i].left.at {
					i = j
				}
			}
			s.quotas = slices.Delete(s.quotas, i, i+1)
		}
		s.quotas = append(s.quotas, quota{prefix: p, left: tokens{at: at}})
		i = len(s.quotas) - 1
	}
	return s.quotas[i].left.take(at, networkRate())
}

// recent is how many introductions this node passed on of late.
func (s *introducer) recent(now time.Time) float32 {
	for at := s.c.since(now); at-s.latelyA >= loadHalf; s.latelyA += loadHalf {
		if s.lately /= 2; s.lately < 1 {
			s.lately, s.latelyA = 0, at
		}
	}
	return s.lately
}

func (s *introducer) load(now time.Time) uint8 { return uint8(min(255, s.recent(now))) }

func (s *introducer) advance(now time.Time) {
	at := s.c.since(now)
	for len(s.pending) > 0 && s.pending[0].until <= at {
		s.pending = slices.Delete(s.pending, 0, 1)
		s.counts.Silent++
	}
	if len(s.pending) == 0 && cap(s.pending) > keepQueue {
		s.pending = nil
	}
}

func (s *introducer) deadline() time.Time {
	if len(s.pending) == 0 {
		return time.Time{}
	}
	return s.c.epoch.Add(s.pending[0].until)
}
