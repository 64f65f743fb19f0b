// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"time"

	"github.com/p2pos/p2pos/media"
)

// phase is where a live call stands.
type phase uint8

const (
	phaseInvite phase = iota // own call, no sign of the other side yet
	phaseRing                // rings, here or there
	phaseTalk                // answered
)

// call is one live call.
type call struct {
	id       CallID
	peer     Peer
	group    GroupID // of a leg of a room; zero = none
	outgoing bool
	phase    phase
	began    time.Time

	// Control messages: keys of the two directions, last sequence numbers.
	sendKey, receiveKey [32]byte
	sent, received      uint32

	// Own call: what the ANSWER is checked with, and how many were wrong.
	invitation invitation
	badAnswers int

	// Incoming call: what it will be answered with.
	invite *invite
	answer Offer

	params Params // of an incoming call from the start, of an own one when answered

	talk talk // phaseTalk: what the two sides have told each other

	answered  time.Time // phaseTalk: since when
	lastMedia time.Time // phaseTalk: when media was last heard, or might first have been
	heard     bool      // any media was heard
	unlinked  bool      // the peer's link went away since the ANSWER
	asked     time.Time // when it was last asked whether it is still there,
	asks      int       // and how often, in this silence

	giveUp   time.Time // phaseInvite, phaseRing: no answer
	offline  time.Time // phaseInvite: no sign
	nextRing time.Time // incoming in phaseRing: repeat RINGING
}

func newCall(now time.Time, id CallID, p Peer, outgoing bool, secret *[32]byte) *call {
	c := &call{id: id, peer: p, outgoing: outgoing, began: now}
	c.sendKey, c.receiveKey = signalKey(secret, id, fromCaller), signalKey(secret, id, fromCallee)
	if !outgoing {
		c.sendKey, c.receiveKey = c.receiveKey, c.sendKey
	}
	return c
}

// voice takes the picture out of an incoming call.
func (c *call) voice() {
	c.answer = c.answer.voice()
	c.params.Video, c.params.LocalVideoSSRC, c.params.RemoteVideoSSRC = media.Codec{}, 0, 0
}

// deadline is when the call needs Advance next.
func (c *call) deadline() time.Time {
	switch {
	case c.phase == phaseTalk:
		d := earlier(c.silent(), c.ask())
		if !c.talk.again.IsZero() {
			d = earlier(d, c.talk.again)
		}
		return d
	case c.phase == phaseInvite:
		return earlier(c.offline, c.giveUp)
	case !c.outgoing:
		return earlier(c.nextRing, c.giveUp)
	}
	return c.giveUp
}

// silent is when an answered call has heard nothing for too long.
func (c *call) silent() time.Time {
	if c.heard {
		return c.lastMedia.Add(sleepTimeout)
	}
	return c.lastMedia.Add(mediaTimeout)
}

// ask is when a call in which somebody has talked should ask the other side for a
// sign: its HANGUP may have been lost where no link stands.
func (c *call) ask() time.Time {
	switch {
	case !c.heard:
		return c.silent()
	case !c.asked.After(c.lastMedia):
		return c.lastMedia.Add(askAfter)
	case c.asks == mostAsks:
		return c.silent()
	}
	return c.asked.Add(askAfter)
}

func (c *call) stage() Stage {
	switch {
	case c.phase != phaseTalk:
		return Ring
	case !c.heard:
		return Answer
	}
	return Talk
}

// control makes the next control message of this call.
func (c *call) control(kind messageType, r Reason) []byte {
	c.sent++
	return appendControl(nil, control{kind: kind, id: c.id, reason: r, seq: c.sent}, &c.sendKey)
}

// final makes the message that ends this call at the peer.
func (c *call) final(r Reason) []byte {
	switch {
	case c.phase == phaseTalk:
		return c.control(typeHangup, r)
	case c.outgoing:
		return c.control(typeCancel, r)
	}
	return c.control(typeReject, r)
}

// withdraw makes the message that ends a call whose peer seems to be gone. A room is
// told that the leg failed and nobody has left: whoever has answered all the same
// calls back.
func (c *call) withdraw() []byte {
	if c.outgoing && c.group == (GroupID{}) {
		return c.final(Cancelled)
	}
	return c.final(Failed)
}

// begin notes the ANSWER.
func (c *call) begin(now time.Time, k Keys) {
	c.phase = phaseTalk
	c.answered, c.lastMedia = now, now
	c.talk.keys = k
}

// endedCall is what remains of a call for a while: a peer whose message crossed
// the end is told again, and the ID is not used twice.
type endedCall struct {
	id     CallID
	peer   Peer
	placed bool   // an own call: only its callee has anything to say later
	final  []byte // nil when the peer ended it
	until  time.Time
	echoes int
	unsure bool // the peer's link went away since, or before
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
