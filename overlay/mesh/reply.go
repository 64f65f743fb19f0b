// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
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
	r.respond(now, t, body)
}

// respond sends a reply of this node.
func (r *router) respond(now time.Duration, t *trail, body []byte) {
	t.sent++
	t.proved = true
	if t.own {
		r.answered(now, t, body, 0, r.c.id)
		return
	}
	t.extend(now)
	r.passOn(t, int(t.ended), t.sent, 1, body, replyWays)
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
	if t.head.locked() && !t.own {
		t.extend(now)
	}
	if m.number > 0 && !t.hear(&m, a) { // it came another way; who brought this copy still learns that it arrived
		r.routing.Excess++
		m.number = 0
	}
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

// maxHeard bounds the replies to one message that a node passes on: all of one
// node's, over two ways, or five record slots from each of a dozen nodes.
const maxHeard = 2 * maxReplies

// hear reports whether a reply is a new one. It is its content that counts: a
// liar on one way knows numbers and secret, and must not take the place of what
// comes another way. Messages that aren't exact have a target for each copy.
func (t *trail) hear(m *replyMsg, a *given) bool {
	h := sha256.New()
	h.Write([]byte{m.number})
	if !t.head.exact() {
		h.Write(a.to.id[:])
	}
	h.Write(m.body)
	var sum [sha256.Size]byte
	x := binary.BigEndian.Uint64(h.Sum(sum[:0]))
	if len(t.heard) == maxHeard || slices.Contains(t.heard, x) {
		return false
	}
	t.heard = append(t.heard, x)
	return true
}

func (r *router) answered(now time.Duration, t *trail, body []byte, hops int, first ID) {
	t.answered = true
	r.routing.Answered++
	r.c.events.push(Answered{
		Request: t.request, Body: bytes.Clone(body), Hops: hops, First: first, After: now - t.born, Proved: t.head.locked(), Trace: t.trace,
	})
}
