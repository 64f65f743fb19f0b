// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
)

// Knock says that somebody who knows this node's ID and has no ticket has left
// word (Config.Knocks). Name and Text are his own words, without control
// characters; the identity is proved. Nothing has rung, and nothing should unless
// Rings says so (Config.KnockRings). With Callable, Call, Send and Contacts.Add
// reach him by his ID.
type Knock struct {
	Peer     identity.ID
	Name     string // at most 64 bytes
	Text     string // at most 140 bytes
	Callable bool
	Rings    bool
}

func (Knock) event() {}

// MaxKnock bounds the text of a knock in bytes; what is longer is cut.
const MaxKnock = 140

// Knock leaves word for somebody of whom only the ID is known: a line that is
// shown there within about five minutes, if that person takes such (Config.Knocks)
// and was online within the last hours. It tells this node's name and how it
// can be called back. It works for a fifth of a second of a core, and returns
// when another node holds the knock; a second one on the same day is not taken.
//
// Errors: identity.ErrNotID, *identity.TypoError, ErrSelf, ErrBlocked,
// ErrNotFound (no inbox is known), ErrOffline (nobody takes it), ctx's,
// net.ErrClosed.
func (n *Node) Knock(ctx context.Context, to, text string) error {
	t, err := n.target(to)
	if err != nil {
		return err
	}
	if t.ID == n.dev.ID() {
		return fmt.Errorf("%w: nothing was left there", ErrSelf)
	}
	n.startJoin()
	err = n.ov.Knock(ctx, t.ID, identity.Greeting{Name: n.cfg.Name, Text: text, Reach: n.dev.Reach()})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, overlay.ErrNoInbox):
		return fmt.Errorf("%w: %s has no inbox", ErrNotFound, t.ID.Short())
	case errors.Is(err, overlay.ErrUnreachable):
		return fmt.Errorf("%w: no node takes a line for %s", ErrOffline, t.ID.Short())
	}
	return n.closing(err)
}

// knocked takes word from the inbox.
func (n *Node) knocked(k session.Knocked) {
	callable := k.Reach != (identity.Secret{})
	if callable {
		n.remember(overlay.Target{ID: k.Peer, Secret: k.Reach})
	}
	e, when := Knock{Peer: k.Peer, Name: k.Name, Text: k.Text, Callable: callable}, time.Now()
	say := func() {
		n.record(Record{When: when, Peer: e.Peer, Name: e.Name, Incoming: true, Knock: &KnockRecord{Text: e.Text, Rang: e.Rings}})
		n.tell(e)
	}
	if n.cfg.KnockRings == nil || n.knockAsks.Load() >= maxKnockAsks {
		say()
		return
	}
	n.knockAsks.Add(1)
	verdict := make(chan bool, 1)
	go func() { // the application's code: Close can't wait for it
		defer n.knockAsks.Add(-1)
		verdict <- n.mayKnockRing(e)
	}()
	n.wg.Go(func() {
		late := time.NewTimer(knockVerdict)
		defer late.Stop()
		select {
		case e.Rings = <-verdict:
		case <-late.C:
		case <-n.ctx.Done():
		}
		say()
	})
}

const (
	// maxKnockAsks bounds the questions that wait for the application. The inbox
	// takes 32 an hour, all told within a moment.
	maxKnockAsks = 16
	// knockVerdict is how long word waits for the answer.
	knockVerdict = 8 * time.Second
)

// mayKnockRing asks the application; a panic is a no.
func (n *Node) mayKnockRing(k Knock) (ring bool) {
	defer func() {
		if p := recover(); p != nil {
			n.log.Warn("policy panicked", "action", "knock", "panic", p)
			ring = false
		}
	}()
	return n.cfg.KnockRings(k)
}
