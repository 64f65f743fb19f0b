// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

var errBlocked = errors.New("session: from somebody blocked")

// shut tells whether somebody is shut out: nothing of theirs is answered, so
// that to them this node looks as if it were not there. A refusal would say
// that it is.
func (h *Hub) shut(id identity.ID) bool { return h.cfg.Blocked != nil && h.cfg.Blocked(id) }

// DropUnless drops everybody with whom something stands but those to be kept, and
// tells those whose calls it ends that they are denied.
// keep runs on the hub's loop and must not block. Errors: as Drop.
func (h *Hub) DropUnless(ctx context.Context, keep func(identity.ID) bool) error {
	var list []identity.ID
	add := func(id identity.ID) {
		if !slices.Contains(list, id) && !keep(id) {
			list = append(list, id)
		}
	}
	if err := h.loop.Do(ctx, func(time.Time) {
		for _, c := range h.m.snapshot() {
			add(c.peer.Identity)
		}
		for _, r := range h.peers {
			if r.proved {
				add(r.peer.Identity)
			}
		}
	}); err != nil {
		return h.closedOr(err)
	}
	for _, id := range list {
		if err := h.drop(ctx, id, h.m.Expel); err != nil {
			return err
		}
	}
	return nil
}

// Drop ends all that stands with a person: calls, and what was proved. Calls
// that are up, and own ones, are hung up; one that rings here just stops.
// Config.Blocked keeps the person out from then on. Errors: net.ErrClosed,
// ctx's.
func (h *Hub) Drop(ctx context.Context, id identity.ID) error { return h.drop(ctx, id, h.m.HangUp) }

func (h *Hub) drop(ctx context.Context, id identity.ID, end func(time.Time, CallID) error) error {
	err := h.loop.Do(ctx, func(now time.Time) {
		for _, c := range h.m.snapshot() {
			if c.peer.Identity == id && (c.outgoing || c.phase == phaseTalk) {
				end(now, c.id)
			}
		}
	})
	if err != nil {
		return h.closedOr(err)
	}
	return h.closedOr(h.loop.Do(ctx, func(now time.Time) {
		delete(h.places, id)
		h.expel(now, func(p Peer) bool { return p.Identity == id })
	}))
}

// expel ends what was proved by some peers.
func (h *Hub) expel(now time.Time, who func(Peer) bool) {
	for node, r := range h.peers {
		if !r.proved || !who(r.peer) {
			continue
		}
		delete(h.peers, node)
		delete(h.asked, node)
		h.lobby = slices.DeleteFunc(h.lobby, func(l *remote) bool { return l == r })
		if r.asking != nil {
			h.settle(r, identity.Certificate{}, ErrDenied)
		}
		r.proved = false
		r.release()
		h.closeSession(r)
		h.m.Leave(now, r.peer)
		h.hide(r)
		h.forgetCourier(r)
	}
}
