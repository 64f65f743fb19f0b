// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

const (
	// lookEvery is how often the routing table is read: a new network is
	// noticed within it even if nobody calls Refresh.
	lookEvery = 10 * time.Second
	// maxMisses is how many looks in a row may find no router before its
	// mapping is given up: an interface that flaps comes back.
	maxMisses = 2
	// maxLeaving bounds the sessions of earlier networks that still withdraw;
	// an older one is cut off.
	maxLeaving = 2
	// slept is how far the wall clock may run ahead of the monotonic one
	// before we take it that the machine was asleep, its timers with it.
	slept = 30 * time.Second
)

// loop is the one goroutine that owns the races. Errands run on goroutines of
// their own, at most one for each method of a session, and report to it.
type loop struct {
	client *Client
	rng    *rand.Rand
	lanes  []*lane

	results chan result // unbuffered: the loop receives until none is out
	heard   chan heard  // capacity 8, dropped when full: each is only a hint
	found   chan []sight
	looking bool
	out     int // errands
	workers sync.WaitGroup

	closing bool
	drops   context.Context // of withdrawals after Close
	events  []Event
	looked  time.Time
}

// lane is one address family.
type lane struct {
	v6      bool
	now     *session
	leaving []*session
	misses  int
	told    bool // that there is no router
}

type result struct {
	s   *session
	t   task
	g   grant
	err error
}

// sight is what a look at the routing table found for one family.
type sight struct {
	net network
	err error
}

func newLoop(c *Client) *loop {
	l := &loop{
		client:  c,
		rng:     rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		results: make(chan result),
		heard:   make(chan heard, 8),
		found:   make(chan []sight, 1),
		drops:   context.Background(),
	}
	v4, v6 := c.config.families()
	if v4 {
		l.lanes = append(l.lanes, &lane{})
	}
	if v6 {
		l.lanes = append(l.lanes, &lane{v6: true})
	}
	return l
}

func (l *loop) run() {
	c := l.client
	defer close(c.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	quit := c.quit
	now := time.Now()
	l.looked = now
	l.look()
	for !l.closing || l.out > 0 || l.looking {
		select {
		case r := <-l.results:
			now = time.Now()
			l.out--
			r.s.race.Done(now, r.t, r.g, r.err)
		case h := <-l.heard:
			now = time.Now()
			h.s.race.Announce(now, h.announcement)
			l.each(func(s *session) { // most often the same box, whose word got lost
				if s != h.s {
					s.race.Announce(now, announcement{})
				}
			})
		case f := <-l.found:
			now = time.Now()
			l.looking = false
			l.see(now, f)
		case <-c.refresh:
			now = time.Now()
			l.look()
			l.each(func(s *session) { s.race.Refresh(now) })
		case <-timer.C:
			now = time.Now()
			if asleep := now.Round(0).Sub(l.looked.Round(0)) - now.Sub(l.looked); asleep > slept {
				l.each(func(s *session) { s.race.Refresh(now) })
			}
			if now.Sub(l.looked) >= lookEvery {
				l.looked = now
				l.look()
			}
		case <-quit:
			now, quit = time.Now(), nil
			var cancel context.CancelFunc
			l.drops, cancel = context.WithTimeout(context.Background(), closeLimit)
			defer cancel()
			l.close(now)
		}
		l.drain(now)
		l.rearm(timer, now)
	}
	for _, a := range l.lanes {
		for _, s := range append(a.leaving, a.now) {
			if s != nil {
				s.cancel()
			}
		}
	}
	l.workers.Wait()
	c.mu.Lock()
	c.mappings, c.closed = nil, true
	c.mu.Unlock()
}

// each calls f for the sessions of the networks we are in.
func (l *loop) each(f func(*session)) {
	for _, a := range l.lanes {
		if a.now != nil {
			f(a.now)
		}
	}
}

// look reads the routing table on a goroutine of its own.
func (l *loop) look() {
	if l.looking || l.closing {
		return
	}
	l.looking = true
	l.workers.Go(func() {
		var list []sight
		for _, a := range l.lanes {
			n, err := l.client.config.network(a.v6)
			list = append(list, sight{n, err})
		}
		l.found <- list
	})
}

// see takes what a look found, one sight for each lane.
func (l *loop) see(now time.Time, list []sight) {
	for i, a := range l.lanes {
		found := list[i]
		switch {
		case l.closing:
		case found.err != nil:
			a.misses++
			if a.now != nil && a.misses > maxMisses {
				l.leave(now, a)
			}
			if a.now == nil && !a.told {
				a.told = true
				l.events = append(l.events, Failed{V6: a.v6, Err: found.err})
			}
		default:
			a.misses, a.told = 0, false
			if a.now != nil && a.now.net == found.net {
				continue
			}
			if a.now != nil {
				l.leave(now, a)
			}
			l.enter(now, a, found.net)
		}
	}
}

func (l *loop) enter(now time.Time, a *lane, n network) {
	c := l.client.config
	s := newSession(n, c.Secret, &l.client.count)
	s.race = newRace(now, n, c.methods(a.v6), c.asked(), l.rng)
	a.now = s
	l.workers.Go(func() { s.listen(l.heard) })
}

// leave withdraws a lane's mappings, if their router can still be reached.
func (l *loop) leave(now time.Time, a *lane) {
	a.now.race.Close(now)
	a.now.cancel()
	a.leaving = append(a.leaving, a.now)
	a.now = nil
	if len(a.leaving) > maxLeaving {
		a.leaving = a.leaving[1:]
	}
}

func (l *loop) close(now time.Time) {
	l.closing = true
	for _, a := range l.lanes {
		if a.now != nil {
			l.leave(now, a)
		}
	}
}

// drain carries out what the races ask for and publishes what they tell.
func (l *loop) drain(now time.Time) {
	var mappings []Mapping
	for _, a := range l.lanes {
		for _, s := range append(append([]*session(nil), a.leaving...), a.now) {
			if s == nil {
				continue
			}
			s.race.Advance(now)
			for t, ok := s.race.Poll(); ok; t, ok = s.race.Poll() {
				l.start(s, t)
			}
			for e, ok := s.race.NextEvent(); ok; e, ok = s.race.NextEvent() {
				l.events = append(l.events, e)
			}
			if m, ok := s.race.Mapping(); ok {
				mappings = append(mappings, m)
			}
		}
		kept := a.leaving[:0]
		for _, s := range a.leaving {
			if !s.race.Idle() {
				kept = append(kept, s)
			}
		}
		clear(a.leaving[len(kept):])
		a.leaving = kept
	}
	l.client.publish(l.events, mappings)
	l.events = l.events[:0]
}

// start runs an errand.
func (l *loop) start(s *session, t task) {
	l.out++
	parent := s.ctx
	if t.verb == verbDrop {
		parent = l.drops
	}
	l.workers.Go(func() {
		ctx, cancel := parent, context.CancelFunc(func() {})
		if t.verb == verbDrop {
			ctx, cancel = context.WithTimeout(parent, dropLimit)
		}
		defer cancel()
		g, err := s.do(ctx, t)
		if err != nil && !errors.Is(err, context.Canceled) {
			l.client.log.Debug("port mapping errand failed", "method", t.method, "err", err)
		}
		l.results <- result{s, t, g, err}
	})
}

// rearm sets the timer to what is due first.
func (l *loop) rearm(timer *time.Timer, now time.Time) {
	due := l.looked.Add(lookEvery)
	for _, a := range l.lanes {
		for _, s := range append(append([]*session(nil), a.leaving...), a.now) {
			if s == nil {
				continue
			}
			if d := s.race.Deadline(); !d.IsZero() && d.Before(due) {
				due = d
			}
		}
	}
	timer.Reset(max(due.Sub(now), time.Millisecond))
}

// network finds the router of one family and our address towards it.
func (c Config) network(v6 bool) (network, error) {
	ask := c.Gateway
	if v6 {
		ask = c.Gateway6
	}
	if ask == nil {
		ask = func() (netip.Addr, error) { return systemGateway(v6) }
	}
	gateway, err := ask()
	if err != nil {
		return network{}, err
	}
	gateway = gateway.Unmap()
	if !gateway.IsValid() || gateway.Is6() != v6 || gateway.IsUnspecified() || gateway.IsMulticast() {
		return network{}, ErrNoGateway
	}
	inside := c.Internal.Addr().Unmap()
	if !inside.IsValid() || inside.IsUnspecified() || inside.Is6() != v6 {
		if inside, err = localAddr(gateway); err != nil {
			return network{}, err
		}
	}
	return network{gateway: gateway, internal: netip.AddrPortFrom(inside, c.Internal.Port())}, nil
}
