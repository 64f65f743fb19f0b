// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"crypto/sha256"
	"time"
)

// replyWays is how many ways back the node that answers uses, when it knows
// more than one: a way may have broken since, and no later hop can choose
// another. Where ways meet again, the second is dropped.
const replyWays = 2

// reply answers a message that was delivered here.
func (r *router) reply(at time.Time, to Route, secret, body []byte) {
	now := r.c.since(at)
	t := r.routes[to]
	if t == nil {
		r.routing.Stray++
		return
	}
	if len(body) > MaxBody || t.sent == maxReplies {
		r.routing.Excess++
		return
	}
	if t.head.locked() && t.secretN == 0 && !t.unlock(secret) {
		r.routing.False++
		return
	}
	t.sent++
	t.proved = true
	t.extend(now)
	if t.own {
		r.answered(now, t, body, 0, r.c.id)
		return
	}
	r.passOn(t, 0, t.sent, 1, body, replyWays)
}

// unlock checks a secret and remembers it.
func (t *trail) unlock(secret []byte) bool {
	if len(secret) == 0 || len(secret) > secretLen || sha256.Sum256(secret) != t.head.lock {
		return false
	}
	t.secretN = uint8(copy(t.secret[:], secret))
	return true
}

// passOn sends a reply over the first ways back whose links stand, one that is
// preferred before all. Whoever else brought a copy that we took learns that it
// arrived.
func (r *router) passOn(t *trail, first int, number, hops uint8, body []byte, ways int) {
	sent := 0
	for i := -1; i < len(t.backs) && sent < ways; i++ {
		switch {
		case i < 0 && r.sendReply(t, &t.backs[first], number, hops, body):
			sent++
		case i >= 0 && i != first && r.sendReply(t, &t.backs[i], number, hops, body):
			sent++
		}
	}
	if sent == 0 {
		r.routing.NoWayBack++
	}
	for i := range t.backs {
		if t.backs[i].taken {
			r.tell(t, &t.backs[i])
		}
	}
}

// tell says that a copy arrived.
func (r *router) tell(t *trail, to *back) {
	if !to.told {
		r.sendReply(t, to, 0, 1, nil)
	}
}

// sendReply reports whether the link still stands. The secret goes along the
// first time.
func (r *router) sendReply(t *trail, to *back, number, hops uint8, body []byte) bool {
	if r.c.table.find(to.n.id) == nil {
		return false
	}
	m := replyMsg{trace: t.trace, number: number, hops: hops, body: body}
	if !to.told {
		m.secret = t.secret[:t.secretN]
		to.told = true
	}
	r.c.out.push(to.n.id, m.append(make([]byte, 0, m.size())))
	return true
}

func (r *router) receiveReply(now time.Duration, from *neighbour, b []byte) error {
	m, err := readReply(b)
	if err != nil {
		return err
	}
	t := r.trails[m.trace]
	i := -1
	if t != nil {
		i = t.tryOf(&from.id)
	}
	if i < 0 {
		r.routing.Stray++
		return nil
	}
	a := &t.tries[i]
	if !from.score.back.take(now, replyRate()) {
		r.routing.Excess++
		return nil
	}
	if t.head.locked() && !a.proved && !t.unlock(m.secret) {
		r.routing.False++
		from.score.add(true, t.weight(a), false)
		return nil
	}
	if !a.proved {
		a.proved, t.proved = true, true
		r.settle(a, givenTaken)
		from.score.add(t.head.locked(), t.weight(a), true)
	}
	if t.head.locked() {
		t.extend(now)
	}
	// All ways of an exact message come from one node, which numbers its
	// replies; otherwise each copy has a target of its own.
	numbered := &a.numbered
	if t.head.exact() {
		numbered = &t.numbered
	}
	if m.number > 0 && *numbered&(1<<m.number) != 0 { // a second way; its bringer still learns of the first
		r.routing.Excess++
		m.number = 0
	}
	*numbered |= 1 << m.number
	switch {
	case t.own && m.number > 0:
		r.answered(now, t, m.body, int(m.hops), from.id)
	case t.own:
	case m.number > 0:
		r.routing.Replies++
		r.passOn(t, int(t.legs[a.leg].back), m.number, m.hops+min(1, ^m.hops), m.body, 1)
	default:
		r.tell(t, t.bringer(int(a.leg)))
	}
	return nil
}

func (r *router) answered(now time.Duration, t *trail, body []byte, hops int, first ID) {
	t.answered = true
	r.routing.Answered++
	r.c.events.push(Answered{
		Request: t.request, Body: bytes.Clone(body), Hops: hops, First: first, After: now - t.born, Proved: t.head.locked(), Trace: t.trace,
	})
}
