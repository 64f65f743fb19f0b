// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

// say sends a text: "WHOM TEXT".
func (p *phone) say(ctx context.Context, arg string) error {
	who, text := p.whom(arg)
	if text == "" {
		return errors.New("what to whom? msg WHOM TEXT")
	}
	if who == p.node.ID().String() {
		return errors.New("that is your own identity")
	}
	ctx, cancel := context.WithTimeout(ctx, diskTime)
	defer cancel()
	r, err := p.node.Send(ctx, who, text)
	if err != nil {
		return err
	}
	p.emit(sentEvent{textOf{r.ID}, r.Peer.String(), stamp(r.Sent)})
	return nil
}

// diskTime bounds commands that wait for the disk.
const diskTime = 10 * time.Second

// readTexts says that a text, or all of a person's, were read.
func (p *phone) readTexts(ctx context.Context, arg string) error {
	ctx, cancel := context.WithTimeout(ctx, diskTime)
	defer cancel()
	if arg == "" {
		return errors.New("which? read MESSAGE, or the ID or name of whoever wrote")
	}
	if id, err := p.person(arg); err == nil {
		return p.node.MarkAllRead(ctx, id)
	}
	return p.node.MarkRead(ctx, arg)
}

// stamp writes a time to the millisecond.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// texts tells what happened to texts.
func (p *phone) texts(e p2pos.Event) {
	switch e := e.(type) {
	case p2pos.Message:
		from, to := e.Peer, p.node.ID()
		if e.Ours {
			from, to = to, from
		}
		p.emit(messageEvent{textOf{e.ID}, from.String(), to.String(), e.Text, stamp(e.Sent), e.Gap, p.called(from)})
	case p2pos.MessageStored:
		p.emit(storedEvent{textOf{e.ID}, e.Peer.String()})
	case p2pos.MessageDelivered:
		p.emit(deliveredEvent{textOf{e.ID}, e.Peer.String()})
	case p2pos.MessageRead:
		p.emit(readEvent{textOf{e.ID}, e.Peer.String()})
	}
}

// called returns what the owner of this phone calls somebody.
func (p *phone) called(id identity.ID) string {
	switch c, _ := p.node.Contacts().Get(id); {
	case id == p.node.ID():
		return "you"
	case c.Name != "":
		return c.Name
	}
	return id.String()
}

type textOf struct {
	ID string `json:"id"`
}

func (t textOf) short() string { return t.ID[:min(len(t.ID), 8)] }

type messageEvent struct {
	textOf
	From   string `json:"from"`
	To     string `json:"to"`
	Text   string `json:"text"`
	SentAt string `json:"sent_at"`
	Gap    bool   `json:"gap"` // something before it is missing

	who string
}

func (messageEvent) name() string { return "message" }
func (e messageEvent) text() string {
	// Quoted: somebody else's words can't move the cursor, or look like ours.
	s := fmt.Sprintf("%s: %q (%s)", e.who, e.Text, e.short())
	if e.Gap {
		s = "(something is missing here)\n" + s
	}
	return s
}

type sentEvent struct {
	textOf
	To     string `json:"to"`
	SentAt string `json:"sent_at"`
}

func (sentEvent) name() string   { return "sent" }
func (e sentEvent) text() string { return fmt.Sprintf("on its way (%s)", e.short()) }

type storedEvent struct {
	textOf
	To string `json:"to"`
}

func (storedEvent) name() string   { return "stored" }
func (e storedEvent) text() string { return fmt.Sprintf("waits in the network (%s)", e.short()) }

type deliveredEvent struct {
	textOf
	To string `json:"to"`
}

func (deliveredEvent) name() string   { return "delivered" }
func (e deliveredEvent) text() string { return fmt.Sprintf("delivered (%s)", e.short()) }

type readEvent struct {
	textOf
	To string `json:"to"`
}

func (readEvent) name() string   { return "read" }
func (e readEvent) text() string { return fmt.Sprintf("was read (%s)", e.short()) }
