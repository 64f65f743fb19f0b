// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media/webrtc"
)

// phone is what the page talks to.
type phone struct {
	node *p2pos.Node

	mu     sync.Mutex // guards what follows
	calls  []*p2pos.Call
	since  map[*p2pos.Call]time.Time // when they were answered
	talk   *p2pos.Call               // the one that the page hears
	edge   *webrtc.Edge
	quiet  func()        // ends the bridge between the two
	change chan struct{} // closed and replaced when the page should look again
}

func newPhone(n *p2pos.Node) *phone {
	return &phone{node: n, since: make(map[*p2pos.Call]time.Time), quiet: func() {}, change: make(chan struct{})}
}

// follow keeps the list of calls.
func (p *phone) follow(ctx context.Context) {
	events := p.node.Events(ctx)
	go func() {
		for call := range p.node.Incoming(ctx) {
			p.update(func() { p.add(call) })
		}
	}()
	for e := range events {
		p.update(func() {
			switch e := e.(type) {
			case p2pos.CallAnswered:
				p.since[e.Call] = time.Now()
				p.hear(e.Call)
			case p2pos.CallEnded:
				p.calls = without(p.calls, e.Call)
				delete(p.since, e.Call)
				if p.talk == e.Call {
					p.hear(nil)
				}
			}
		})
	}
}

// add puts a call on the list. One that is over was taken off it already, or
// never will be. mu is held.
func (p *phone) add(c *p2pos.Call) {
	select {
	case <-c.Done():
	default:
		p.calls = append(without(p.calls, c), c)
	}
}

func without(list []*p2pos.Call, c *p2pos.Call) (rest []*p2pos.Call) {
	for _, o := range list {
		if o != c {
			rest = append(rest, o)
		}
	}
	return rest
}

// update changes the phone and has the page look.
func (p *phone) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.change)
	p.change = make(chan struct{})
}

// hear joins the page with a call, with nil for none. mu is held.
func (p *phone) hear(call *p2pos.Call) {
	p.quiet()
	p.quiet, p.talk = func() {}, call
	if call == nil || p.edge == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, edge := make(chan struct{}), p.edge
	p.quiet = func() { cancel(); <-done }
	go func() {
		defer close(done)
		in, out := call.Tracks()
		vin, vout := call.VideoTracks()
		edge.Bridge(ctx, webrtc.Tracks{In: in, Out: out, VideoIn: vin, VideoOut: vout})
	}()
}

func (p *phone) close() {
	p.update(func() {
		p.hear(nil)
		if p.edge != nil {
			p.edge.Close()
		}
	})
}

// request is what the page sends, as far as each command needs it.
type request struct {
	SDP, To, Name, Call, ID string
	On, Video               bool
}

// api is what the page can do.
func (p *phone) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/state", p.stream)
	do := func(name string, f func(ctx context.Context, r request) (any, error)) {
		mux.HandleFunc("POST /api/"+name, func(w http.ResponseWriter, r *http.Request) {
			var req request
			err := json.NewDecoder(r.Body).Decode(&req)
			var answer any
			if err == nil {
				answer, err = f(r.Context(), req)
			}
			if err != nil {
				http.Error(w, plain(err), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(answer)
		})
	}
	// on is a command about one call.
	on := func(name string, f func(c *p2pos.Call, r request) error) {
		do(name, func(_ context.Context, r request) (any, error) {
			c := p.find(r.Call)
			if c == nil {
				return nil, errors.New("that call is over")
			}
			err := f(c, r)
			p.update(func() {})
			return nil, err
		})
	}
	// person is a command about somebody in the address book.
	person := func(name string, f func(b *p2pos.Contacts, id identity.ID, r request) error) {
		do(name, func(_ context.Context, r request) (any, error) {
			id, err := identity.ParseID(r.ID)
			if err != nil {
				return nil, err
			}
			err = f(p.node.Contacts(), id, r)
			p.update(func() {})
			return nil, err
		})
	}
	do("edge", p.open)
	do("call", p.place)
	do("add", func(_ context.Context, r request) (any, error) {
		c, err := p.node.Contacts().Add(r.To, r.Name)
		p.update(func() {})
		return c.ID.String(), err
	})
	on("answer", func(c *p2pos.Call, _ request) error { return c.AnswerVideo() })
	on("reject", func(c *p2pos.Call, _ request) error { return c.Reject() })
	on("hangup", func(c *p2pos.Call, _ request) error { return c.HangUp() })
	on("mute", func(c *p2pos.Call, r request) error { c.Mute(r.On); return nil })
	on("hold", func(c *p2pos.Call, r request) error {
		if r.On {
			return c.Hold()
		}
		p.update(func() { p.hear(c) })
		return c.ResumeAnd(p2pos.HoldOthers)
	})
	person("verify", func(b *p2pos.Contacts, id identity.ID, r request) error { return b.Verify(id, r.On) })
	person("block", func(b *p2pos.Contacts, id identity.ID, r request) error {
		if r.On {
			return b.Block(id)
		}
		return b.Unblock(id)
	})
	person("rename", func(b *p2pos.Contacts, id identity.ID, r request) error { return b.Rename(id, r.Name) })
	person("remove", func(b *p2pos.Contacts, id identity.ID, _ request) error { return b.Remove(id) })
	return mux
}

func (p *phone) find(id string) *p2pos.Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if c.ID() == id {
			return c
		}
	}
	return nil
}

// open takes the page's offer; of two pages the later one has the sound.
func (p *phone) open(_ context.Context, r request) (any, error) {
	edge, answer, err := webrtc.Open(webrtc.Config{}, r.SDP)
	if err != nil {
		return nil, err
	}
	p.update(func() {
		old, call := p.edge, p.talk
		p.quiet()
		p.edge = edge
		p.hear(call)
		if old != nil {
			old.Close()
		}
	})
	return map[string]string{"sdp": answer}, nil
}

// place calls somebody. It returns while it rings.
func (p *phone) place(ctx context.Context, r request) (any, error) {
	c, err := p.node.Call(ctx, r.To, &p2pos.CallOptions{Video: r.Video})
	if err != nil {
		return nil, err
	}
	p.update(func() { p.add(c) })
	return c.ID(), nil
}

// stream sends the state of the phone, a JSON object a line, at each change and
// each second of a call.
func (p *phone) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last []byte
	for {
		s, change := p.state()
		line, err := json.Marshal(s)
		if err != nil {
			return
		}
		if !bytes.Equal(line, last) {
			if _, err := w.Write(append(line, '\n')); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
			last = line
		}
		select {
		case <-change:
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
