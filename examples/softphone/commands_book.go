// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

// person reads an ID or a contact's name.
func (p *phone) person(arg string) (identity.ID, error) {
	if arg == "" {
		return identity.ID{}, errors.New("whom? give an ID, or the name of a contact")
	}
	if c, ok := p.node.Contacts().Find(arg); ok {
		return c.ID, nil
	}
	return identity.ParseID(arg)
}

// whom splits what is said of somebody from whom it is said: an ID, a ticket, or a
// contact's name, which may have spaces in it.
func (p *phone) whom(arg string) (who, rest string) {
	who, rest, _ = strings.Cut(arg, " ")
	for c := range p.node.Contacts().All() {
		n := len(c.Name)
		if n <= len(who) || len(arg) < n || !strings.EqualFold(arg[:n], c.Name) {
			continue
		}
		if after := arg[n:]; after == "" || after[0] == ' ' {
			who, rest = arg[:n], after
		}
	}
	return who, strings.TrimSpace(rest)
}

// enter takes a ticket, or an ID, and a name.
func (p *phone) enter(arg string) error {
	who, name, _ := strings.Cut(arg, " ")
	if who == "" {
		return errors.New("whom? add TICKET [NAME]")
	}
	_, err := p.node.Contacts().Add(who, name)
	return err // the node's event tells the rest
}

// mark changes what the book says of somebody.
func (p *phone) mark(verb, arg string) error {
	id, err := p.person(arg)
	if err != nil {
		return err
	}
	switch book := p.node.Contacts(); verb {
	case "verify":
		if _, ok := book.Get(id); !ok {
			if _, err := book.Add(id.String(), ""); err != nil {
				return err
			}
		}
		return book.Verify(id, true)
	case "block":
		return book.Block(id)
	case "unblock":
		return book.Unblock(id)
	default:
		return book.Remove(id)
	}
}

func (p *phone) contacts() {
	e := contactsEvent{Contacts: []contactEntry{}}
	for c := range p.node.Contacts().All() {
		e.Contacts = append(e.Contacts, entryOf(c))
	}
	p.emit(e)
}

// historyLines is how many entries people see.
const historyLines = 100

// history prints what happened last.
func (p *phone) history(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	e := historyEvent{Records: []recordEntry{}}
	for r, err := range p.node.History(ctx) {
		if err != nil {
			return err
		}
		if e.Records = append(e.Records, p.recordOf(r)); len(e.Records) == historyLines {
			break
		}
	}
	p.emit(e)
	return nil
}

// qr shows a ticket as a picture for a telephone's camera. The capital letters
// make it smaller.
func (p *phone) qr() error {
	text, err := p.node.Ticket(ticketLife)
	if err != nil {
		return err
	}
	code, err := qr.Encode(strings.ToUpper(text), qr.L)
	if err != nil {
		return err
	}
	p.emit(qrEvent{Ticket: text, Rows: picture(code)})
	return nil
}

// picture draws a QR code with two rows of it in one of text. Terminals are
// mostly dark: what is white in the code is drawn, margin and all.
func picture(code *qr.Code) (rows []string) {
	const margin = 4 // ISO 18004 wants that much
	white := func(x, y int) bool { return !code.Black(x, y) }
	for y := -margin; y < code.Size+margin; y += 2 {
		var b strings.Builder
		for x := -margin; x < code.Size+margin; x++ {
			switch up, down := white(x, y), white(x, y+1); {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		rows = append(rows, b.String())
	}
	return rows
}

type contactEntry struct {
	Peer     string `json:"peer"`
	Name     string `json:"name"`
	Verified bool   `json:"verified"`
	Blocked  bool   `json:"blocked"`
}

func entryOf(c p2pos.Contact) contactEntry {
	return contactEntry{c.ID.String(), c.Name, c.Verified, c.Blocked}
}

func (e contactEntry) text() string {
	s := e.Peer
	if e.Name != "" {
		s = e.Name + "  " + s
	}
	if e.Verified {
		s += "  verified"
	}
	if e.Blocked {
		s += "  blocked"
	}
	return s
}

// contactEvent tells of one contact that was added, changed or removed.
type contactEvent struct {
	contactEntry
	Removed bool `json:"removed"`
}

func (contactEvent) name() string { return "contact" }
func (e contactEvent) text() string {
	if e.Removed {
		return "removed: " + e.contactEntry.text()
	}
	return "contact: " + e.contactEntry.text()
}

type contactsEvent struct {
	Contacts []contactEntry `json:"contacts"`
}

func (contactsEvent) name() string { return "contacts" }
func (e contactsEvent) text() string {
	if len(e.Contacts) == 0 {
		return "no contacts yet: add TICKET NAME"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d contacts", len(e.Contacts))
	for _, c := range e.Contacts {
		b.WriteString("\n  " + c.text())
	}
	return b.String()
}

type qrEvent struct {
	Ticket string   `json:"ticket"`
	Rows   []string `json:"rows"`
}

func (qrEvent) name() string { return "qr" }
func (e qrEvent) text() string {
	return "the ticket as a picture, good for a day:\n" + strings.Join(e.Rows, "\n")
}

// recordEntry is one line of the history. What doesn't belong to its kind is
// left out.
type recordEntry struct {
	Kind     string  `json:"kind"` // "call", "message", "file"
	When     string  `json:"when"` // RFC 3339
	Peer     string  `json:"peer"`
	Name     string  `json:"name"` // of the contact
	Incoming bool    `json:"incoming"`
	Reason   string  `json:"reason,omitempty"`
	Stage    string  `json:"stage,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	Missed   bool    `json:"missed,omitempty"`
	Path     string  `json:"path,omitempty"`
	ID       string  `json:"id,omitempty"`
	Text     string  `json:"text,omitempty"`
	File     string  `json:"file,omitempty"`
	Bytes    int64   `json:"bytes,omitempty"`
	State    string  `json:"state,omitempty"`
	Device   string  `json:"device,omitempty"` // as devices lists it; none = this phone
}

func (p *phone) recordOf(r p2pos.Record) recordEntry {
	c, _ := p.node.Contacts().Get(r.Peer)
	e := recordEntry{When: r.When.Format(time.RFC3339), Peer: r.Peer.String(), Name: c.Name, Incoming: r.Incoming, Device: r.Device}
	switch {
	case r.Call != nil:
		e.Kind, e.Reason, e.Stage, e.Seconds, e.Missed, e.Path = "call", r.Call.Reason, r.Call.Stage, r.Call.Seconds, r.Call.Missed, r.Call.Path
	case r.Message != nil:
		e.Kind, e.ID, e.Text = "message", r.Message.ID, r.Message.Text
	case r.File != nil:
		e.Kind, e.File, e.Bytes, e.State = "file", r.File.Name, r.File.Bytes, r.File.State
	case r.Knock != nil:
		e.Kind, e.Text = "knock", r.Knock.Text
	}
	return e
}

func (e recordEntry) text() string {
	who := e.Name
	if who == "" {
		who = e.Peer
	}
	way := "to "
	if e.Incoming {
		way = "from "
	}
	s := e.When + "  " + e.Kind + " " + way + who + ": "
	switch {
	case e.Missed:
		s += "missed (" + e.Reason + ")"
	case e.Kind == "call" && e.Stage == "talk":
		s += fmt.Sprintf("%.0f s, %s", e.Seconds, e.Path)
	case e.Kind == "call":
		s += e.Reason
	case e.Kind == "message", e.Kind == "knock":
		s += fmt.Sprintf("%q", e.Text) // somebody else's words can't move the cursor
	case e.Kind == "file":
		s += fmt.Sprintf("%q, %d bytes, %s", e.File, e.Bytes, e.State)
	}
	if e.Device != "" {
		s += ", on another of your phones"
	}
	return s
}

type historyEvent struct {
	Records []recordEntry `json:"records"`
}

func (historyEvent) name() string { return "history" }
func (e historyEvent) text() string {
	if len(e.Records) == 0 {
		return "nothing has happened yet"
	}
	s := fmt.Sprintf("the last %d, newest first", len(e.Records))
	for _, r := range e.Records {
		s += "\n  " + r.text()
	}
	return s
}
