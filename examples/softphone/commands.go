// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// ticketLife is how long our tickets hold.
const ticketLife = 24 * time.Hour

// answerTime bounds commands that only ask our own node.
const answerTime = time.Second

// help lists what a phone can do today.
func help() []string {
	return []string{
		"ticket, qr       print what others need to call you, as text or as a picture; ticket once, for one call",
		"call WHOM        call somebody: an ID, a ticket, or a contact's name",
		"answer, reject   take or refuse a call that rings; another one is put on hold",
		"hangup           end the call, or stop calling",
		"hold, resume     part from a call for a while, or take it up again",
		"transfer WHO     have them call somebody else, and leave this call when that is answered",
		"mute, unmute     let them hear silence, or you again",
		"words            what both of you should read aloud, to know that nobody listens in",
		"                 with several calls, add the number of the one that is meant",
		"dtmf DIGITS      press keys: 0-9, *, #, A-D, and a comma to wait",
		"record FILE.ogg  keep what you hear from now on, and tell them; record me FILE.ogg what you say,",
		"                 record both FILE.ogg both; record stop ends that",
		"add TICKET NAME  put somebody into your contacts, by ticket or ID",
		"knock ID TEXT    leave a line for somebody whose ID you have and no ticket; it does not ring there",
		"contacts         list them; verify, block, unblock, remove WHOM change one",
		"msg WHOM TEXT    write to somebody, online or not; read MESSAGE tells that you have read it, and all before it",
		"devices          list your phones; link TICKET NAME makes this one another phone of whoever the ticket is of,",
		"                 confirm DIGITS on the first one says yes to it, refuse DIGITS no; revoke DEVICE ends a lost one",
		"group new NAME   make a group of up to eight; group add GROUP WHOM, remove GROUP WHOM say who is in it,",
		"                 group call GROUP rings them all, group join GROUP nobody; group answer, leave, mute, unmute;",
		"                 group lists them, group forget GROUP forgets one",
		"history          what happened last",
		"send WHOM PATH   offer a file; accept, decline, pause, continue, cancel TRANSFER",
		"nat              what NAT is around you, as far as the neighbours can tell",
		"status, peers    how the node is, and whom it is linked with",
		"help, quit",
	}
}

// command obeys one line, or says why not.
func (p *phone) command(ctx context.Context, c typed) {
	verb, arg, _ := strings.Cut(c.text, " ")
	arg = strings.TrimSpace(arg)
	err := fmt.Errorf("longer than %d characters", maxLine)
	if !c.long {
		err = p.obey(ctx, verb, arg, c.at)
	}
	if err != nil {
		p.complain(verb, err)
	}
}

func (p *phone) obey(ctx context.Context, verb, arg string, at time.Time) error {
	switch verb {
	case "call":
		return p.dial(ctx, arg, at)
	case "record":
		return p.recordTo(arg)
	case "transfer":
		return p.passOn(ctx, arg)
	case "dtmf":
		return p.dtmf(arg)
	case "msg":
		return p.say(ctx, arg)
	case "read":
		return p.readTexts(ctx, arg)
	case "ticket":
		if arg == "once" {
			return p.ticket(p.node.TicketOnce)
		}
	}
	switch verb {
	case "group":
		return p.group(ctx, arg)
	case "link":
		return p.link(ctx, arg)
	case "knock":
		return p.knock(ctx, arg)
	case "confirm":
		return p.confirm(arg)
	case "refuse":
		return p.refuse(arg)
	case "revoke":
		return p.revoke(arg)
	}
	switch verb {
	case "ticket", "qr", "contacts", "devices", "history", "nat", "status", "peers", "help", "quit":
		if arg != "" {
			return fmt.Errorf("takes no %q", clip(arg, 40))
		}
	}
	switch verb {
	case "ticket":
		return p.ticket(p.node.Ticket)
	case "qr":
		return p.qr()
	case "add":
		return p.enter(arg)
	case "verify", "block", "unblock", "remove":
		return p.mark(verb, arg)
	case "contacts":
		p.contacts()
	case "devices":
		return p.devices()
	case "history":
		return p.history(ctx)
	case "send":
		return p.sendFile(ctx, arg)
	case "accept", "decline", "pause", "continue", "cancel":
		return p.file(verb, arg)
	case "answer", "reject":
		return p.pickUp(arg, verb == "answer")
	case "hangup":
		return p.hangUp(arg)
	case "hold", "resume":
		return p.hold(arg, verb == "hold")
	case "words":
		return p.words(arg)
	case "mute", "unmute":
		return p.mute(arg, verb == "mute")
	case "nat":
		p.emit(natOf(p.node.NAT()))
	case "status":
		p.emit(statusOf(p.node.Status()))
	case "peers":
		p.emit(peersOf(p.node.Status()))
	case "help":
		p.emit(helpEvent{help()})
	case "quit":
		p.quit = true
	default:
		return errors.New("unknown command; help lists those there are")
	}
	return nil
}

func (p *phone) ticket(make func(time.Duration) (string, error)) error {
	text, err := make(ticketLife)
	if err != nil {
		return err
	}
	p.emit(ticketEvent{text})
	return nil
}

// dial refuses what the user can mend, before there is a call; what turns out
// later ends the call.
func (p *phone) dial(ctx context.Context, to string, at time.Time) error {
	if to == "" {
		return errors.New("whom? call ID, TICKET or the name of a contact")
	}
	var peer identity.ID
	var err error
	if identity.IsTicket(to) {
		var t identity.Ticket
		t, err = identity.ParseTicket(to, at)
		if err == nil && t.Network != p.opt.network.Tag() {
			err = fmt.Errorf("the ticket is of another network than this phone's, %q", p.opt.network.String())
		}
		peer = t.ID
	} else {
		peer, err = p.person(to)
	}
	if err != nil {
		return err
	}
	if peer == p.node.ID() {
		return errors.New("that is your own identity; a second phone on this machine needs a -dir of its own")
	}
	p.place(ctx, to, peer.String(), at)
	return nil
}

// dtmf presses keys.
func (p *phone) dtmf(digits string) error {
	if digits == "" {
		return errors.New("which keys? dtmf DIGITS")
	}
	l := p.active()
	if l == nil {
		return errors.New("there is no call that was answered")
	}
	return l.call.SendDTMF(digits)
}

// recordTo changes what of calls goes where, in this call and in those that come.
func (p *phone) recordTo(arg string) error {
	l := p.active()
	if arg == "stop" {
		if p.shelf.file == "" && (l == nil || l.tape == nil) {
			return errors.New("nothing is recorded")
		}
		p.shelf = shelf{}
		e := recordingEvent{By: "me"}
		if l != nil {
			e.Call = l.Call
			old := l.tape
			l.tape = nil
			if err := old.stop(); err != nil {
				return err
			}
		}
		p.emit(e)
		return nil
	}
	file, sides := recordSides(arg)
	if file == "" {
		return errors.New("record FILE.ogg, or record stop")
	}
	if err := checkShelf(file); err != nil {
		return err
	}
	next := shelf{file: file, sides: sides}
	if l == nil {
		p.shelf = next
		p.emit(recordingEvent{File: file, By: "me", On: true})
		return nil
	}
	if err := p.record(l, &next); err != nil {
		return err
	}
	p.shelf = next
	return nil
}
