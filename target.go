// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// maxKnown bounds the tickets remembered while the node runs.
const maxKnown = 1024

// target reads what a user may give to Call: a ticket, an ID or a contact's
// name.
func (n *Node) target(to string) (overlay.Target, error) {
	t, err := n.parseTarget(to)
	if err != nil {
		c, ok := n.book.Find(to)
		if !ok {
			return t, err
		}
		t = overlay.Target{ID: c.ID}
	}
	if n.book.blocked(t.ID) {
		return t, fmt.Errorf("%w: %s", ErrBlocked, t.ID.Short())
	}
	if t.ID != n.ID() {
		if err := n.belongs(t.ID); err != nil && n.ov.Roster() != nil { // else it may come with the first link
			return t, fmt.Errorf("p2pos: %w", err)
		}
	}
	if t.Secret == (identity.Secret{}) {
		if k, ok := n.knownTarget(t.ID); ok {
			return k, nil
		}
	}
	return t, nil
}

// knownTarget returns how somebody was reached before, or will be by a ticket
// among the contacts.
func (n *Node) knownTarget(id identity.ID) (overlay.Target, bool) {
	n.mu.Lock()
	t, ok := n.known[id]
	n.mu.Unlock()
	if c, there := n.book.target(id); there && (!ok || c.Secret != t.Secret || len(t.Addrs)+len(t.Introducers) == 0) {
		return c, true
	}
	return t, ok
}

// forget takes somebody out of those that are known by earlier calls, and hoped
// for.
func (n *Node) forget(id identity.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, id)
	delete(n.hopes, id)
}

// parseTarget reads a ticket or an ID.
func (n *Node) parseTarget(to string) (overlay.Target, error) {
	if !identity.IsTicket(to) {
		id, err := identity.ParseID(to)
		if err != nil {
			return overlay.Target{}, fmt.Errorf("p2pos: %w", err)
		}
		return overlay.Target{ID: id}, nil
	}
	t, err := identity.ParseTicket(to, time.Now())
	if err != nil {
		return overlay.Target{}, fmt.Errorf("p2pos: %w", err)
	}
	if t.Network != n.cfg.Network.Tag() {
		return overlay.Target{}, fmt.Errorf("%w: the ticket is not for %v", ErrOtherNetwork, n.cfg.Network)
	}
	return overlay.Target{ID: t.ID, Secret: t.Reach, Addrs: t.Addrs, Introducers: t.Introducers}, nil
}

// remember keeps a target that has been proved good, so that the ID is enough
// from now on. A ticket that leads nowhere never replaces one that worked.
func (n *Node) remember(t overlay.Target) {
	n.book.learn(t.ID, t.Secret)
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.known[t.ID]
	if (ok || len(n.known) < maxKnown) && t.Secret != (identity.Secret{}) {
		if len(t.Addrs)+len(t.Introducers) == 0 && old.Secret == t.Secret {
			return // nothing new
		}
		n.known[t.ID] = t
	}
}

// hope keeps a target that nothing has proved yet, for what is to be sent there
// later: one that is known is kept beside it.
func (n *Node) hope(t overlay.Target) {
	if _, known := n.knownTarget(t.ID); !known {
		n.remember(t)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.Secret != (identity.Secret{}) && len(t.Addrs)+len(t.Introducers) > 0 && len(n.hopes) < maxKnown {
		n.hopes[t.ID] = t
	}
}

// provedTarget takes a hope that has come true, if there was one.
func (n *Node) provedTarget(id identity.ID) {
	n.mu.Lock()
	t, ok := n.hopes[id]
	delete(n.hopes, id)
	n.mu.Unlock()
	if ok {
		n.remember(t)
	}
}
