// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// Admin is the public key of a network's admin, whose roster says who belongs.
// identity.NewAdminKey makes the pair.
type Admin = identity.Admin

// Roster says who belongs to a network.
type Roster = identity.Roster

// ErrNotMember reports that this node's owner, or the other one's, does not
// belong to the network as its roster says; the text says which and why.
var ErrNotMember = identity.ErrNotMember

// RosterChanged says that a newer roster of the network's admin is in force
// here. Links and calls with people who aren't on it have ended. Err says why
// this node's own owner does not belong any more, nil when he does.
type RosterChanged struct {
	Roster *Roster
	Err    error
}

// Refused says that other nodes refuse this one by the network's roster: its
// owner does not belong, or not any more. It comes every ten seconds at most.
type Refused struct{ Err error }

func (RosterChanged) event() {}
func (Refused) event()       {}

const (
	// rosterFile holds the newest roster known, as the admin has signed it.
	rosterFile = "roster"
	// siftEvery is how often calls are held against the roster: somebody's time
	// may be over.
	siftEvery = 15 * time.Second
)

// loadRoster returns the roster of an earlier start; nil when there is none, or
// one of another network or admin, as this directory may have been used with. One
// that is damaged is kept aside: the network has it.
func loadRoster(dir string, admin Admin, network Network) ([]byte, error) {
	path := filepath.Join(dir, rosterFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	r, err := identity.ParseRoster(b)
	if err != nil {
		return nil, errors.Join(err, os.Rename(path, path+".bad"))
	}
	if r.Admin != admin || r.Network != network.Tag() {
		return nil, nil
	}
	return b, nil
}

// SetRoster hands a roster to the network: the one that the admin has just
// signed, on any node. It spreads by itself, and links and calls with those who
// don't belong any more end. It is for networks with Config.Admin.
//
// Errors: identity.ErrRoster (bytes that are none, or forged), ErrRosterAdmin,
// ErrRosterNetwork, ErrRosterOld (a newer one is known), ErrRosterExpired,
// ErrRosterFuture, all of identity; net.ErrClosed.
func (n *Node) SetRoster(signed []byte) error {
	if n.cfg.Admin.IsZero() {
		return fmt.Errorf("p2pos: roster: %w: this node has no Config.Admin", identity.ErrRosterAdmin)
	}
	if err := n.ov.SetRoster(signed); err != nil {
		if n.ctx.Err() != nil {
			return n.closing(err)
		}
		return fmt.Errorf("p2pos: roster: %w", err)
	}
	return nil
}

// Roster returns the one in force, nil when there is none yet or the network has
// no admin.
func (n *Node) Roster() *Roster { return n.ov.Roster() }

// belongs tells whether somebody may be talked to, as the roster says.
func (n *Node) belongs(id identity.ID) error {
	if n.cfg.Admin.IsZero() {
		return nil
	}
	r := n.ov.Roster()
	if r == nil {
		return fmt.Errorf("%w: no roster is here yet", ErrNotMember)
	}
	return r.Check(time.Now(), id)
}

// rosterChanged keeps a newer roster, and ends what it forbids.
func (n *Node) rosterChanged(r *Roster) {
	n.sift() // before the disk, which may be slow: the links stand for a moment yet
	if err := replaceFile(n.dir, rosterFile, r.Raw()); err != nil {
		n.log.Warn("roster not kept", "err", err)
	}
	n.events.publish(RosterChanged{r, r.Check(time.Now(), n.ID())})
}

// sift ends sessions and calls with people who don't belong.
func (n *Node) sift() {
	if n.ov.Roster() == nil {
		return
	}
	err := n.hub.DropUnless(n.ctx, func(id identity.ID) bool { return n.belongs(id) == nil })
	if err != nil && n.ctx.Err() == nil {
		n.log.Warn("roster not enforced", "err", err)
	}
}

// keepSifting does so again whenever somebody's time may be over.
func (n *Node) keepSifting() {
	tick := time.NewTicker(siftEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.sift()
		case <-n.ctx.Done():
			return
		}
	}
}

// rosterError is a refusal by a roster, in words for people: ErrNotMember, and
// what lies below it.
type rosterError struct{ err error }

func (e *rosterError) Error() string {
	return "p2pos: " + strings.TrimPrefix(e.err.Error(), "overlay: ")
}

func (e *rosterError) Unwrap() []error { return []error{ErrNotMember, e.err} }

// memberError makes the overlay's refusal the application's.
func memberError(err error) error {
	if errors.Is(err, overlay.ErrMember) {
		return &rosterError{err}
	}
	return err
}

// shutOut returns how other nodes have refused this one by the roster since a
// time, while it has no link at all; else nil.
func (n *Node) shutOut(since time.Time) error {
	if n.cfg.Admin.IsZero() || n.ov.Linked() {
		return nil
	}
	return memberError(n.ov.Refused(since))
}

// expelled says by which roster a call has been denied that was up already: no
// policy is asked about those.
func (n *Node) expelled(id identity.ID) error {
	if n.cfg.Admin.IsZero() {
		return ErrDenied
	}
	if err := n.belongs(id); err != nil {
		return &rosterError{err}
	}
	return fmt.Errorf("%w: so the other side says", ErrNotMember)
}
