// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func (m *Machine) receive(now time.Time, p Peer, b []byte) error {
	if !m.linked(p) {
		return fmt.Errorf("%w: receive", ErrUnknownPeer)
	}
	if len(m.out)+len(m.events) >= maxBacklog {
		return fmt.Errorf("%w: backlog", ErrFlood)
	}
	switch kind := typeOf(b); kind {
	case typeInvite:
		return m.receiveInvite(now, p, m.peers[p], b)
	case typeAnswer:
		return m.receiveAnswer(now, p, b)
	case typeRinging, typeReject, typeCancel, typeHangup:
		return m.receiveControl(now, p, b)
	case typeUpdate:
		return m.receiveUpdate(now, p, b)
	default:
		return fmt.Errorf("%w: type %d", ErrMessage, kind)
	}
}

func (m *Machine) receiveInvite(now time.Time, p Peer, pr *peer, b []byte) error {
	if !pr.invites.take(now) {
		return fmt.Errorf("%w: invites", ErrFlood)
	}
	inv, err := openInvite(now, m.self, m.node, p, b)
	if err != nil {
		if inv != nil && errors.Is(err, ErrExpired) {
			m.refuse(p, inv, Expired)
		}
		return err
	}
	if pr.seen.has(inv.id, inv.expires) || m.used(inv.id) {
		return fmt.Errorf("%w: invite %s", ErrReplay, inv.id.Short())
	}
	pr.seen.add(now, inv.id, inv.expires)
	if !m.usePass(now, inv) {
		m.refuse(p, inv, Denied)
		return fmt.Errorf("%w: pass of %s", ErrReplay, inv.id.Short())
	}

	theirs := []uint32{inv.offer.SSRC, inv.offer.VideoSSRC}
	ours := Offer{Codecs: m.o.Codecs, SSRC: m.newSSRC(theirs...), Capabilities: m.o.Capabilities, Video: m.o.Video}
	ours.VideoSSRC = m.newSSRC(append(theirs, ours.SSRC)...)
	answer, params, err := accept(inv.offer, ours)
	if err != nil {
		m.refuse(p, inv, Incompatible)
		return nil
	}
	if m.hears(params) {
		// A receiver picks the keys by SSRC, so two calls cannot share one.
		m.refuse(p, inv, Failed)
		return nil
	}
	c := newCall(now, inv.id, p, false, &inv.secret)
	c.invite, c.answer, c.params = inv, answer, params
	if inv.group != nil {
		c.group = inv.group.Roster.ID
	}

	old := m.with(p, c.group)
	switch {
	case old != nil && old.outgoing && old.phase != phaseTalk:
		return m.glare(now, old, c)
	case old != nil && old.unlinked:
		// The peer would not invite us if it still were in that call.
		m.end(now, old, Failed, false, nil)
	case old != nil:
		m.refuse(p, inv, Busy)
		return nil
	}
	if m.full(c.group) {
		m.refuse(p, inv, Busy)
		m.emit(Missed{Peer: p, Name: inv.name, When: now})
		return nil
	}
	c.phase = phaseRing
	c.giveUp, c.nextRing = now.Add(m.o.RingTimeout), now.Add(ringEvery)
	m.calls = append(m.calls, c)
	m.send(p, c.control(typeRinging, 0))
	m.emit(Incoming{ID: c.id, Peer: p, Name: inv.name, Reach: inv.reach, By: inv.by, Group: inv.group, Video: params.HasVideo()})
	return nil
}

// glare settles that both sides called each other: on either side the call with
// the smaller ID goes on, answered at once by the side whose own call lost,
// since both people want to talk. The winner just waits for that ANSWER.
func (m *Machine) glare(now time.Time, own, theirs *call) error {
	if own.id.less(theirs.id) {
		return nil
	}
	if len(own.invitation.offer.Video) == 0 {
		theirs.voice()
	}
	msg, keys, err := newAnswer(m.self, theirs.invite, theirs.answer)
	if err != nil {
		m.refuse(theirs.peer, theirs.invite, Failed)
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	// Not announced: the peer ignores the lost INVITE unless it took its own
	// call back first; then it rings there, we hear RINGING and cancel.
	m.bury(now, own, own.final(Cancelled))
	m.calls = append(m.calls, theirs)
	m.emit(Replaced{Old: own.id, New: theirs.id})
	m.answer(now, theirs, msg, keys)
	return nil
}

func (m *Machine) receiveAnswer(now time.Time, p Peer, b []byte) error {
	id, sealed, err := splitAnswer(b)
	if err != nil {
		return err
	}
	c := m.find(id)
	switch {
	case c == nil || c.peer != p || !c.outgoing:
		return m.late(now, p, id, false)
	case c.phase == phaseTalk:
		return fmt.Errorf("%w: answer %s", ErrReplay, id.Short())
	case c.badAnswers >= maxBadAnswers:
		return fmt.Errorf("%w: answers", ErrFlood)
	}
	params, keys, err := openAnswer(now, m.self, &c.invitation, p, sealed)
	if err != nil {
		c.badAnswers++
		return err
	}
	if m.hears(params) {
		m.end(now, c, Failed, true, c.final(Failed))
		return nil
	}
	c.params = params
	c.begin(now, keys)
	m.emit(Answered{ID: id, Peer: p, Params: params, Keys: keys})
	m.show(c, &keys)
	m.tell(now, c)
	return nil
}

func (m *Machine) receiveControl(now time.Time, p Peer, b []byte) error {
	msg, covered, mac, err := parseControl(b)
	if err != nil {
		return err
	}
	c := m.find(msg.id)
	if c == nil || c.peer != p {
		if msg.kind == typeRinging {
			return m.late(now, p, msg.id, false)
		}
		return fmt.Errorf("%w: %s", ErrNoCall, msg.id.Short())
	}
	if err := checkControl(&c.receiveKey, covered, mac); err != nil {
		return err
	}
	// Of two messages that change places the later one counts: only the last
	// of a direction can end the call.
	if msg.seq <= c.received {
		return fmt.Errorf("%w: control %d of %s", ErrReplay, msg.seq, msg.id.Short())
	}
	if fits := msg.kind == typeHangup || (msg.kind == typeCancel) == !c.outgoing; !fits {
		return fmt.Errorf("%w: type %d from the wrong side", ErrMessage, msg.kind)
	}
	c.received = msg.seq
	switch msg.kind {
	case typeRinging:
		if c.phase == phaseInvite {
			c.phase = phaseRing
			m.emit(Ringing{ID: c.id})
		}
	case typeReject:
		if c.phase == phaseTalk {
			return fmt.Errorf("%w: reject of an answered call", ErrMessage)
		}
		m.end(now, c, msg.reason.claimed(msg.kind), false, nil)
	default:
		m.end(now, c, msg.reason.claimed(msg.kind), false, nil)
	}
	return nil
}

// late handles RINGING or ANSWER to an own call that is over here, or an UPDATE
// to any: the peer has not heard of it, so it is told again.
func (m *Machine) late(now time.Time, p Peer, id CallID, any bool) error {
	for i := range m.ended {
		e := &m.ended[i]
		if e.id == id && e.peer == p && (e.placed || any) && e.final != nil && now.Before(e.until) {
			m.echo(e)
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrNoCall, id.Short())
}

func (m *Machine) echo(e *endedCall) {
	if e.final != nil && e.echoes < maxEchoes {
		e.echoes++
		m.send(e.peer, e.final)
	}
}

// refuse answers an INVITE without making a call of it: the keys it needs are
// in the INVITE, so it leaves no state.
func (m *Machine) refuse(p Peer, inv *invite, r Reason) {
	key := signalKey(&inv.secret, inv.id, fromCallee)
	m.send(p, appendControl(nil, control{kind: typeReject, id: inv.id, reason: r, seq: 1}, &key))
}

// end takes a call out, tells the peer with final (nil: it knows) and the
// application.
func (m *Machine) end(now time.Time, c *call, r Reason, byUs bool, final []byte) {
	m.bury(now, c, final)
	if final != nil {
		m.send(c.peer, final)
	}
	e := Ended{ID: c.id, Peer: c.peer, Reason: r, Stage: c.stage(), ByUs: byUs}
	if c.phase == phaseTalk {
		e.Duration = now.Sub(c.answered)
	}
	m.emit(e)
	if !c.outgoing && c.phase == phaseRing && c.group == (GroupID{}) && r != Elsewhere && (!byUs || r == NoAnswer) {
		m.emit(Missed{Peer: c.peer, Name: c.invite.name, When: c.began})
	}
}

// bury moves a call from the live to the ended ones.
func (m *Machine) bury(now time.Time, c *call, final []byte) {
	m.calls = without(m.calls, c)
	m.ended = append(m.ended, endedCall{
		id: c.id, peer: c.peer, placed: c.outgoing, final: final,
		until: now.Add(endedLife), unsure: !m.linked(c.peer),
	})
	if len(m.ended) > maxEnded {
		m.ended = m.ended[1:]
	}
}

func (m *Machine) linked(p Peer) bool {
	pr := m.peers[p]
	return pr != nil && pr.linked
}

func (m *Machine) send(p Peer, b []byte) {
	if m.linked(p) {
		m.out = append(m.out, Outgoing{To: p, Body: b})
	}
}

func (m *Machine) emit(e Event) { m.events = append(m.events, e) }

func (m *Machine) find(id CallID) *call {
	for _, c := range m.calls {
		if c.id == id {
			return c
		}
	}
	return nil
}

// with returns the call with p, of a group or none: there is at most one.
func (m *Machine) with(p Peer, g GroupID) *call {
	for _, c := range m.calls {
		if c.peer == p && c.group == g {
			return c
		}
	}
	return nil
}

// used tells whether a call of this ID is live or was until recently.
func (m *Machine) used(id CallID) bool {
	return m.find(id) != nil || slices.ContainsFunc(m.ended, func(e endedCall) bool { return e.id == id })
}

// hears tells whether a live call receives an SSRC of p already.
func (m *Machine) hears(p Params) bool {
	return slices.ContainsFunc(m.calls, func(c *call) bool {
		for _, mine := range []uint32{c.params.RemoteSSRC, c.params.RemoteVideoSSRC} {
			if mine != 0 && (mine == p.RemoteSSRC || mine == p.RemoteVideoSSRC) {
				return true
			}
		}
		return false
	})
}

// ringingAt counts the own unanswered calls to devices of one identity.
func (m *Machine) ringingAt(id identity.ID) (n int) {
	for _, c := range m.calls {
		if c.outgoing && c.phase != phaseTalk && c.peer.Identity == id {
			n++
		}
	}
	return n
}

// snapshot lets a loop end calls while it walks them.
func (m *Machine) snapshot() []*call { return slices.Clone(m.calls) }

func without[T comparable](list []T, v T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(o T) bool { return o == v })
}
