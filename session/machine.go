// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
)

// Machine holds the rules of all calls of one node. It is pure: no goroutine,
// lock, socket or clock. One owner calls it, under three rules:
//
//   - after every input (Know, Forget, a command, Receive, Advance) drain Poll
//     and NextEvent until they return false;
//   - call Advance at Deadline; calling it early is harmless;
//   - time never goes backwards.
//
// Messages to a peer travel in order or not, once or more often; none may be
// lost while the peer's link lives. A lost link is told with Forget.
type Machine struct {
	self *identity.Device
	node identity.NodeID
	name string
	rng  *rand.Rand
	o    Options

	peers map[Peer]*peer
	gone  []Peer // without a link, oldest first
	calls []*call
	ended []endedCall // oldest first

	passed []usedPass // oldest first

	out      []Outgoing
	events   []Event
	counters Counters
}

// peer is what is remembered of one Peer, in parts beyond its link.
type peer struct {
	linked  bool
	cert    identity.Certificate
	seen    seenCalls
	invites allowance
}

// NewMachine returns a Machine for device self on node, which introduces itself
// as name. rng need not be secret but must differ from node to node: it draws
// call IDs and SSRCs.
func NewMachine(self *identity.Device, node identity.NodeID, name string, rng *rand.Rand, o Options) *Machine {
	return &Machine{self: self, node: node, name: name, rng: rng, o: o.withDefaults(), peers: make(map[Peer]*peer)}
}

// Know tells that p is proved on a live link, with the certificate it proved
// itself with; or that its certificate has changed. Peers above an internal
// bound (1,024) are not taken and cannot call or be called.
func (m *Machine) Know(p Peer, cert identity.Certificate) {
	if cert.Identity != p.Identity || cert.DeviceID() != p.Device {
		panic("session: Know with another peer's certificate")
	}
	pr := m.peers[p]
	if pr == nil {
		if len(m.peers)-len(m.gone) >= maxPeers {
			return
		}
		pr = new(peer)
		m.peers[p] = pr
	} else if !pr.linked {
		m.gone = without(m.gone, p)
	}
	fresh := !pr.linked
	pr.linked, pr.cert = true, cert
	if !fresh {
		return
	}
	for i := range m.ended {
		if e := &m.ended[i]; e.peer == p && e.unsure {
			e.unsure = false
			m.echo(e)
		}
	}
	// What was said last may have been lost with the old link.
	for _, c := range m.calls {
		if c.peer == p && c.phase == phaseTalk && c.talk.news != 0 {
			c.talk.tries, c.talk.again = 0, c.answered // at once
		}
	}
}

// Forget tells that p's last link is gone. What rings ends at once (offline);
// an answered call goes on for as long as its media is heard, at least 30 s, or
// 90 s once some was heard.
// When a link is replaced by another, Forget and Know again: it lets a peer
// redial that has given the old call up.
func (m *Machine) Forget(now time.Time, p Peer) {
	if !m.linked(p) {
		return
	}
	m.peers[p].linked = false
	m.gone = append(m.gone, p)
	if len(m.gone) > maxGone {
		delete(m.peers, m.gone[0])
		m.gone = m.gone[1:]
	}
	// The end of a recent call may have been lost with the link: it is told
	// again on the next one.
	for i := range m.ended {
		if e := &m.ended[i]; e.peer == p && now.Before(e.until) {
			e.unsure = true
		}
	}
	for _, c := range m.snapshot() {
		switch {
		case c.peer != p:
		case c.phase == phaseTalk:
			c.unlinked, c.lastMedia = true, now
		default:
			m.end(now, c, Offline, false, c.withdraw())
		}
	}
}

// Leave is Forget for a peer whose node has said goodbye on its link: it won't
// come back, so an answered call ends at once as hung up by the peer.
func (m *Machine) Leave(now time.Time, p Peer) {
	m.Forget(now, p)
	for _, c := range m.snapshot() {
		if c.peer == p && c.phase == phaseTalk {
			m.end(now, c, HungUp, false, nil)
		}
	}
}

// Unreached tells that an INVITE did not get to p, over any way: own calls of which
// p has said nothing end at once (offline). p stays known, since it may come by
// another way; what it has answered goes on.
func (m *Machine) Unreached(now time.Time, p Peer) {
	for _, c := range m.snapshot() {
		if c.peer == p && c.outgoing && c.phase == phaseInvite {
			m.end(now, c, Offline, true, c.withdraw())
		}
	}
}

// Place calls p and returns the call's ID. If p is calling us at this moment,
// that call is answered instead and its ID returned. Errors: ErrUnknownPeer,
// ErrBusy.
func (m *Machine) Place(now time.Time, p Peer) (CallID, error) { return m.PlaceAs(now, p, Wish{}) }

// Wish says what is special about an own call.
type Wish struct {
	// Video offers a picture beside the voice, in one of the codecs, the most
	// wanted first.
	Video []media.Codec
	// Pass is what a transfer rings with. Such a call may be one more than
	// MaxCalls: it takes another one's place.
	Pass *Pass
	// Group makes the call a leg of a room.
	Group *GroupCall
}

func (w *Wish) group() (id GroupID) {
	if w.Group != nil {
		id = w.Group.Roster.ID
	}
	return id
}

func (w *Wish) fields() (list []inviteField) {
	if w.Pass != nil {
		list = append(list, inviteField{14, w.Pass.token})
	}
	if w.Group != nil {
		list = append(list, inviteField{15, w.Group.append(nil)})
	}
	return list
}

// PlaceVideo is Place for a call that offers a picture beside the voice.
func (m *Machine) PlaceVideo(now time.Time, p Peer, video []media.Codec) (CallID, error) {
	return m.PlaceAs(now, p, Wish{Video: video})
}

// PlaceAs is Place with a wish.
func (m *Machine) PlaceAs(now time.Time, p Peer, w Wish) (CallID, error) {
	video := w.Video
	if !m.linked(p) {
		return CallID{}, fmt.Errorf("%w: place", ErrUnknownPeer)
	}
	if c := m.with(p, w.group()); c != nil {
		switch {
		case !c.outgoing && c.phase == phaseRing:
			return c.id, m.take(now, c.id, len(video) > 0)
		case c.phase == phaseTalk && c.unlinked:
			m.end(now, c, Failed, true, c.final(Failed))
		default:
			return CallID{}, fmt.Errorf("%w: %w", ErrBusy, ErrInCall)
		}
	}
	if n := m.ringingAt(p.Identity); n >= maxDevices || n == 0 && w.Pass == nil && m.full(w.group()) {
		return CallID{}, fmt.Errorf("%w: %d calls", ErrBusy, len(m.calls))
	}
	offer := Offer{Codecs: m.o.Codecs, SSRC: m.newSSRC(), Capabilities: m.o.Capabilities}
	if len(video) > 0 {
		offer.Video, offer.VideoSSRC = video, m.newSSRC(offer.SSRC)
		offer.Capabilities |= CapVideo
	}
	inv, msg, err := newInvite(now, m.self, m.node, m.name, m.peers[p].cert, p.Node, m.newCallID(), offer, w.fields()...)
	if err != nil {
		return CallID{}, err
	}
	c := newCall(now, inv.id, p, true, &inv.secret)
	c.invitation, c.group = inv, w.group()
	c.params.LocalSSRC, c.params.LocalVideoSSRC = offer.SSRC, offer.VideoSSRC
	c.giveUp, c.offline = now.Add(m.o.CallTimeout), now.Add(m.o.OfflineAfter)
	m.calls = append(m.calls, c)
	m.send(p, msg)
	return c.id, nil
}

// Answer takes an incoming call, as voice. Error: ErrNoCall when it does not ring
// (any more), or one of the key agreement's when the caller's key is unusable,
// which ends the call.
func (m *Machine) Answer(now time.Time, id CallID) error { return m.take(now, id, false) }

// AnswerVideo is Answer, with the picture where the caller offers one.
func (m *Machine) AnswerVideo(now time.Time, id CallID) error { return m.take(now, id, true) }

func (m *Machine) take(now time.Time, id CallID, video bool) error {
	c := m.find(id)
	if c == nil || c.outgoing || c.phase != phaseRing {
		return fmt.Errorf("%w: answer %s", ErrNoCall, id.Short())
	}
	if !video {
		c.voice()
	}
	msg, keys, err := newAnswer(m.self, c.invite, c.answer)
	if err != nil {
		m.end(now, c, Failed, true, c.final(Failed))
		return err
	}
	m.answer(now, c, msg, keys)
	return nil
}

func (m *Machine) answer(now time.Time, c *call, msg []byte, keys Keys) {
	c.begin(now, keys)
	m.send(c.peer, msg)
	m.emit(Answered{ID: c.id, Peer: c.peer, Params: c.params, Keys: keys})
}

// Reject refuses an incoming call with Rejected, Busy, Denied or Elsewhere.
// Error: ErrNoCall.
func (m *Machine) Reject(now time.Time, id CallID, r Reason) error {
	c := m.find(id)
	if c == nil || c.outgoing || c.phase != phaseRing {
		return fmt.Errorf("%w: reject %s", ErrNoCall, id.Short())
	}
	r = r.claimed(typeReject)
	m.end(now, c, r, true, c.final(r))
	return nil
}

// HangUp ends a call in any state: it cancels an own call that rings, rejects
// an incoming one. Error: ErrNoCall.
func (m *Machine) HangUp(now time.Time, id CallID) error {
	c := m.find(id)
	switch {
	case c == nil:
		return fmt.Errorf("%w: hang up %s", ErrNoCall, id.Short())
	case c.phase == phaseTalk:
		m.end(now, c, HungUp, true, c.final(HungUp))
	case c.outgoing:
		m.end(now, c, Cancelled, true, c.final(Cancelled))
	default:
		m.end(now, c, Rejected, true, c.final(Rejected))
	}
	return nil
}

// Expel ends a call that is up, or an own one that rings, because the other side is
// not to be talked to any more. Error: ErrNoCall.
func (m *Machine) Expel(now time.Time, id CallID) error {
	c := m.find(id)
	if c == nil || !c.outgoing && c.phase != phaseTalk {
		return fmt.Errorf("%w: expel %s", ErrNoCall, id.Short())
	}
	m.end(now, c, Denied, true, c.final(Denied))
	return nil
}

// Cancel takes back an own call that is not answered yet because another device
// of the same person has answered (Elsewhere). Error: ErrNoCall.
func (m *Machine) Cancel(now time.Time, id CallID, r Reason) error {
	c := m.find(id)
	if c == nil || !c.outgoing || c.phase == phaseTalk {
		return fmt.Errorf("%w: cancel %s", ErrNoCall, id.Short())
	}
	r = r.claimed(typeCancel)
	m.end(now, c, r, true, c.final(r))
	return nil
}

// MediaHeard tells that a genuine media packet of the call has arrived.
// Call it for each packet or, to save the command, about once a second.
func (m *Machine) MediaHeard(now time.Time, id CallID) {
	if c := m.find(id); c != nil && c.phase == phaseTalk {
		c.lastMedia, c.heard = now, true
	}
}

// Advance does what is due at now.
func (m *Machine) Advance(now time.Time) {
	for _, c := range m.snapshot() {
		if now.Before(c.deadline()) {
			continue
		}
		switch {
		case c.phase == phaseTalk && now.Before(c.silent()):
			if !now.Before(c.ask()) {
				if !c.asked.After(c.lastMedia) {
					c.asks = 0 // another silence
				}
				c.asked, c.asks = now, c.asks+1
				c.talk.news, c.talk.tries = c.talk.sent+1, maxUpdates // asked again by ask
			}
			m.say(now, c)
		case c.phase == phaseTalk:
			m.end(now, c, Failed, true, c.final(Failed))
		case c.phase == phaseInvite && !now.Before(c.offline):
			// The INVITE may have arrived all the same: take it back.
			m.end(now, c, Offline, true, c.withdraw())
		case !now.Before(c.giveUp):
			m.end(now, c, NoAnswer, true, c.final(NoAnswer))
		default:
			c.nextRing = now.Add(ringEvery)
			m.send(c.peer, c.control(typeRinging, 0))
		}
	}
}

// Deadline returns when Advance is due next; zero when nothing is.
func (m *Machine) Deadline() (t time.Time) {
	for i, c := range m.calls {
		if d := c.deadline(); i == 0 || d.Before(t) {
			t = d
		}
	}
	return t
}

// Poll returns the next message to send.
func (m *Machine) Poll() (Outgoing, bool) {
	if len(m.out) == 0 {
		return Outgoing{}, false
	}
	o := m.out[0]
	m.out = m.out[1:]
	return o, true
}

// NextEvent returns the next event.
func (m *Machine) NextEvent() (Event, bool) {
	if len(m.events) == 0 {
		return nil, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// Counters returns how many messages were dropped so far.
func (m *Machine) Counters() Counters { return m.counters }

// Receive takes a session message from p's link. An error says why the message
// was dropped; it has been counted and is never a reason to end the link.
func (m *Machine) Receive(now time.Time, p Peer, b []byte) error {
	err := m.receive(now, p, b)
	m.counters.count(err)
	return err
}

func (m *Machine) newCallID() (id CallID) {
	for id == (CallID{}) || m.used(id) {
		binary.BigEndian.PutUint64(id[:8], m.rng.Uint64())
		binary.BigEndian.PutUint64(id[8:], m.rng.Uint64())
	}
	return id
}

// newSSRC draws an SSRC that no own call sends with and that is none of not.
func (m *Machine) newSSRC(not ...uint32) uint32 {
	for {
		s := m.rng.Uint32()
		taken := s == 0 || slices.Contains(not, s)
		for _, c := range m.calls {
			taken = taken || c.params.LocalSSRC == s || c.params.LocalVideoSSRC == s
		}
		if !taken {
			return s
		}
	}
}
