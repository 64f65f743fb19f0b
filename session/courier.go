// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/drive"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session/chat"
	"github.com/p2pos/p2pos/session/ratchet"
)

// courier runs the machine of text (package chat), on a loop of its own: each of
// its inputs may wait for the disk, and calls must not.
type courier struct {
	h    *Hub
	log  *slog.Logger
	loop *drive.Loop
	bad  atomic.Uint64 // frames and envelopes that were dropped
	puts chan struct{} // a token for each blob on its way; capacity maxPuts
	hunt chan struct{} // a token for each search; capacity maxHunts
	wg   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	inbox []func(now time.Time)
	heard map[identity.NodeID]int // frames of a node in the inbox

	// Owned by the loop.
	m      *chat.Machine // nil = the store can't be read
	cfg    chat.Config
	rng    *mrand.Rand
	failed error
	again  time.Time
	joined bool
	links  map[identity.NodeID]post
	queues map[[16]byte]overlay.Queue // where blobs are that may have to be dropped
	idle   []chan struct{}            // closed when nothing is left to do
}

// post is a linked node.
type post struct {
	ov    *overlay.Peer
	party ratchet.Party // zero = it has not proved whose device it is
	link  *overlay.Link // on which a letter's parts come
	parts *assembly
}

const (
	// maxInbox frames of one node wait for the disk; what is dropped is sent
	// again.
	maxInbox = 64
	// maxPuts blobs are on their way to mailboxes at a time, and maxHunts people
	// are looked for.
	maxPuts, maxHunts = 8, 8
	// putTime and mailTime bound one try with a mailbox, keysTime one with prekeys.
	putTime, mailTime, keysTime = 30 * time.Second, 20 * time.Second, 12 * time.Second
	// loadAgain is the wait after the store could not be read.
	loadAgain = 5 * time.Second
	// maxQueues blobs that were read are remembered with their queues.
	maxQueues = 4096
)

func newCourier(h *Hub) *courier {
	c := &courier{
		h: h, log: h.log,
		cfg: chat.Config{
			Self: h.cfg.Self, Node: h.ov.Node(), Name: h.cfg.Name, Store: h.cfg.Chat,
			Blocked: h.cfg.Blocked, MayWrite: h.cfg.MayWrite, Near: h.cfg.Near,
		},
		rng:  mrand.New(mrand.NewPCG(h.rng.Uint64(), h.rng.Uint64())),
		puts: make(chan struct{}, maxPuts), hunt: make(chan struct{}, maxHunts),
		heard:  make(map[identity.NodeID]int),
		links:  make(map[identity.NodeID]post),
		queues: make(map[[16]byte]overlay.Queue),
	}
	started := make(chan struct{})
	c.loop = drive.New(c, func(now time.Time) {
		<-started
		c.drain(now)
	})
	close(started)
	return c
}

// Advance and Deadline make the courier the machine of its loop: the one of
// package chat may not be there.
func (c *courier) Advance(now time.Time) {
	if c.open(now) {
		c.m.Advance(now)
	}
}

// Deadline implements drive.Machine.
func (c *courier) Deadline() time.Time {
	if c.m == nil {
		return c.again
	}
	return c.m.Deadline()
}

// open loads the machine if it is not there. Nothing is read before it is
// needed.
func (c *courier) open(now time.Time) bool {
	if c.m != nil {
		return true
	}
	if now.Before(c.again) {
		return false
	}
	m, err := chat.Load(now, c.cfg, c.rng)
	if err != nil {
		if c.failed == nil {
			c.log.Warn("chat is not available", "err", err) // once: it is tried again
		}
		c.failed, c.again = err, now.Add(loadAgain)
		return false
	}
	c.m, c.failed, c.again = m, nil, time.Time{}
	for node, l := range c.links {
		if l.party != (ratchet.Party{}) {
			m.LinkUp(now, node, l.party, false)
		}
	}
	if c.joined {
		m.Joined(now)
	}
	return true
}

// post hands the loop something to do. It never waits.
func (c *courier) post(f func(now time.Time)) {
	c.mu.Lock()
	c.inbox = append(c.inbox, f)
	c.mu.Unlock()
	c.loop.Post(func(time.Time) {}) // draining looks into the inbox, this one or a later one
}

// do runs f on the loop with the machine and returns its error, or why there is
// no machine.
func (c *courier) do(ctx context.Context, f func(now time.Time, m *chat.Machine) error) (err error) {
	e := c.loop.Do(ctx, func(now time.Time) {
		if c.open(now) {
			err = f(now, c.m)
		} else {
			err = c.failed
		}
	})
	if e != nil {
		return c.h.closedOr(e)
	}
	return err
}

// drain takes what others have left, and carries out what the machine wants.
func (c *courier) drain(now time.Time) {
	for {
		c.carry(now)
		c.mu.Lock()
		if len(c.inbox) == 0 {
			c.mu.Unlock()
			break
		}
		f := c.inbox[0]
		c.inbox = c.inbox[1:]
		c.mu.Unlock()
		f(now)
	}
	if len(c.idle) > 0 && (c.m == nil || c.m.Idle(now)) {
		for _, w := range c.idle {
			close(w)
		}
		c.idle = nil
	}
}

// carry does what the machine wants done.
func (c *courier) carry(now time.Time) {
	if c.m == nil {
		return
	}
	for e, ok := c.m.NextEvent(); ok; e, ok = c.m.NextEvent() {
		c.h.emit(ChatNews{e})
	}
	for o, ok := c.m.Poll(); ok; o, ok = c.m.Poll() {
		switch o := o.(type) {
		case chat.Transmit:
			c.transmit(o)
		case chat.Put:
			c.wg.Go(func() { c.putMail(now, o) })
		case chat.Collect:
			c.wg.Go(func() { c.collectMail(now, o) })
		case chat.Drop:
			c.dropMail(o)
		case chat.Fetch:
			c.wg.Go(func() { c.fetchKeys(o) })
		case chat.Publish:
			c.wg.Go(func() {
				if err := c.h.ov.PublishPrekeys(c.h.ctx, o.Bundle); err != nil {
					c.log.Debug("prekeys not published", "err", err)
				}
			})
		case chat.Seek:
			c.wg.Go(func() { c.search(o) })
		}
	}
}

// up says that a node runs a device, on a link.
func (c *courier) up(p *overlay.Peer, cert identity.Certificate) {
	party := ratchet.PartyOf(cert)
	c.post(func(now time.Time) {
		l := c.links[p.Node()]
		l.ov, l.party = p, party
		c.links[p.Node()] = l
		if c.m != nil || c.open(now) {
			c.m.LinkUp(now, p.Node(), party, false)
		}
	})
}

// down says that a node is gone.
func (c *courier) down(node identity.NodeID) {
	c.post(func(now time.Time) {
		if _, ok := c.links[node]; !ok {
			return
		}
		delete(c.links, node)
		if c.m != nil {
			c.m.LinkDown(now, node)
		}
	})
}

// reachable says whether there is a network.
func (c *courier) reachable(yes bool) {
	c.post(func(now time.Time) {
		c.joined = yes
		switch {
		case c.m == nil && !c.open(now):
		case yes:
			c.m.Joined(now)
		default:
			c.m.Alone(now)
		}
	})
}

// frame takes a CHAT frame from a link; the hub's loop calls it.
func (c *courier) frame(p *overlay.Peer, link *overlay.Link, b []byte) {
	node := p.Node()
	c.mu.Lock()
	full := c.heard[node] >= maxInbox
	if !full {
		c.heard[node]++
	}
	c.mu.Unlock()
	if full {
		c.bad.Add(1)
		return
	}
	c.post(func(now time.Time) {
		c.mu.Lock()
		if c.heard[node]--; c.heard[node] == 0 {
			delete(c.heard, node)
		}
		c.mu.Unlock()
		l, ok := c.links[node]
		if !ok {
			return // it has not proved whose device it is, or is gone
		}
		if l.link != link || l.parts == nil {
			l.link, l.parts = link, new(assembly)
			c.links[node] = l
		}
		envelope, err := l.parts.take(b)
		if err == nil && envelope != nil && c.open(now) {
			err = c.m.Receive(now, node, envelope)
		}
		if err != nil {
			c.bad.Add(1)
			c.log.Debug("letter dropped", "node", node, "err", err)
		}
	})
}

// transmit sends an envelope over the link that is in use now.
func (c *courier) transmit(o chat.Transmit) {
	p := c.links[o.To]
	if p.ov == nil {
		return
	}
	l := p.ov.Link()
	if l == nil {
		return // it is sent again on the next one
	}
	for _, part := range letterParts(o.Body) {
		if err := l.Send(part); err != nil {
			c.log.Debug("letter not sent", "node", o.To, "err", err)
			return
		}
	}
}

// search looks for a person's devices.
func (c *courier) search(o chat.Seek) {
	select {
	case c.hunt <- struct{}{}:
		defer func() { <-c.hunt }()
	case <-c.h.ctx.Done():
		return
	}
	t := overlay.Target{ID: o.Peer, Secret: o.Secret}
	if o.Peer == c.h.cfg.Self.ID() {
		t.Secret = c.h.cfg.Self.Reach()
	}
	if c.h.cfg.Target != nil {
		if k, ok := c.h.cfg.Target(o.Peer); ok {
			if t.Secret == (identity.Secret{}) || t.Secret == k.Secret {
				t = k
			}
		}
	}
	c.h.sessions(c.h.ctx, t, 1, make(chan Peer, 2*maxDevices+1)) // the hub tells of the links
}

// close ends the loop and waits for every goroutine.
func (c *courier) close() {
	c.loop.Close()
	c.wg.Wait()
}

// errNoChat reports a hub without a store for it.
var errNoChat = errors.New("session: no store for chat")

// command runs f with the machine of text.
func (h *Hub) command(ctx context.Context, f func(now time.Time, m *chat.Machine) error) error {
	if h.courier == nil {
		return errNoChat
	}
	return h.courier.do(ctx, f)
}

// SendText says text to a person. When it returns nil the text is stored, and
// will be delivered now or later; ChatNews tells. Errors: those of
// chat.Machine.Send, ctx's, net.ErrClosed.
func (h *Hub) SendText(ctx context.Context, t overlay.Target, text string) (id chat.ID, at time.Time, err error) {
	err = h.command(ctx, func(now time.Time, m *chat.Machine) (err error) {
		if err = m.Know(now, t.ID, t.Secret); err != nil {
			return err
		}
		at = now
		id, err = m.Send(now, t.ID, text)
		return err
	})
	return id, at, err
}

// Called has a person told that a call has reached nobody. Errors: those of
// chat.Machine.Called, ctx's, net.ErrClosed.
func (h *Hub) Called(ctx context.Context, t overlay.Target) error {
	return h.command(ctx, func(now time.Time, m *chat.Machine) error {
		if err := m.Know(now, t.ID, t.Secret); err != nil {
			return err
		}
		return m.Called(now, t.ID)
	})
}

// MarkRead says that a text was read, and all before it. Errors:
// chat.ErrNoMessage, chat.ErrStore, ctx's, net.ErrClosed.
func (h *Hub) MarkRead(ctx context.Context, id chat.ID) error {
	return h.command(ctx, func(now time.Time, m *chat.Machine) error { return m.MarkRead(now, id) })
}

// MarkAllRead says that all texts of a person were read. Errors: as MarkRead.
func (h *Hub) MarkAllRead(ctx context.Context, peer identity.ID) error {
	return h.command(ctx, func(now time.Time, m *chat.Machine) error { return m.MarkAllRead(now, peer) })
}

// Flush puts all texts that wait into mailboxes, and returns when that is done
// or ctx ends.
func (h *Hub) Flush(ctx context.Context) error {
	idle := make(chan struct{})
	err := h.command(ctx, func(now time.Time, m *chat.Machine) error {
		h.courier.idle = append(h.courier.idle, idle)
		return m.Flush(now)
	})
	if errors.Is(err, errNoChat) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("session: texts not put into mailboxes: %w", err)
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.ctx.Done():
		return nil
	}
}

// ChatNews is something that happened to texts.
type ChatNews struct{ Event chat.Event }

func (ChatNews) hubEvent() {}
