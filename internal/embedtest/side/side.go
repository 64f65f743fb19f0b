// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package side is a node as a program of one version of P2P OS runs it: it
// answers, reads, takes files and tells what came. The test of versions builds it
// twice into one program, against this version and an earlier one, so it names no
// type of P2P OS in what it exports.
package side

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
)

// speech is 20 ms of Opus that isn't silence.
var speech = []byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// Side is a node.
type Side struct {
	node   *p2pos.Node
	inbox  string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	got    chan string
}

// NewNetwork returns the text of a fresh network.
func NewNetwork(name string) (string, error) {
	n, err := identity.NewNetwork(name)
	return n.Text(), err
}

// Start opens a node in dir. The network is a text of NewNetwork's, join what
// the node starts from, if anything.
func Start(dir, name, network string, join ...string) (*Side, error) {
	cfg := p2pos.Config{Dir: dir, Name: name, Listen: "127.0.0.1:0", Join: join}
	var err error
	if cfg.Network, err = identity.ParseNetwork(network); err != nil {
		return nil, err
	}
	node, err := p2pos.New(cfg)
	if err != nil {
		return nil, err
	}
	s := &Side{node: node, inbox: filepath.Join(dir, "received"), got: make(chan string, 64)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	calls, events := node.Incoming(s.ctx), node.Events(s.ctx)
	s.wg.Go(func() {
		for c := range calls {
			if err := c.Answer(); err != nil {
				s.got <- fmt.Sprintf("not answered: %v", err)
				continue
			}
			s.talk(c)
			s.wg.Go(func() {
				if err := hear(s.ctx, c); err == nil {
					s.got <- "voice of " + c.Peer().String()
				}
			})
		}
	})
	s.wg.Go(func() {
		for e := range events {
			switch e := e.(type) {
			case p2pos.Message:
				s.got <- fmt.Sprintf("text of %s: %s", e.Peer, e.Text)
			case p2pos.FileEvent:
				if t := e.Transfer; t.Incoming() && e.State == p2pos.FileOffered {
					if err := t.Accept(s.inbox); err != nil {
						s.got <- fmt.Sprintf("not accepted: %v", err)
						continue
					}
					s.wg.Go(func() {
						select {
						case <-t.Done():
							s.got <- fmt.Sprintf("file of %s: %x", t.Peer(), t.SHA256())
						case <-s.ctx.Done():
						}
					})
				}
			}
		}
	})
	return s, nil
}

// ID returns the person's ID.
func (s *Side) ID() string { return s.node.ID().String() }

// At returns the node's address.
func (s *Side) At() string { return s.node.Status().Listen[0].String() }

// Join joins by what Start was given.
func (s *Side) Join(ctx context.Context) error { return s.node.Join(ctx) }

// Ticket returns a ticket for an hour.
func (s *Side) Ticket() (string, error) { return s.node.Ticket(time.Hour) }

// Got tells what came: "voice of ID", "text of ID: …", "file of ID: SHA-256".
func (s *Side) Got() <-chan string { return s.got }

// Links returns how many links stand.
func (s *Side) Links() int { return s.node.Status().Links }

// Send says text.
func (s *Side) Send(ctx context.Context, to, text string) error {
	_, err := s.node.Send(ctx, to, text)
	return err
}

// SendFile offers a file.
func (s *Side) SendFile(ctx context.Context, to, path string) error {
	_, err := s.node.SendFile(ctx, to, path)
	return err
}

// Call calls, talks, and returns once the other side was heard. The functions it
// returns hear it again and hang up.
func (s *Side) Call(ctx context.Context, to string) (again func(context.Context) error, hangUp func() error, err error) {
	c, err := s.node.Call(ctx, to, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := c.Answered(ctx); err != nil {
		return nil, nil, err
	}
	s.talk(c)
	again = func(ctx context.Context) error { return hear(ctx, c) }
	return again, c.HangUp, again(ctx)
}

// Close closes the node and waits for everything.
func (s *Side) Close() error {
	err := s.node.Close()
	s.cancel()
	s.wg.Wait()
	return err
}

// talk writes frames until the call ends.
func (s *Side) talk(c *p2pos.Call) {
	_, out := c.Tracks()
	s.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(&media.Frame{Payload: speech}) == nil {
			<-tick.C
		}
	})
}

// hear returns when five frames have come that somebody spoke.
func hear(ctx context.Context, c *p2pos.Call) error {
	in, _ := c.Tracks()
	for n := 0; n < 5; {
		var f media.Frame
		if err := in.ReadFrame(ctx, &f); err != nil {
			return err
		}
		if len(f.Payload) == len(speech) {
			n++
		}
	}
	return nil
}

// File writes a file of random-looking bytes to send.
func File(dir, name string, size int) (path string, err error) {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	path = filepath.Join(dir, name)
	return path, os.WriteFile(path, b, 0o600)
}
