// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/chat"
)

var (
	// ErrText reports a text that can't be sent: empty, longer than MaxText bytes,
	// or not UTF-8.
	ErrText = errors.New("p2pos: a text must be 1 to 8192 bytes of UTF-8")
	// ErrNoMessage reports an ID that is of no message which could be read.
	ErrNoMessage = errors.New("p2pos: no such message")
	// ErrWaiting reports that too many messages wait for a person already.
	ErrWaiting = errors.New("p2pos: too many messages wait for this person")
)

// MaxText bounds a text in bytes of UTF-8.
const MaxText = chat.MaxText

// Receipt says that a text is stored here and will be delivered, now or later.
// MessageDelivered and MessageRead with the same ID tell how far it came, and
// so does the history.
type Receipt struct {
	ID   string // 32 hexadecimal digits
	Peer identity.ID
	Sent time.Time
}

// Message says that a text has come: from Peer, or, with Ours, from another
// device of this node's own person to Peer. It comes once for each text, those
// of one device in the order in which they were said there.
type Message struct {
	ID       string
	Peer     identity.ID
	Ours     bool
	Text     string    // at most MaxText bytes of UTF-8, control characters included: mind them when you show it
	Sent     time.Time // by its author's clock
	Received time.Time
	// Gap says that something its author said before is missing, and was waited
	// for in vain for a day. It comes when it turns up.
	Gap bool
}

// MessageStored says that an own text waits in the network for a device of
// the other person: this node may be switched off.
type MessageStored struct {
	ID   string
	Peer identity.ID
}

// MessageDelivered says that an own text is on a disk of the other person.
type MessageDelivered struct {
	ID   string
	Peer identity.ID
}

// MessageRead says that an own text was read.
type MessageRead struct {
	ID   string
	Peer identity.ID
}

func (Message) event()          {}
func (MessageStored) event()    {}
func (MessageDelivered) event() {}
func (MessageRead) event()      {}

// Send says text to a person, named by a ticket, by a contact's name, or by the
// ID of a contact or of somebody who was called, has called or written before.
// It returns when the text is on this computer's disk: it will be delivered to
// every device of that person, at once where one is online, else when it comes
// back, even if this node is switched off by then (see MessageStored). It waits
// for nothing on the network.
//
// Errors: identity.ErrNotID, *identity.TypoError and the ticket errors of
// identity for texts that are wrong; ErrOtherNetwork, ErrBlocked, ErrSelf,
// ErrNotFound (an ID without a ticket), ErrText, ErrWaiting, those of the disk,
// ctx's, net.ErrClosed. Nothing was sent then.
func (n *Node) Send(ctx context.Context, to, text string) (Receipt, error) {
	t, err := n.target(to)
	if err != nil {
		return Receipt{}, err
	}
	if t.ID == n.dev.ID() {
		return Receipt{}, fmt.Errorf("%w: nothing was sent", ErrSelf)
	}
	n.rememberNew(t) // before the search for them begins
	n.startJoin()
	id, at, err := n.hub.SendText(ctx, t, text)
	if err != nil {
		return Receipt{}, n.chatError(err)
	}
	return Receipt{ID: id.String(), Peer: t.ID, Sent: at}, nil
}

// MarkRead says that the text with this ID was read, and with it all that came
// before it from the same person; who wrote them is told, and so are this
// person's other devices. Errors: ErrNoMessage, those of the disk, ctx's,
// net.ErrClosed.
func (n *Node) MarkRead(ctx context.Context, id string) error {
	m, err := chat.ParseID(id)
	if err != nil {
		return fmt.Errorf("%w: %.40q", ErrNoMessage, id)
	}
	return n.chatError(n.hub.MarkRead(ctx, m))
}

// MarkAllRead says that everything a person has written so far was read. Errors:
// as MarkRead.
func (n *Node) MarkAllRead(ctx context.Context, peer identity.ID) error {
	return n.chatError(n.hub.MarkAllRead(ctx, peer))
}

// chatError turns an error of the session into the application's.
func (n *Node) chatError(err error) error {
	switch {
	case err == nil:
		return nil
	case n.ctx.Err() != nil, errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case errors.Is(err, chat.ErrText):
		return ErrText
	case errors.Is(err, chat.ErrUnknown):
		return ErrNotFound
	case errors.Is(err, chat.ErrWaiting):
		return ErrWaiting
	case errors.Is(err, chat.ErrNoMessage):
		return ErrNoMessage
	}
	return fmt.Errorf("p2pos: %w", err)
}

// endedUnheard has a callee of whom no device could be reached learn of the call.
// The pump calls it.
func (n *Node) endedUnheard(c *Call) {
	_, reason, _ := c.End()
	t, known := n.knownTarget(c.Peer())
	if !c.Incoming() && known && (reason == session.Offline.String() || reason == session.NotFound.String()) {
		n.wg.Go(func() { n.leaveWord(t) }) // the courier may wait for the pump, so the pump does not wait for it
	}
}

// leaveWord tells somebody of a call in vain, the way texts go. It waits for the
// disk.
func (n *Node) leaveWord(t overlay.Target) {
	if t.Secret == (identity.Secret{}) {
		return
	}
	if err := n.hub.Called(n.ctx, t); err != nil && n.ctx.Err() == nil {
		n.log.Info("missed call not told", "peer", t.ID, "err", err)
	}
}

// rememberNew keeps how somebody can be found of whom nothing was known.
func (n *Node) rememberNew(t overlay.Target) {
	if _, ok := n.knownTarget(t.ID); !ok {
		n.remember(t)
	}
}

// chatNews tells the application what happened to texts. They are in the history
// already.
func (n *Node) chatNews(e chat.Event) {
	switch e := e.(type) {
	case chat.Message:
		if !e.Here {
			n.auditMessage(e)
			n.tell(Message{
				ID: e.ID.String(), Peer: e.Peer, Ours: e.Ours, Text: e.Text, Sent: e.Sent, Received: e.Received, Gap: e.Gap,
			})
		}
	case chat.Stored:
		n.tell(MessageStored{e.ID.String(), e.Peer})
	case chat.Delivered:
		n.auditor.tell(AuditEvent{Action: ActMessage, When: time.Now(), Peer: e.Peer, Result: "delivered"})
		n.tell(MessageDelivered{e.ID.String(), e.Peer})
	case chat.Read:
		n.tell(MessageRead{e.ID.String(), e.Peer})
	case chat.Called:
		if !e.Ours {
			n.tell(CallMissed{Peer: e.Peer, Name: e.Name, When: e.At})
		}
	case chat.Met:
		n.remember(overlay.Target{ID: e.Peer, Secret: e.Secret}) // so that it can be answered by ID
	}
}
