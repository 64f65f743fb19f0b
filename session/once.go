// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// A ticket for one use has a reach secret of its own. The first who proves that
// he has it is its only user from then on; it rings once, and is over.

// MaxOnce is how many one-use secrets a device may have: as many as it can be
// found under beside its own (directory.MaxReach).
const MaxOnce = 16

// Once is a reach secret for one caller and one call.
type Once struct {
	Secret  identity.Secret
	Expires time.Time
	By      identity.ID // who uses it; zero = nobody yet
	Rung    bool        // it has rung; it is remembered while the device runs, so that the call can go on
}

// OnceUsed says that somebody has taken or used up a one-use secret.
type OnceUsed struct{ Once Once }

func (OnceUsed) hubEvent() {}

var (
	// ErrManyOnce reports MaxOnce secrets that nobody has used.
	ErrManyOnce = errors.New("session: too many one-use tickets wait for their callers")

	errOnce = errors.New("session: a one-use ticket that was used")
)

// onces are the one-use secrets of a device.
type onces struct{ list []Once }

// add takes a new one, and forgets those that are over.
func (o *onces) add(now time.Time, s Once) error {
	o.list = slices.DeleteFunc(o.list, func(x Once) bool { return !now.Before(x.Expires) })
	if len(o.list) == MaxOnce {
		i := slices.IndexFunc(o.list, func(x Once) bool { return x.Rung })
		if i < 0 {
			return ErrManyOnce
		}
		o.list = slices.Delete(o.list, i, i+1)
	}
	o.list = append(o.list, s)
	return nil
}

// secrets returns those that somebody may prove himself with.
func (o *onces) secrets(now time.Time) (list []identity.Secret) {
	for _, x := range o.list {
		if now.Before(x.Expires) {
			list = append(list, x.Secret)
		}
	}
	return list
}

// admit tells whether id may use a secret. once: it is a one-use secret; news:
// id is its user from now on.
func (o *onces) admit(secret identity.Secret, id identity.ID) (ok, once bool, news *Once) {
	for i := range o.list {
		x := &o.list[i]
		if x.Secret != secret {
			continue
		}
		if x.By == (identity.ID{}) {
			x.By, news = id, x
		}
		return x.By == id, true, news
	}
	return true, false, nil
}

// ring tells whether somebody who came by a one-use secret may ring, which he
// has done then.
func (o *onces) ring(id identity.ID) *Once {
	for i := range o.list {
		if x := &o.list[i]; x.By == id && !x.Rung {
			x.Rung = true
			return x
		}
	}
	return nil
}

// admitted notes by which secret a peer has come, and tells whether it may.
func (h *Hub) admitted(secret identity.Secret, id identity.ID) (ok, once bool) {
	ok, once, news := h.onces.admit(secret, id)
	if news != nil {
		h.emit(OnceUsed{*news})
	}
	return ok, once
}

// secrets returns those that this device answers to.
func (h *Hub) secrets(now time.Time) []identity.Secret {
	return append([]identity.Secret{h.cfg.Self.Reach()}, h.onces.secrets(now)...)
}

// invited hands an INVITE on, unless it is one too many of a one-use ticket.
func (h *Hub) invited(now time.Time, r *remote, body []byte) error {
	if r.guest && (h.cfg.Near == nil || !h.cfg.Near(r.peer.Identity)) {
		if h.screening[r.peer] {
			return errScreening
		}
		if _, err := h.m.Caller(now, r.peer, body); err != nil {
			return err
		}
		x := h.onces.ring(r.peer.Identity)
		if x == nil {
			return h.m.Deny(now, r.peer, body)
		}
		h.emit(OnceUsed{*x})
	}
	if h.cfg.Allow != nil {
		h.screen(now, r.peer, body)
		return nil
	}
	return h.m.Receive(now, r.peer, body)
}

// AddOnce has this device answer to one more one-use secret. Errors:
// ErrManyOnce, ctx's, net.ErrClosed.
func (h *Hub) AddOnce(ctx context.Context, s Once) (err error) {
	if e := h.loop.Do(ctx, func(now time.Time) { err = h.onces.add(now, s) }); e != nil {
		return h.closedOr(e)
	}
	return err
}

// Onces returns the one-use secrets that have not rung.
func (h *Hub) Onces(ctx context.Context) (list []Once, err error) {
	err = h.loop.Do(ctx, func(now time.Time) {
		for _, x := range h.onces.list {
			if !x.Rung && now.Before(x.Expires) {
				list = append(list, x)
			}
		}
	})
	return list, h.closedOr(err)
}
