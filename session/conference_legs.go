// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

var errLegGone = errors.New("session: the leg is not wanted any more")

// searchLeg looks for a member and rings every device that is found.
func (h *Hub) searchLeg(f *Conference, e RoomRing) {
	secret := f.room.Roster().secret
	h.makeLeg(f, e.Leg, e.Quiet, func(ctx context.Context, pl placement) error {
		t := overlay.Target{ID: e.Person}
		if h.cfg.Target != nil {
			if known, ok := h.cfg.Target(e.Person); ok {
				t = known
			}
		}
		found, err := h.seek(ctx, t, pl.heard)
		if errors.Is(err, ErrUnknownPeer) {
			// No ticket, but perhaps it was met in this group before.
			found, err = h.oldPlaces(ctx, e.Person)
			pl.seal = &seal{secret: secret}
		}
		if err != nil {
			return err
		}
		_, err = h.place(ctx, func() {}, found, pl)
		return err
	})
}

// dialLeg calls the device that another member has named.
func (h *Hub) dialLeg(f *Conference, e RoomDial) {
	secret := f.room.Roster().secret
	h.makeLeg(f, e.Leg, true, func(ctx context.Context, pl placement) error {
		if h.shut(e.at.cert.Identity) {
			return ErrDenied
		}
		peer, err := h.visit(ctx, e.at, identity.Secret{})
		if err != nil {
			return err
		}
		found := make(chan Peer, 1)
		found <- peer
		close(found)
		pl.seal = &seal{secret: secret}
		_, err = h.place(ctx, func() {}, found, pl)
		return err
	})
}

// oldPlaces visits a member where its devices were last.
func (h *Hub) oldPlaces(ctx context.Context, id identity.ID) (<-chan Peer, error) {
	var list []place
	if err := h.loop.Do(ctx, func(time.Time) { list = append(list, h.places[id]...) }); err != nil {
		return nil, err
	}
	found := make(chan Peer, len(list))
	defer close(found)
	for _, at := range list {
		if peer, err := h.visit(ctx, at, identity.Secret{}); err == nil {
			found <- peer
		}
	}
	return found, nil
}

// makeLeg runs what makes a leg in the background.
func (h *Hub) makeLeg(f *Conference, leg Leg, quiet bool, do func(context.Context, placement) error) {
	ctx, stop := context.WithTimeout(h.ctx, searchTime)
	f.pending[leg] = stop
	pl := placement{
		wish: Wish{Group: &GroupCall{Roster: f.room.Roster(), Quiet: quiet}}, heard: make(chan struct{}), room: f, leg: leg,
	}
	h.wg.Go(func() {
		defer stop()
		err := do(ctx, pl)
		h.loop.Do(h.ctx, func(now time.Time) {
			delete(f.pending, leg)
			if err != nil {
				h.log.Debug("no leg", "group", f.id, "leg", leg, "err", err)
				f.room.Down(now, leg, legReason(err))
			}
		})
	})
}

func legReason(err error) Reason {
	switch {
	case errors.Is(err, ErrUnknownPeer):
		return NotFound
	case errors.Is(err, ErrBusy):
		return Busy
	case errors.Is(err, ErrDenied):
		return Denied
	}
	return Offline
}

// took notes the call that a leg has become.
func (f *Conference) took(pl *placement, c *Call) {
	f.legs[pl.leg] = c
	c.room, c.roomLeg, c.edition = f, pl.leg, pl.wish.Group.Roster.Edition
}

// hangLeg ends a leg, or the search for it.
func (h *Hub) hangLeg(now time.Time, f *Conference, e RoomHang) {
	if stop := f.pending[e.Leg]; stop != nil {
		stop()
		delete(f.pending, e.Leg)
	}
	c := f.legs[e.Leg]
	if c == nil {
		return
	}
	var err error
	switch {
	case c.ringing != nil:
		h.hangUpRinging(now, c)
	case c.Talking():
		err = h.m.HangUp(now, c.leg)
	case c.incoming:
		err = h.m.Reject(now, c.id, e.Reason)
	}
	if err != nil {
		h.log.Debug("leg not ended", "err", err)
	}
}

// tellLeg tells the other side of a leg whose legs stand here.
func (h *Hub) tellLeg(now time.Time, f *Conference, c *Call) {
	r := f.room.Roster()
	if c.edition >= r.Edition {
		r = nil
	}
	if err := h.m.TellRoom(now, c.leg, f.room.Roster().Edition, f.room.Seats(), r); err != nil {
		h.log.Debug("room not told", "err", err)
	}
}

// legUp tells a call's room that it was answered.
func (h *Hub) legUp(now time.Time, c *Call, r *remote) {
	if c.room != nil {
		c.room.room.Up(now, c.roomLeg, r.peer, place{r.cert, r.ov.Key()})
	}
}

// legDown tells a call's room that it has ended.
func (h *Hub) legDown(now time.Time, c *Call, e Ended) {
	if f := c.room; f != nil {
		f.room.Down(now, c.roomLeg, e.Reason)
		delete(f.legs, c.roomLeg)
	}
}
