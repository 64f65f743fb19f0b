// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"slices"
	"time"
)

// suitor is a node's own part in introductions: those it asks for and those it
// is asked for.
type suitor struct {
	c      *core
	tries  []try   // asked for by us
	asks   []offer // asked of us
	counts SuitorStatus
}

// try is a link that we want, from the moment it is chosen until it stands.
type try struct {
	request uint32
	card    Card
	id      ID
	via     *neighbour
	goal    int16 // bucket, or nearGoal
	relay   bool
	swap    bool // to replace a slow link
	state   tryState
	prefix  prefix
	until   time.Duration
}

type tryState uint8

const (
	sealing  tryState = iota // the driver makes the offer
	asking                   // it is on its way
	punching                 // both sides know
)

// offer is a link that somebody wants with us.
type offer struct {
	request  uint32 // ours, towards the driver
	theirs   uint32 // the introducer's
	via      *neighbour
	asker    applicant
	as       role
	accepted bool
	until    time.Duration
}

const (
	// maxTries bounds the links a node works on at a time (design §6: eight at
	// once); a punch costs up to a few dozen packets.
	maxTries = 8
	// maxOffers bounds those it is asked for: a joining storm brings more, and
	// they come again.
	maxOffers = 24
	// offersPerVia keeps one introducer from using them all.
	offersPerVia = 12
	// sealTime is what a driver may take to seal or open an offer; it answers at
	// once or has lost the question.
	sealTime = 2 * time.Second
	// askTime is longer than an introducer waits for the target.
	askTime = passageLife + 2*time.Second
	// punchTime is longer than the longest punch plan and a handshake.
	punchTime = 20 * time.Second
)

// begin asks the driver for an offer.
func (s *suitor) begin(now time.Time, t try) {
	s.c.seq++
	t.request, t.state, t.until = s.c.seq, sealing, s.c.since(now)+sealTime
	s.tries = append(s.tries, t)
	s.counts.Wanted++
	s.c.events.push(Wanted{Request: t.request, Node: t.card, Via: t.via.id, Relay: t.relay})
}

// sealed is the driver's answer to Wanted.
func (s *suitor) sealed(now time.Time, request uint32, b []byte) {
	i := slices.IndexFunc(s.tries, func(t try) bool { return t.request == request && t.state == sealing })
	if i < 0 || len(b) > maxSealed {
		return
	}
	t := &s.tries[i]
	m := message{request: request, id: t.id, sealed: b}
	if t.relay {
		m.flags |= flagRelay
	}
	if t.goal == nearGoal {
		m.flags |= flagNear
	} else if s.c.table.bucket(int(t.goal)).all < minFar {
		m.flags |= flagScarce
	}
	t.state, t.until = asking, s.c.since(now)+askTime
	s.c.out.push(t.via.id, m.append(nil, typeIntroduce))
}

// of returns the try for a node, nil when there is none.
func (s *suitor) of(id ID) *try {
	if i := slices.IndexFunc(s.tries, func(t try) bool { return t.id == id }); i >= 0 {
		return &s.tries[i]
	}
	return nil
}

func (s *suitor) drop(t *try) {
	i := slices.IndexFunc(s.tries, func(o try) bool { return o.request == t.request })
	s.tries = slices.Delete(s.tries, i, i+1)
}

// answered takes REPLY to a try of ours. failed is the try that came to
// nothing, why its answer.
func (s *suitor) answered(now time.Time, from *neighbour, m *message) (failed try, answer uint8, ok bool) {
	i := slices.IndexFunc(s.tries, func(t try) bool { return t.request == m.request && t.via == from && t.state == asking })
	if i < 0 {
		return try{}, 0, false
	}
	t := &s.tries[i]
	answer = m.answer
	if p := prefixOf(m.seen.Addr()); answer == answerAgreed {
		if t.prefix = p; !s.c.diverse(t.id, p, from.id) {
			answer = answerDeclined // more of one prefix than the table may hold
		}
	}
	if answer == answerAgreed {
		t.state, t.until = punching, s.c.since(now)+punchTime
		s.counts.Agreed++
		s.c.events.push(Agreed{
			Request: m.request, Node: t.id, Via: from.id, Relay: t.relay, Seen: m.seen, Sealed: bytes.Clone(m.sealed),
		})
		return try{}, 0, false
	}
	failed = *t
	s.counts.Refused++
	s.c.events.push(Refused{t.request, t.id})
	s.drop(t)
	return failed, answer, true
}

// introduced takes INTRODUCTION: an asker's offer, for which this node has room or
// has not.
func (s *suitor) introduced(now time.Time, via *neighbour, m *message) {
	at := s.c.since(now)
	id, relay := m.card.ID(), m.flags&flagRelay != 0
	a := applicant{
		id: id, leaf: m.card.Leaf, prefix: prefixOf(m.seen.Addr()), via: via.id, relay: relay,
		near: m.flags&flagNear != 0, scarce: m.flags&flagScarce != 0,
	}
	for _, o := range s.asks {
		if o.as == guest {
			a.beds++
		} else if prefixLen(&s.c.id, &o.asker.id) == prefixLen(&s.c.id, &id) {
			a.places++
		}
	}
	as, ok := s.c.admit(&a)
	known := s.c.table.find(id)
	switch t := s.of(id); {
	case id == s.c.id || known != nil && !known.spare:
		ok = false
	case !relay && (!linkable(s.c.self.Class, m.card.Class) || s.c.failed.has(at, failedKey(id))):
		ok = false
	case t != nil && t.state >= asking && s.c.id.Less(id):
		s.answer(via, m.request, answerCrossing, nil)
		return
	}
	if !ok {
		s.counts.Declined++
		s.answer(via, m.request, answerDeclined, nil)
		return
	}
	if len(s.asks) == maxOffers || s.from(via) >= offersPerVia || slices.ContainsFunc(s.asks, func(o offer) bool { return o.asker.id == id }) {
		s.counts.Shed++
		s.answer(via, m.request, answerBusy, nil)
		return
	}
	s.c.seq++
	s.asks = append(s.asks, offer{
		request: s.c.seq, theirs: m.request, via: via, asker: a, as: as, until: at + sealTime,
	})
	s.c.events.push(Asked{
		Request: s.c.seq, From: m.card, Via: via.id, Relay: relay, Seen: m.seen, Sealed: bytes.Clone(m.sealed),
	})
}

func (s *suitor) from(via *neighbour) int {
	n := 0
	for _, o := range s.asks {
		if o.via == via {
			n++
		}
	}
	return n
}

func (s *suitor) answer(via *neighbour, request uint32, answer uint8, sealed []byte) {
	m := message{request: request, answer: answer, sealed: sealed}
	s.c.out.push(via.id, m.append(nil, typeReply))
}

// accept is the driver's answer to Asked.
func (s *suitor) accept(now time.Time, request uint32, sealed []byte) {
	i := slices.IndexFunc(s.asks, func(o offer) bool { return o.request == request && !o.accepted })
	if i < 0 || len(sealed) > maxSealed {
		return
	}
	o := &s.asks[i]
	o.accepted, o.until = true, s.c.since(now)+punchTime
	s.counts.Accepted++
	s.answer(o.via, o.theirs, answerAgreed, sealed)
}

// decline ends an offer of somebody else, or a try of ours, which it returns.
func (s *suitor) decline(request uint32) (t try, ours bool) {
	if i := slices.IndexFunc(s.asks, func(o offer) bool { return o.request == request }); i >= 0 {
		o := s.asks[i]
		s.asks = slices.Delete(s.asks, i, i+1)
		if !o.accepted {
			s.counts.Declined++
			s.answer(o.via, o.theirs, answerDeclined, nil)
		}
		return try{}, false
	}
	i := slices.IndexFunc(s.tries, func(t try) bool { return t.request == request })
	if i < 0 {
		return try{}, false
	}
	t = s.tries[i]
	s.drop(&s.tries[i])
	return t, true
}

// linked ends what was to lead to this link, and says what is known of it.
func (s *suitor) linked(id ID) (t try, ours bool, o offer, theirs bool) {
	if p := s.of(id); p != nil {
		t, ours = *p, true
		s.drop(p)
	}
	if i := slices.IndexFunc(s.asks, func(o offer) bool { return o.asker.id == id }); i >= 0 {
		o, theirs = s.asks[i], true
		s.asks = slices.Delete(s.asks, i, i+1)
	}
	return t, ours, o, theirs
}

// expired returns a try whose time is over.
func (s *suitor) expired(at time.Duration) (try, bool) {
	s.asks = slices.DeleteFunc(s.asks, func(o offer) bool { return o.until <= at })
	i := slices.IndexFunc(s.tries, func(t try) bool { return t.until <= at })
	if i < 0 {
		return try{}, false
	}
	t := s.tries[i]
	s.drop(&s.tries[i])
	s.counts.Silent++
	s.c.events.push(Refused{t.request, t.id})
	return t, true
}

// forget drops what went through a neighbour whose link is gone. A punch under
// way needs it no more.
func (s *suitor) forget(n *neighbour) (lost []try) {
	s.asks = slices.DeleteFunc(s.asks, func(o offer) bool { return o.via == n && !o.accepted })
	for i := 0; i < len(s.tries); i++ {
		if t := s.tries[i]; t.via == n && t.state != punching {
			lost = append(lost, t)
			s.c.events.push(Refused{t.request, t.id})
			s.tries = slices.Delete(s.tries, i, i+1)
			i--
		}
	}
	return lost
}

func (s *suitor) next() time.Duration {
	next := never
	for _, t := range s.tries {
		next = min(next, t.until)
	}
	for _, o := range s.asks {
		next = min(next, o.until)
	}
	return next
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)
