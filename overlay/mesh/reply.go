// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// replyWays is how many ways back a reply takes, when there are as many: one
// may have broken since, or lead through somebody who passes on messages and
// drops replies. Where ways meet again, the second is dropped.
const replyWays = 3

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
	r.passOn(t, int(t.ended), &replyMsg{number: t.sent, hops: 1, body: body})
}

// unlock checks a secret and remembers it.
func (t *trail) unlock(secret []byte) bool {
	if len(secret) == 0 || len(secret) > secretLen || sha256.Sum256(secret) != t.head.lock {
		return false
	}
	t.secretN = uint8(copy(t.secret[:], secret))
	return true
}

// passOn sends a reply to who brought the leg, and when all legs have one target
// to the others. When none of their links stands, whoever brought another copy
// will do.
func (r *router) passOn(t *trail, first int, m *replyMsg) {
	var kept []byte // a message that was sent: its end is the body
	sent := 0
	send := func(b *back, m *replyMsg) {
		if out := r.sendReply(t, b, m); out != nil && m.number > 0 {
			kept = out
			sent++
		}
	}
	send(&t.backs[first], m)
	for i := range t.backs {
		b := &t.backs[i]
		switch {
		case i == first || !b.taken || !t.head.exact():
		case sent < replyWays:
			send(b, m)
		case !b.told: // learns at least that it arrived
			send(b, &replyMsg{hops: 1})
		}
	}
	for i := 0; i < len(t.backs) && sent == 0; i++ {
		if b := &t.backs[i]; !b.taken {
			send(b, m)
		}
	}
	if sent == 0 {
		r.routing.NoWayBack++
		return
	}
	r.held += len(m.body) - len(t.last.body)
	t.last = replyMsg{number: m.number, hops: m.hops, body: kept[len(kept)-len(m.body):]}
}

// sendReply returns what it sent, nil when the link is gone. The secret goes
// along the first time.
func (r *router) sendReply(t *trail, to *back, m *replyMsg) []byte {
	if r.c.table.find(to.n.id) == nil {
		return nil
	}
	m.trace, m.secret = t.trace, nil
	if !to.told {
		m.secret = t.secret[:t.secretN]
		to.told = true
	}
	b := m.append(make([]byte, 0, m.size()))
	r.c.out.push(to.n.id, b)
	return b
}

// tell lets who brought a copy know that it arrived, by the latest reply when
// there is one.
func (r *router) tell(t *trail, to *back) {
	if to.told {
		return
	}
	m := t.last
	if m.hops == 0 {
		m.hops = 1
	}
	r.sendReply(t, to, &m)
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
		m.hops += min(1, ^m.hops)
		r.passOn(t, int(t.legs[a.leg].back), &m)
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
