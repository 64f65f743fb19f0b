// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay"
)

// An own call rings every device of a person that can be found: each device is
// one call of the Machine, a leg. The first that answers is the call, the
// others stop. One that says no ends all.

// ringing is what the loop knows of an own call before its answer.
type ringing struct {
	legs      []leg
	tried     []Peer // each is rung once: it may be found in several ways
	searching bool   // more devices may be found
	verdict   Ended
	rang      bool
	heard     chan struct{} // closed when one of them has said anything
}

// leg is one call of the Machine.
type leg struct {
	id CallID
	ov *overlay.Peer
}

func (r *ringing) remove(id CallID) {
	r.legs = slices.DeleteFunc(r.legs, func(l leg) bool { return l.id == id })
}

// ring notes that a device rings, and reports whether it is the first.
func (r *ringing) ring() bool {
	r.hear()
	first := !r.rang
	r.rang = true
	return first
}

// hear notes that a device has answered at all: the search was good.
func (r *ringing) hear() {
	select {
	case <-r.heard:
	default:
		close(r.heard)
	}
}

// Place calls somebody. It returns once the first INVITE is on its way; the
// search for further devices goes on until somebody answers. Errors:
// ErrUnknownPeer (no ticket and no session), overlay.ErrUnreachable,
// ErrBusy (a call of our own is up), ctx's, net.ErrClosed.
func (h *Hub) Place(ctx context.Context, t overlay.Target) (*Call, error) {
	return h.PlaceVideo(ctx, t, nil)
}

// PlaceVideo is Place for a call that offers a picture beside the voice, in one
// of the codecs, the most wanted first; none is voice alone.
func (h *Hub) PlaceVideo(ctx context.Context, t overlay.Target, video []media.Codec) (*Call, error) {
	for _, c := range video {
		if !usable(c, []byte(c.Name)) {
			return nil, fmt.Errorf("session: a video codec cannot be payload type %d, %d Hz, %d channels, named %q", c.PayloadType, c.ClockRate, c.Channels, c.Name)
		}
	}
	search, stop := context.WithTimeout(h.ctx, searchTime)
	heard := make(chan struct{})
	found, err := h.seek(search, t, heard)
	if err != nil {
		stop()
		return nil, err
	}
	return h.place(ctx, stop, found, placement{wish: Wish{Video: video}, heard: heard})
}

// placement is what a search for devices is for.
type placement struct {
	wish  Wish
	seal  *seal         // nil = each INVITE goes as the node is known
	heard chan struct{} // closed when a device has said anything
	of    *Call         // the call whose other side has transferred us; nil = none
	asked uint8         // the number of its request
	room  *Conference   // the room that the call is a leg of; nil = none
	leg   Leg
}

// place rings what is found, and calls stop when nothing more is looked for.
func (h *Hub) place(ctx context.Context, stop func(), found <-chan Peer, pl placement) (*Call, error) {
	for {
		select {
		case p, ok := <-found:
			if !ok {
				stop()
				return nil, h.closedOr(overlay.ErrUnreachable)
			}
			c, err := h.placeFirst(ctx, p, pl)
			if errors.Is(err, overlay.ErrDown) {
				continue // gone again; there may be others
			}
			if err != nil {
				stop()
				return nil, err
			}
			if !h.spawn(func() { defer stop(); h.placeMore(c, found) }) {
				stop()
			}
			return c, nil
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
}

func (h *Hub) placeFirst(ctx context.Context, p Peer, pl placement) (c *Call, err error) {
	e := h.loop.Do(ctx, func(now time.Time) {
		if pl.room != nil && pl.room.pending[pl.leg] == nil {
			err = errLegGone
			return
		}
		var id CallID
		if id, err = h.dial(now, p, &pl); err != nil {
			return
		}
		if c = h.calls[id]; c != nil {
			if pl.of != nil {
				h.emit(CallDiverted{pl.of, c})
				h.diverted(now, pl.of)
			}
			return // they were calling us: that call is answered now
		}
		ov := h.peers[p.Node].ov
		c = h.newCall(id, p, "", false, ov)
		c.placement = pl
		if pl.room != nil {
			pl.room.took(&pl, c)
		}
		if pl.of != nil {
			h.emit(CallDiverted{pl.of, c})
		}
		c.ringing = &ringing{legs: []leg{{id, ov}}, tried: []Peer{p}, searching: true, heard: pl.heard}
		h.calls[id] = c
		h.placing = append(h.placing, c)
		c.early = true
		h.early.expect()
	})
	if e != nil {
		err = e
	}
	return c, err
}

// dial makes one more call of the Machine.
func (h *Hub) dial(now time.Time, p Peer, pl *placement) (CallID, error) {
	r := h.peers[p.Node]
	if r == nil || !r.proved {
		return CallID{}, overlay.ErrDown
	}
	r.once = pl.seal // in place of what another call has not used
	return h.m.PlaceAs(now, p, pl.wish)
}

// placeMore rings the devices that are found after the first one, until the
// call is answered or over.
func (h *Hub) placeMore(c *Call, found <-chan Peer) {
	for {
		select {
		case p, ok := <-found:
			if !ok {
				h.loop.Do(h.ctx, func(now time.Time) { h.searched(now, c) })
				return
			}
			h.loop.Do(h.ctx, func(now time.Time) { h.addLeg(now, c, p) })
		case <-c.answered:
			return
		case <-c.done:
			return
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *Hub) addLeg(now time.Time, c *Call, p Peer) {
	if c.ringing == nil || slices.Contains(c.ringing.tried, p) {
		return
	}
	c.ringing.tried = append(c.ringing.tried, p)
	id, err := h.dial(now, p, &c.placement)
	if err != nil || h.calls[id] != nil {
		return // rung already, or more devices than one person has
	}
	c.ringing.legs = append(c.ringing.legs, leg{id, h.peers[p.Node].ov})
	h.calls[id] = c
}

// searched notes that all devices were found that can be.
func (h *Hub) searched(now time.Time, c *Call) {
	if c.ringing == nil {
		return
	}
	c.ringing.searching = false
	if len(c.ringing.legs) == 0 {
		h.over(now, c, c.ringing.verdict)
	}
}

// legEnded takes the end of one leg. Only the last one ends the call, and the
// most telling reason wins.
func (h *Hub) legEnded(now time.Time, c *Call, e Ended) {
	r := c.ringing
	r.remove(e.ID)
	if !e.ByUs && e.Reason != Offline {
		r.hear()
	}
	if r.verdict.ID == (CallID{}) || telling(e.Reason) > telling(r.verdict.Reason) {
		r.verdict = e
	}
	switch {
	case telling(e.Reason) == decisive:
		h.quit(now, c, Elsewhere)
		h.over(now, c, e)
	case len(r.legs) == 0 && !r.searching:
		h.over(now, c, r.verdict)
	}
}

const decisive = 4

// telling ranks what the devices of one person say about a call. A person who
// says no at one device, or the caller, ends it for all.
func telling(r Reason) int {
	switch r {
	case Rejected, Denied, Cancelled:
		return decisive
	case Busy:
		return 3
	case NoAnswer:
		return 2
	case Offline:
		return 0
	}
	return 1
}

// quit stops the remaining legs; what the Machine says of them is no news.
func (h *Hub) quit(now time.Time, c *Call, why Reason) {
	for _, l := range c.ringing.legs {
		delete(h.calls, l.id)
		if err := h.m.Cancel(now, l.id, why); err != nil {
			h.log.Debug("leg not cancelled", "call", l.id, "err", err)
		}
	}
	c.ringing.legs = nil
}

// hangUpRinging ends an own call that nobody has answered yet.
func (h *Hub) hangUpRinging(now time.Time, c *Call) {
	e := Ended{ID: c.id, Peer: c.peer, Reason: Cancelled, Stage: Ring, ByUs: true}
	h.quit(now, c, Cancelled)
	h.over(now, c, e)
}

// rings says whether one of the call's legs is at p, or the call runs to it.
func (c *Call) rings(p *overlay.Peer) bool {
	if c.ringing == nil {
		return c.ov == p
	}
	return slices.ContainsFunc(c.ringing.legs, func(l leg) bool { return l.ov == p })
}
