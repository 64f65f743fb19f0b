// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Screening: the application may be asked about an INVITE before the machine
// sees it, so that a caller who is not wanted makes nothing ring, takes no
// line and leaves no missed call.

// IsInvite tells whether session message b is an INVITE.
func IsInvite(b []byte) bool { return typeOf(b) == typeInvite }

// Asking is what the application is told of a call that has not rung yet.
type Asking struct {
	From identity.ID
	Name string      // what the caller calls himself
	By   identity.ID // who has transferred the caller to us; zero = nobody
	// Group is the group that the call is of, with its name; zero = none.
	Group     GroupID
	GroupName string
}

// Caller opens an INVITE from p only to see who calls. Errors are those of
// Receive; nothing is remembered.
func (m *Machine) Caller(now time.Time, p Peer, b []byte) (Asking, error) {
	if !m.linked(p) {
		return Asking{}, fmt.Errorf("%w: invite", ErrUnknownPeer)
	}
	inv, err := openInvite(now, m.self, m.node, p, b)
	if err != nil {
		return Asking{}, err
	}
	a := Asking{From: p.Identity, Name: inv.name, By: inv.by}
	if inv.group != nil {
		a.Group, a.GroupName = inv.group.Roster.ID, inv.group.Roster.Name
	}
	return a, nil
}

// Deny refuses an INVITE that was never received: the caller hears Denied, the
// application nothing. Errors are those of Receive.
func (m *Machine) Deny(now time.Time, p Peer, b []byte) error {
	if !m.linked(p) {
		return fmt.Errorf("%w: invite", ErrUnknownPeer)
	}
	pr := m.peers[p]
	if !pr.invites.take(now) {
		return fmt.Errorf("%w: invites", ErrFlood)
	}
	inv, err := openInvite(now, m.self, m.node, p, b)
	if err != nil {
		return err
	}
	if pr.seen.has(inv.id, inv.expires) || m.used(inv.id) {
		return fmt.Errorf("%w: invite %s", ErrReplay, inv.id.Short())
	}
	pr.seen.add(now, inv.id, inv.expires)
	m.refuse(p, inv, Denied)
	return nil
}

// maxScreening bounds questions that wait for the application, one for each
// peer: an INVITE repeated or followed by another one meanwhile is dropped.
const maxScreening = 16

var errScreening = errors.New("session: too many calls wait for the policy")

// screen asks the application about an INVITE and then hands it on, or denies
// it. A caller gives up after Options.OfflineAfter of silence.
func (h *Hub) screen(now time.Time, p Peer, body []byte) {
	who, err := h.m.Caller(now, p, body)
	if err == nil && (h.screening[p] || len(h.screening) == maxScreening) {
		err = errScreening
	}
	if err != nil {
		h.badMsgs.Add(1)
		h.log.Debug("invite dropped", "peer", p.Identity, "err", err)
		return
	}
	if f := h.rooms[who.Group]; f != nil && f.room.Roster().Has(p.Identity) {
		// One leg more of a room that rings here or was entered.
		if err := h.m.Receive(now, p, body); err != nil {
			h.badMsgs.Add(1)
			h.log.Debug("invite dropped", "peer", p.Identity, "err", err)
		}
		return
	}
	h.screening[p] = true
	verdict := make(chan error, 1)
	ask := h.cfg.Allow
	go func() { verdict <- ask(who) }() // the application's code: Close can't wait for it
	h.wg.Go(func() {
		var err error
		select {
		case err = <-verdict:
		case <-h.ctx.Done():
			return
		}
		h.loop.Do(h.ctx, func(now time.Time) {
			delete(h.screening, p)
			if err == nil {
				err = h.m.Receive(now, p, body)
			} else {
				h.log.Info("call denied by policy", "peer", p.Identity, "err", err)
				err = h.m.Deny(now, p, body)
			}
			if err != nil {
				h.badMsgs.Add(1)
				h.log.Debug("invite dropped", "peer", p.Identity, "err", err)
			}
		})
	})
}
