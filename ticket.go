// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session"
)

// ErrManyTickets reports that sixteen one-use tickets wait for their callers.
var ErrManyTickets = errors.New("p2pos: too many one-use tickets are out; wait until one is used or expires")

// Ticket returns a text that lets its holder find and ring this node for the
// given time, at most about a hundred years. It names where the node is now,
// and some neighbours that can introduce it; it works as long as one of these
// still holds. It does no I/O on the network. Errors: a time that is not
// positive, net.ErrClosed.
func (n *Node) Ticket(valid time.Duration) (string, error) {
	return n.ticket(valid, n.dev.Reach())
}

// TicketOnce returns a ticket for one caller and one call to this device: the
// first who uses it is the only one who can, it rings once, and then it is over.
// Its time is kept here, not by the caller's program. Who is among the contacts
// by then may go on calling over the link that stands. It outlives a restart
// until it is used, and it is found by the network only while this device is
// online; texts by it are not left in mailboxes.
//
// Errors: as Ticket; ErrNotHolder on a device without the identity key,
// ErrManyTickets, those of the disk.
func (n *Node) TicketOnce(valid time.Duration) (string, error) {
	if !n.dev.Holder() {
		return "", ErrNotHolder
	}
	var secret identity.Secret
	rand.Read(secret[:])
	text, err := n.ticket(valid, secret)
	if err != nil {
		return "", err
	}
	err = n.hub.AddOnce(n.ctx, session.Once{Secret: secret, Expires: time.Now().Add(valid)})
	if errors.Is(err, session.ErrManyOnce) {
		return "", ErrManyTickets
	}
	if err == nil {
		err = n.saveDevices()
	}
	if err != nil {
		return "", n.closing(fmt.Errorf("p2pos: ticket: %w", err))
	}
	n.kins.wake() // it is published now
	return text, nil
}

func (n *Node) ticket(valid time.Duration, secret identity.Secret) (string, error) {
	if valid <= 0 {
		return "", fmt.Errorf("p2pos: a ticket that is valid for %v; give a positive time", valid)
	}
	own, introducers, err := n.ov.Addresses(n.ctx, identity.MaxTicketIntroducers)
	if err != nil {
		return "", n.closing(err)
	}
	t := identity.Ticket{
		ID: n.dev.ID(), Reach: secret, Network: n.cfg.Network.Tag(),
		Expires: time.Now().Add(valid), Addrs: own, Introducers: introducers,
	}
	text, err := t.Fit().Text()
	if err != nil {
		return "", fmt.Errorf("p2pos: %w", err)
	}
	return text, nil
}
