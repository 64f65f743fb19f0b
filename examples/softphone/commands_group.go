// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// room is a group's call as the phone sees it.
type room struct {
	call   *p2pos.GroupCall
	in     bool
	ctx    context.Context // of the goroutines that are its mouth and ears
	cancel context.CancelFunc
}

// group obeys group WHAT …
func (p *phone) group(ctx context.Context, arg string) error {
	what, rest, _ := strings.Cut(arg, " ")
	rest = strings.TrimSpace(rest)
	switch what {
	case "":
		for _, g := range p.node.Groups() {
			e := groupOf(g, "known")
			for _, r := range p.rooms {
				if r.call.Group().ID() == g.ID() {
					e = e.with(r.call)
				}
			}
			p.emit(e)
		}
		return nil
	case "new":
		if rest == "" {
			return errors.New("how is it called? group new NAME")
		}
		_, err := p.node.NewGroup(rest)
		return err // an event tells its ID
	case "answer", "leave":
		return p.groupPick(ctx, rest, what == "answer")
	case "mute", "unmute":
		return p.groupMute(rest, what == "mute")
	}
	name, who, _ := strings.Cut(rest, " ")
	who = strings.TrimSpace(who)
	switch what {
	case "add", "remove":
		if who == "" {
			return fmt.Errorf("whom? group %s GROUP WHOM", what)
		}
	case "call", "join", "forget":
		if who != "" {
			return fmt.Errorf("takes no %q", clip(who, 40))
		}
	default:
		return errors.New("group new, add, remove, call, join, answer, leave, mute, unmute or forget")
	}
	g, err := p.findGroup(name)
	if err != nil {
		return err
	}
	switch what {
	case "add":
		return g.Add(who)
	case "remove":
		id, err := p.person(who)
		if err != nil {
			return err
		}
		return g.Remove(id)
	case "forget":
		return g.Forget()
	}
	enter := g.Call
	if what == "join" {
		enter = g.Join
	}
	short, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := enter(short)
	if err != nil {
		return err
	}
	p.enterRoom(ctx, c)
	return nil
}

// findGroup takes an ID or a name.
func (p *phone) findGroup(text string) (found *p2pos.Group, err error) {
	if text == "" {
		return nil, errors.New("which group? its ID or name; group lists them")
	}
	for _, g := range p.node.Groups() {
		switch {
		case g.ID() == text:
			return g, nil
		case g.Name() == text && found != nil:
			return nil, fmt.Errorf("%q are several; take the ID", clip(text, 40))
		case g.Name() == text:
			found = g
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no group %q", clip(text, 40))
	}
	return found, nil
}

// groupPick enters the group's call that rings, or goes out of one.
func (p *phone) groupPick(ctx context.Context, text string, answer bool) error {
	for _, r := range p.rooms {
		g := r.call.Group()
		if text != "" && text != g.ID() && text != g.Name() || answer && r.in {
			continue
		}
		if !answer {
			return r.call.Leave()
		}
		if err := r.call.Answer(); err != nil {
			return err
		}
		p.enterRoom(ctx, r.call)
		return nil
	}
	if answer {
		return errors.New("no group calls")
	}
	return errors.New("there is no group call")
}

// groupMute sends silence to a group's call, or what the microphone says again.
func (p *phone) groupMute(text string, on bool) error {
	for _, r := range p.rooms {
		if g := r.call.Group(); r.in && (text == "" || text == g.ID() || text == g.Name()) {
			r.call.Mute(on)
			p.emit(groupOf(g, map[bool]string{true: "muted", false: "unmuted"}[on]).with(r.call))
			return nil
		}
	}
	return errors.New("there is no group call")
}

func (p *phone) roomOf(ctx context.Context, c *p2pos.GroupCall) *room {
	for _, r := range p.rooms {
		if r.call == c {
			return r
		}
	}
	r := &room{call: c}
	r.ctx, r.cancel = context.WithCancel(ctx)
	p.rooms = append(p.rooms, r)
	return r
}

// enterRoom lets the phone speak to all who are in a group's call.
func (p *phone) enterRoom(ctx context.Context, c *p2pos.GroupCall) {
	r := p.roomOf(ctx, c)
	if r.in {
		return
	}
	r.in = true
	p.emit(groupOf(c.Group(), "in").with(c))
	p.wg.Go(func() {
		err := ogg.Play(r.ctx, p.mic, true, c.Track())
		if err != nil && r.ctx.Err() == nil && !errors.Is(err, io.ErrClosedPipe) {
			p.post(r.ctx, func() { p.complain("play", err) })
		}
	})
}

// groupNews tells what happens to groups.
func (p *phone) groupNews(ctx context.Context, e p2pos.Event) {
	switch e := e.(type) {
	case p2pos.GroupChanged:
		p.emit(groupOf(e.Group, "known"))
	case p2pos.GroupRings:
		p.roomOf(ctx, e.Call)
		g := groupOf(e.Call.Group(), "rings")
		g.Peer = person(e.Call.By())
		p.emit(g)
		if p.opt.answer {
			if err := p.groupPick(ctx, e.Call.Group().ID(), true); err != nil {
				p.complain("group", err)
			}
		}
	case p2pos.GroupJoined:
		in, _ := e.Member.Tracks()
		r := p.roomOf(ctx, e.Call)
		p.wg.Go(func() {
			var f media.Frame
			for in.ReadFrame(r.ctx, &f) == nil {
			}
		})
		g := groupOf(e.Call.Group(), "joined").with(e.Call)
		g.Peer = e.Member.Peer().String()
		p.emit(g)
	case p2pos.GroupLeft:
		g := groupOf(e.Call.Group(), "left").with(e.Call)
		g.Peer, g.Reason = e.Member.Peer().String(), e.Reason
		p.emit(g)
	case p2pos.GroupEnded:
		for i, r := range p.rooms {
			if r.call == e.Call {
				r.cancel()
				p.rooms = append(p.rooms[:i:i], p.rooms[i+1:]...)
				break
			}
		}
		g := groupOf(e.Call.Group(), "over")
		g.Reason = e.Reason
		p.emit(g)
	}
}

// groupEvent says how a group is, or its call.
type groupEvent struct {
	Group   string   `json:"group"`
	Name    string   `json:"name"`
	State   string   `json:"state"`   // known, rings, in, muted, unmuted, joined, left, over
	Peer    string   `json:"peer"`    // who calls, has joined or left
	Reason  string   `json:"reason"`  // why somebody has left, or it is over
	Members []string `json:"members"` // who belongs to it
	Present []string `json:"present"` // who is in its call beside this phone
}

func groupOf(g *p2pos.Group, state string) groupEvent {
	e := groupEvent{Group: g.ID(), Name: g.Name(), State: state, Members: []string{}, Present: []string{}}
	for _, id := range g.Members() {
		e.Members = append(e.Members, id.String())
	}
	return e
}

// with adds who is there.
func (e groupEvent) with(c *p2pos.GroupCall) groupEvent {
	for _, m := range c.Members() {
		e.Present = append(e.Present, m.Peer().String())
	}
	return e
}

func (groupEvent) name() string { return "group" }
func (e groupEvent) text() string {
	name := fmt.Sprintf("group %q", e.Name)
	switch e.State {
	case "known":
		call := ""
		if n := len(e.Present); n > 0 {
			call = fmt.Sprintf(", %d of them in its call", n)
		}
		return fmt.Sprintf("%s, %s, %d members%s:\n  %s", name, e.Group, len(e.Members), call, strings.Join(e.Members, "\n  "))
	case "rings":
		return fmt.Sprintf("%s calls, by %s; group answer or group leave", name, e.Peer)
	case "in":
		return "you are in the call of " + name
	case "muted", "unmuted":
		return "your microphone is " + e.State + " in " + name
	case "joined":
		return fmt.Sprintf("%s: %s is here", name, e.Peer)
	case "left":
		return fmt.Sprintf("%s: %s has gone (%s)", name, e.Peer, e.Reason)
	}
	return fmt.Sprintf("%s: the call is over (%s)", name, e.Reason)
}
