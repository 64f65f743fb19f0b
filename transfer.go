// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
)

// CallTransfer says how a transfer goes that this side has asked for: "trying",
// "rings", or "failed" with a reason as in the end of a call. That it worked out
// says the end of the call, for the reason "transferred".
type CallTransfer struct {
	Call   *Call
	State  string
	Reason string // of "failed"
}

// CallDiverted says that the other side of Call has transferred this one: New is
// being called. When that is answered Call ends, for the reason "transferred"; else
// it goes on.
type CallDiverted struct{ Call, New *Call }

func (CallTransfer) event() {}
func (CallDiverted) event() {}

// Transfer has the other side call somebody else, named as for Node.Call, and leave
// this call when that one is answered. Their policy decides; whoever is called sees
// who transferred. The other side gets a pass that rings once within 90 s, and not
// what a ticket would tell.
//
// It blocks until this call has ended so, which returns nil, or the transfer has
// failed, when the call goes on. ctx ends the wait, not the transfer. Errors: those
// of Node.Call for a wrong name or ticket; a *CallError with the third person and
// ErrNotFound, ErrOffline, or what became of their ring; with this call's peer when
// it is not answered or over; ctx's, net.ErrClosed.
func (c *Call) Transfer(ctx context.Context, to string) error {
	t, err := c.n.target(to)
	if err != nil {
		return err
	}
	fail := func(stage session.Stage, r session.Reason, err error) error {
		return &CallError{Peer: t.ID, Stage: stage.String(), Reason: r.String(), Err: err}
	}
	switch t.ID {
	case c.n.dev.ID():
		return fail(session.Lookup, session.Failed, ErrSelf)
	case c.Peer():
		return fail(session.Lookup, session.Failed, errors.New("p2pos: they are at the other end already"))
	}
	r, err := c.c.Transfer(ctx, t)
	switch {
	case err == nil:
		c.n.remember(t)
		return nil
	case c.n.ctx.Err() != nil:
		return c.n.closing(err)
	case errors.Is(err, session.ErrUnknownPeer):
		return fail(session.Lookup, session.NotFound, ErrNotFound)
	case errors.Is(err, overlay.ErrUnreachable):
		return fail(session.Lookup, session.Offline, ErrOffline)
	case errors.Is(err, session.ErrBusy):
		return fail(session.Lookup, session.Busy, errors.New("p2pos: another transfer is under way, or there were too many"))
	case errors.Is(err, session.ErrTransfer):
		return fail(session.Ring, r, sentinel(r))
	}
	return c.late(err)
}

// TransferredBy returns who has transferred the caller of an incoming call to this
// node, proved by their signature. Zero = nobody.
func (c *Call) TransferredBy() identity.ID { return c.c.TransferredBy() }

func transferWord(s session.TransferState) string {
	switch s {
	case session.TransferTrying:
		return "trying"
	case session.TransferRings:
		return "rings"
	}
	return "failed"
}
