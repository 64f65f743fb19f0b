// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Peer names one proved device of one identity on one node. It is comparable;
// while it stays the same, links to it may come and go.
type Peer struct {
	Identity identity.ID
	Device   [16]byte
	Node     identity.NodeID
}

// Outgoing is a session message for the link to a peer.
type Outgoing struct {
	To   Peer
	Body []byte
}

// Event is what the Machine tells the application: one of the types below.
type Event interface{ event() }

// Incoming reports a call that rings here. Name is what the caller calls
// itself: shown, never trusted.
type Incoming struct {
	ID   CallID
	Peer Peer
	Name string
	// Reach is the caller's reach secret: it may be called back. Zero when it
	// was not told.
	Reach identity.Secret
	Video bool // a picture is offered that we could pass on
	// By is who has transferred the caller to us; zero = nobody.
	By identity.ID
	// Group is the room that the call is a leg of; nil = none. Such a call is the
	// Room's to answer.
	Group *GroupCall
}

// Ringing reports that an own call rings at the other side.
type Ringing struct{ ID CallID }

// Answered reports that media may flow, with everything it needs. The callee
// gets it as it answers, so its first packets leave together with the ANSWER.
type Answered struct {
	ID     CallID
	Peer   Peer
	Params Params
	Keys   Keys
}

// Recording reports that what is said in a call is recorded from now on, or no
// longer. ByUs tells that this side does it, and that the other one knows; else
// the other side says that it does.
type Recording struct {
	ID   CallID
	On   bool
	ByUs bool
}

// Ended reports the end of a call. It comes once for each call, last.
type Ended struct {
	ID     CallID
	Peer   Peer
	Reason Reason
	Stage  Stage
	// Duration since the ANSWER; zero when there was none.
	Duration time.Duration
	// ByUs tells that this side ended the call, by a command or a timeout;
	// else the peer did, or its link is gone.
	ByUs bool
}

// Missed reports a call that this side's user could not take: it rang out, was
// given up, lost its link, or found the line busy. It follows Ended when the
// call had rung.
type Missed struct {
	Peer Peer
	Name string
	When time.Time // when the call came in
}

// Replaced reports glare: both sides called each other, the call New goes on
// in place of the own call Old. Who holds Old holds New from here on; no Ended
// comes for Old.
type Replaced struct{ Old, New CallID }

// Held reports that one side has put the other on hold, or ended that. While
// either has, no sound goes either way.
type Held struct {
	ID   CallID
	On   bool
	ByUs bool
}

func (Incoming) event()  {}
func (Ringing) event()   {}
func (Answered) event()  {}
func (Ended) event()     {}
func (Missed) event()    {}
func (Replaced) event()  {}
func (Held) event()      {}
func (Recording) event() {}

// Counters count the messages that Receive dropped, by cause.
type Counters struct {
	Malformed uint64 // ErrMessage
	Forged    uint64 // ErrForged
	Replayed  uint64 // ErrReplay
	Expired   uint64 // ErrExpired
	Flooded   uint64 // ErrFlood
	Unknown   uint64 // ErrUnknownPeer, ErrNoCall
}

// count adds what came of one message.
func (k *Counters) count(err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrMessage):
		k.Malformed++
	case errors.Is(err, ErrForged):
		k.Forged++
	case errors.Is(err, ErrReplay):
		k.Replayed++
	case errors.Is(err, ErrExpired):
		k.Expired++
	case errors.Is(err, ErrFlood):
		k.Flooded++
	default:
		k.Unknown++
	}
}
