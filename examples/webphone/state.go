// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"time"

	"github.com/p2pos/p2pos"
)

// state is what the page shows.
type state struct {
	ID      string     `json:"id"`
	Ticket  string     `json:"ticket"`
	Links   int        `json:"links"`
	People  []person   `json:"people"`
	Calls   []callView `json:"calls"`
	Talk    string     `json:"talk"` // the call that is heard
	History []pastCall `json:"history"`
}

type person struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Verified bool   `json:"verified"`
	Blocked  bool   `json:"blocked"`
}

type callView struct {
	ID       string   `json:"id"`
	Peer     string   `json:"peer"`
	Name     string   `json:"name"`
	Known    bool     `json:"known"` // Name is ours, not the caller's own word
	Verified bool     `json:"verified"`
	Phase    string   `json:"phase"` // rings, incoming, talks
	Video    bool     `json:"video"`
	Held     bool     `json:"held"`
	HeldBy   bool     `json:"heldByPeer"`
	Recorded bool     `json:"recorded"`
	Words    []string `json:"words"`
	Path     string   `json:"path"`
	Reason   string   `json:"reason"`
	RTT      int      `json:"rtt"` // ms
	MOS      float64  `json:"mos"`
	Loss     float64  `json:"loss"`
	Sound    int      `json:"sound"`   // bits per second the microphone may use
	Picture  int      `json:"picture"` // and the camera
	Seconds  int      `json:"seconds"`
}

type pastCall struct {
	Peer     string    `json:"peer"`
	Name     string    `json:"name"`
	When     time.Time `json:"when"`
	Incoming bool      `json:"incoming"`
	Missed   bool      `json:"missed"`
	Seconds  float64   `json:"seconds"`
}

// recent is how many past calls the page shows.
const recent = 12

// state gathers everything, and returns what is closed when it is old.
func (p *phone) state() (s state, change <-chan struct{}) {
	s = state{ID: p.node.ID().String(), Links: p.node.Status().Links, People: []person{}, Calls: []callView{}, History: []pastCall{}}
	p.mu.Lock()
	change = p.change
	for _, c := range p.calls {
		s.Calls = append(s.Calls, p.view(c))
	}
	if p.talk != nil {
		s.Talk = p.talk.ID()
	}
	p.mu.Unlock() // the rest may wait for the disk
	s.Ticket, _ = p.node.Ticket(30 * 24 * time.Hour)
	for c := range p.node.Contacts().All() {
		s.People = append(s.People, person{c.ID.String(), c.Name, c.Verified, c.Blocked})
	}
	for r, err := range p.node.History(context.Background()) {
		if err != nil || len(s.History) == recent {
			break
		}
		if r.Call == nil {
			continue
		}
		name := r.Name
		if c, ok := p.node.Contacts().Get(r.Peer); ok && c.Name != "" {
			name = c.Name
		}
		s.History = append(s.History, pastCall{r.Peer.String(), name, r.When, r.Incoming, r.Call.Missed, r.Call.Seconds})
	}
	return s, change
}

// view is one call; mu is held.
func (p *phone) view(c *p2pos.Call) callView {
	v := callView{ID: c.ID(), Peer: c.Peer().String(), Name: c.Name(), Phase: "rings", Video: c.Video(), Recorded: c.Recorded()}
	if who, ok := p.node.Contacts().Get(c.Peer()); ok && who.Name != "" {
		v.Name, v.Known, v.Verified = who.Name, true, who.Verified
	}
	v.Held, v.HeldBy = c.Held()
	since, talks := p.since[c]
	if !talks {
		if c.Incoming() {
			v.Phase = "incoming"
		}
		return v
	}
	v.Phase, v.Seconds = "talks", int(time.Since(since).Seconds())
	path := c.Path()
	v.Words, v.Path, v.Reason, v.RTT = c.SafetyWords(), path.Kind, path.Reason, int(path.RTT.Milliseconds())
	if samples, _ := c.Quality(); len(samples) > 0 {
		last := samples[len(samples)-1]
		v.MOS, v.Loss = last.MOS, last.Loss
	}
	_, out := c.Tracks()
	_, video := c.VideoTracks()
	v.Sound, v.Picture = out.Advice().Bitrate, video.Bitrate()
	return v
}
