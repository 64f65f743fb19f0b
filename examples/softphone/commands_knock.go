// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// knockTime bounds the search for an inbox, the work, and the wait for a holder.
const knockTime = 30 * time.Second

// knock leaves a line for somebody: "ID TEXT".
func (p *phone) knock(ctx context.Context, arg string) error {
	who, text := p.whom(arg)
	if who == "" {
		return errors.New("whom? knock ID TEXT")
	}
	p.wg.Go(func() {
		short, cancel := context.WithTimeout(ctx, knockTime)
		defer cancel()
		err := p.node.Knock(short, who, text)
		p.post(ctx, func() {
			if err != nil {
				p.complain("knock", err)
				return
			}
			p.emit(knockedEvent{who})
		})
	})
	return nil
}

type knockedEvent struct {
	To string `json:"to"`
}

func (knockedEvent) name() string { return "knocked" }
func (e knockedEvent) text() string {
	return "the network holds your line; it is shown there within minutes if they are online"
}

type knockEvent struct {
	Peer     string `json:"peer"`
	Name     string `json:"name"`
	Text     string `json:"text"`
	Callable bool   `json:"callable"`
	Rings    bool   `json:"rings"`
}

func (knockEvent) name() string { return "knock" }
func (e knockEvent) text() string {
	s := fmt.Sprintf("a stranger, %s%s, has left word: %q", e.Peer, saysToBe(e.Name), e.Text)
	if e.Rings {
		s = "ring, ring: " + s
	}
	if e.Callable {
		s += "; call or msg that ID to answer"
	}
	return s
}
