// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session"
)

// Why a call did not come about, or ended. Test with errors.Is; a *CallError
// around it has the peer and the stage. A node or call that was closed here
// gives net.ErrClosed.
var (
	// ErrNotFound reports an identity that nobody here knows a way to: a bare
	// ID was given, and there is no ticket for it and no session with it.
	ErrNotFound = errors.New("p2pos: no way to this identity is known; ask for a ticket")
	// ErrOffline reports a callee whose node could not be reached.
	ErrOffline = errors.New("p2pos: not reachable")
	// ErrNoAnswer reports a call that rang until its time was over.
	ErrNoAnswer = errors.New("p2pos: no answer")
	// ErrBusy reports a callee whose line is busy, or a node with too many calls.
	ErrBusy = errors.New("p2pos: busy")
	// ErrRejected reports a callee who declined.
	ErrRejected = errors.New("p2pos: rejected")
	// ErrDenied reports a node that refuses this caller, or links with this node.
	ErrDenied = errors.New("p2pos: denied")
	// ErrIncapable reports something in a call that the other side's program does
	// not know of.
	ErrIncapable = errors.New("p2pos: the other side's program cannot do that")
	// ErrSelf reports a call to this node's own identity.
	ErrSelf = errors.New("p2pos: that is your own identity")
	// ErrOtherNetwork reports a ticket or a node of another network.
	ErrOtherNetwork = errors.New("p2pos: belongs to another network")
)

// CallError says how far a call came and why it went no further. Stage and
// Reason are the words of the softphone's events: lookup, ring, answer, talk;
// hangup, cancelled, elsewhere, busy, rejected, no-answer, offline, not-found,
// expired, denied, transferred, failed.
type CallError struct {
	Peer   identity.ID
	Stage  string
	Reason string
	Err    error // one of the errors above, or what lies below it
}

func (e *CallError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("p2pos: call to %s failed at %s: %s (%v)", e.Peer.Short(), e.Stage, e.Reason, e.Err)
	}
	return fmt.Sprintf("p2pos: call to %s ended at %s: %s", e.Peer.Short(), e.Stage, e.Reason)
}

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }

// sentinel maps the reason of an ended call to an error.
func sentinel(r session.Reason) error {
	switch r {
	case session.Busy:
		return ErrBusy
	case session.Rejected:
		return ErrRejected
	case session.NoAnswer:
		return ErrNoAnswer
	case session.Offline:
		return ErrOffline
	case session.NotFound:
		return ErrNotFound
	case session.Denied:
		return ErrDenied
	}
	if d := r.Detail(); d != "" {
		return errors.New("p2pos: " + d)
	}
	return nil
}
