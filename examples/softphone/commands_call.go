// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

// choose returns the call that a command is about: the one whose number is
// given, or else the first for which one of the rules holds, tried in turn.
func (p *phone) choose(number, none string, rules ...func(*line) bool) (*line, error) {
	if number != "" {
		l := p.line(func(l *line) bool { return l.Call == number })
		if l == nil {
			return nil, fmt.Errorf("there is no call %q", clip(number, 40))
		}
		for _, f := range rules {
			if f(l) {
				return l, nil
			}
		}
		return nil, errors.New(none)
	}
	for _, f := range rules {
		if l := p.line(f); l != nil {
			return l, nil
		}
	}
	return nil, errors.New(none)
}

func (l *line) rings() bool { return l.incoming && !l.answered }

// heldByMe, and not by the other side, is what resume ends.
func (l *line) heldByMe() bool {
	if l.call == nil {
		return false
	}
	byMe, _ := l.call.Held()
	return byMe
}

func (l *line) talks() bool { return l.answered && !l.heldByMe() }

// active returns the call that is talked on, or nil.
func (p *phone) active() *line { return p.line((*line).talks) }

func (p *phone) pickUp(number string, answer bool) error {
	l, err := p.choose(number, "nobody calls", (*line).rings)
	switch {
	case err != nil:
		return err
	case answer:
		return l.call.Answer()
	}
	return l.call.Reject()
}

// hangUp ends the call that is talked on, or else an own one that is not
// answered, or else any.
func (p *phone) hangUp(number string) error {
	l, err := p.choose(number, "there is no call", (*line).talks,
		func(l *line) bool { return !l.incoming && !l.answered }, func(*line) bool { return true })
	if err != nil {
		return err
	}
	if l.call == nil {
		l.hungUp = true
		l.cancel()
		return nil
	}
	return l.call.HangUp()
}

// hold parts from the call that is talked on, resume takes one up again that
// was parted from, and parts from the others.
func (p *phone) hold(number string, on bool) error {
	if on {
		l, err := p.choose(number, "there is no call to hold", (*line).talks)
		if err != nil {
			return err
		}
		return l.call.Hold()
	}
	l, err := p.choose(number, "no call is on hold", (*line).heldByMe)
	if err != nil {
		return err
	}
	return l.call.ResumeAnd(p2pos.HoldOthers)
}

func (p *phone) mute(number string, on bool) error {
	l, err := p.choose(number, "there is no call that was answered", (*line).talks, func(l *line) bool { return l.answered })
	if err != nil {
		return err
	}
	l.call.Mute(on)
	p.emit(mutedEvent{l.Call, on})
	return nil
}

// words prints what the two people should compare.
func (p *phone) words(number string) error {
	l, err := p.choose(number, "there is no call that was answered", (*line).talks, func(l *line) bool { return l.answered })
	if err != nil {
		return err
	}
	list := l.call.SafetyWords()
	if list == nil {
		return errors.New("not known yet; ask again in a moment")
	}
	c, _ := p.node.Contacts().Get(l.call.Peer())
	p.emit(wordsEvent{Call: l.Call, Words: list, Verified: c.Verified})
	return nil
}

// passOn has the other side of a call, that is talked on or whose number stands
// in front, call somebody else.
func (p *phone) passOn(ctx context.Context, arg string) error {
	number, to := "", arg
	if first, rest, two := strings.Cut(arg, " "); two && p.line(func(l *line) bool { return l.Call == first }) != nil {
		number, to = first, strings.TrimSpace(rest)
	}
	if to == "" {
		return errors.New("to whom? transfer ID, TICKET or NAME")
	}
	l, err := p.choose(number, "there is no call that was answered", (*line).talks, func(l *line) bool { return l.answered })
	if err != nil {
		return err
	}
	p.wg.Go(func() {
		err := l.call.Transfer(l.ctx, to)
		var ce *p2pos.CallError
		if err == nil || l.ctx.Err() != nil || errors.As(err, &ce) && ce.Stage != "lookup" {
			return // an event tells
		}
		if ce != nil {
			err = ce.Err
		}
		p.post(ctx, func() { p.complain("transfer", err) })
	})
	return nil
}

// person writes "" for nobody.
func person(id identity.ID) string {
	if id == (identity.ID{}) {
		return ""
	}
	return id.String()
}
