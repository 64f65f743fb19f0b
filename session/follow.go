// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// CallTransfer tells how a transfer goes that this side asked for; its success is
// the end of the call.
type CallTransfer struct {
	Call   *Call
	State  TransferState
	Reason Reason // of TransferFailed
}

// CallDiverted tells that the other side of Call has transferred this one: New is
// being called. Call goes on until New is answered, or for good if it is not.
type CallDiverted struct{ Call, New *Call }

func (CallTransfer) hubEvent() {}
func (CallDiverted) hubEvent() {}

// passTime bounds the search for the devices of the person that a call is
// transferred to, and the visits to those that a pass names.
const (
	passTime = 5 * time.Second
	// passMore is how long further devices are waited for after the first: about
	// the time in which a record's holders answer.
	passMore = 500 * time.Millisecond
)

// Transfer asks the other side to call somebody else instead. It blocks until that
// was answered, and the call has ended, or the transfer failed, when the call goes
// on. ctx ends the wait alone, as soon as the other side has been asked. The reason
// is that of the failure.
//
// Errors: ErrUnknownPeer (no way to the person is known), overlay.ErrUnreachable
// (none of their devices is found), ErrBusy (another transfer), ErrNoCall (the call
// is not answered or over), ErrTransfer (see the reason), ctx's, net.ErrClosed.
func (c *Call) Transfer(ctx context.Context, t overlay.Target) (Reason, error) {
	h := c.hub
	if t.Secret == (identity.Secret{}) {
		return 0, ErrUnknownPeer
	}
	places, err := h.whereabouts(ctx, t)
	if err != nil {
		return 0, err
	}
	said := make(chan TransferSaid, 1)
	err = c.command(func(now time.Time) error {
		p, err := h.m.NewPass(now, c.leg, t.ID, t.Secret, places)
		if err == nil {
			err = h.m.Transfer(now, c.leg, p)
		}
		if err == nil {
			c.transfer = said
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	select {
	case s := <-said:
		return s.Reason, ErrTransfer
	case <-c.done:
		if r := c.End().Reason; r != Transferred {
			return r, ErrNoCall
		}
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// whereabouts returns where a person's devices are now, found as for a call.
func (h *Hub) whereabouts(ctx context.Context, t overlay.Target) (list []place, err error) {
	ctx, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	enough := make(chan struct{})
	defer close(enough)
	found, err := h.seek(ctx, t, enough)
	if err != nil {
		return nil, err
	}
	var more <-chan time.Time // after the first one
	for len(list) < maxPassPlaces {
		select {
		case p, ok := <-found:
			if !ok {
				found = nil
				break
			}
			err := h.loop.Do(ctx, func(time.Time) {
				if r := h.peers[p.Node]; r != nil && r.proved {
					list = append(list, place{r.cert, r.ov.Key()})
				}
			})
			if err != nil {
				return nil, h.closedOr(err)
			}
			if more == nil && len(list) > 0 {
				wait := time.NewTimer(passMore)
				defer wait.Stop()
				more = wait.C
			}
			continue
		case <-more:
		case <-ctx.Done():
		}
		break
	}
	if len(list) == 0 {
		return nil, h.closedOr(overlay.ErrUnreachable)
	}
	return list, nil
}

// transferSaid passes on how a transfer goes.
func (h *Hub) transferSaid(c *Call, e TransferSaid) {
	h.emit(CallTransfer{c, e.State, e.Reason})
	if e.State == TransferFailed && c.transfer != nil {
		c.transfer <- e // has room: one waits for each transfer, and it fails once
		c.transfer = nil
	}
}

// asksTransfer asks the application whether this node may call somebody at the
// other side's wish, and does so.
func (h *Hub) asksTransfer(c *Call, e TransferAsked) {
	verdict := make(chan error, 1)
	switch ask := h.cfg.AllowTransfer; {
	case h.shut(e.Pass.Callee):
		verdict <- errBlocked
	case ask == nil:
		verdict <- nil
	default:
		go func() { verdict <- ask(e.By.Identity, e.Pass.Callee) }() // the application's code: Close can't wait for it
	}
	h.wg.Go(func() {
		var err error
		select {
		case err = <-verdict:
		case <-h.ctx.Done():
			return
		case <-c.done:
			return
		}
		if err != nil {
			h.log.Info("transfer denied by policy", "peer", e.By.Identity, "err", err)
			h.answerTransfer(c, e, TransferFailed, Denied)
			return
		}
		h.answerTransfer(c, e, TransferTrying, 0)
		why := Failed
		switch err := h.pursue(c, e); {
		case err == nil, errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, overlay.ErrUnreachable):
			why = Offline
		case errors.Is(err, ErrBusy):
			why = Busy
		}
		h.answerTransfer(c, e, TransferFailed, why)
	})
}

func (h *Hub) answerTransfer(c *Call, e TransferAsked, s TransferState, r Reason) {
	h.loop.Do(h.ctx, func(now time.Time) {
		if err := h.m.TransferSay(now, c.leg, e.Number, s, r); err != nil {
			h.log.Debug("transfer not answered", "err", err)
		}
	})
}

// pursue rings the devices that a pass names.
func (h *Hub) pursue(c *Call, e TransferAsked) error {
	ctx, cancel := context.WithTimeout(h.ctx, passTime)
	defer cancel()
	found := make(chan Peer, maxPassPlaces)
	for _, at := range e.Pass.places {
		peer, err := h.visit(ctx, at, identity.Secret{})
		if err != nil {
			h.log.Debug("not visited", "node", identity.NodeIDOf(at.key), "err", err)
			continue
		}
		found <- peer
	}
	close(found)
	_, err := h.place(ctx, func() {}, found, placement{
		wish: Wish{Pass: &e.Pass}, seal: &seal{pass: &e.Pass}, heard: make(chan struct{}), of: c, asked: e.Number,
	})
	return err
}

// report tells who has transferred us how far the call has come that it wanted.
func (h *Hub) report(now time.Time, c *Call, s TransferState, r Reason) {
	if of := c.placement.of; of != nil {
		if err := h.m.TransferSay(now, of.leg, c.placement.asked, s, r); err != nil {
			h.log.Debug("transfer not answered", "err", err) // that call is over
		}
	}
}

// diverted ends a call whose place another one has taken.
func (h *Hub) diverted(now time.Time, of *Call) {
	if of == nil {
		return
	}
	if err := h.m.Transferred(now, of.leg); err != nil {
		h.log.Debug("transferred after the end", "err", err)
	}
}

// TransferredBy returns who has transferred the caller of an incoming call to this
// node; their device has signed it. Zero = nobody.
func (c *Call) TransferredBy() identity.ID { return c.by }
