// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"iter"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxBacklog is how many events may wait for a reader; a network that
	// changes every minute causes as many in half an hour.
	maxBacklog = 64
	// closeLimit bounds Close, so that hanging up a program isn't felt.
	closeLimit = 1300 * time.Millisecond
)

// Client keeps mappings for one socket. Its methods may be called from
// anywhere.
type Client struct {
	config Config
	log    *slog.Logger
	count  counters

	quit    chan struct{} // closed by Close
	stopped chan struct{} // closed by the loop as its last act
	once    sync.Once
	refresh chan struct{} // capacity 1: one is as good as many

	mu       sync.Mutex
	mappings []Mapping
	backlog  []Event       // the oldest is dropped when full
	wake     chan struct{} // capacity 1: something changed for a reader
	closed   bool
}

// Open starts a client. It never blocks and never fails: what can't be done
// is told by events.
func Open(c Config) *Client {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Client{
		config: c, log: c.Logger,
		quit: make(chan struct{}), stopped: make(chan struct{}),
		refresh: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	go newLoop(p).run()
	return p
}

// Next waits for the next event. It returns the context's error, or
// net.ErrClosed after Close once all events were read. One reader gets each
// event once.
func (c *Client) Next(ctx context.Context) (Event, error) {
	for {
		c.mu.Lock()
		if len(c.backlog) > 0 {
			e := c.backlog[0]
			c.backlog = c.backlog[1:]
			more := len(c.backlog) > 0
			c.mu.Unlock()
			if more {
				c.rouse() // another reader may have missed the first call
			}
			return e, nil
		}
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return nil, net.ErrClosed
		}
		select {
		case <-c.wake:
		case <-c.stopped:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Changes yields events until the context ends or the client is closed.
func (c *Client) Changes(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			e, err := c.Next(ctx)
			if err != nil || !yield(e) {
				return
			}
		}
	}
}

// Mappings returns what stands now: at most one for each family, IPv4 first.
func (c *Client) Mappings() []Mapping {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Mapping(nil), c.mappings...)
}

// Stats returns the counters of bad input.
func (c *Client) Stats() Stats { return c.count.stats() }

// Refresh looks at the network and at the mappings at once, for when the
// application knows that something changed. It returns immediately; mappings
// are renewed at most every ten seconds for it.
func (c *Client) Refresh() {
	select {
	case c.refresh <- struct{}{}:
	default:
	}
}

// Close withdraws the mappings, waits until nothing of the client runs any
// more, at most about 1.3 s if the router is silent, and returns nil. It is
// safe to call twice.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.quit) })
	<-c.stopped
	return nil
}

func (c *Client) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// publish makes events and mappings visible together.
func (c *Client) publish(events []Event, mappings []Mapping) {
	c.mu.Lock()
	c.mappings = mappings
	for _, e := range events {
		if len(c.backlog) == maxBacklog {
			c.backlog = c.backlog[1:]
			c.count.events.Add(1)
		}
		c.backlog = append(c.backlog, e)
	}
	c.mu.Unlock()
	for _, e := range events {
		switch e := e.(type) {
		case Mapped:
			c.log.Info("port mapped", "method", e.Method)
			c.log.Debug("port mapped at", "external", e.Mapping.External, "internal", e.Internal, "gateway", e.Gateway)
		case Lost:
			c.log.Info("port mapping lost", "method", e.Method, "err", e.Err)
		case Failed:
			c.log.Info("no port mapping", "err", e.Err)
		}
	}
	if len(events) > 0 {
		c.rouse()
	}
}
