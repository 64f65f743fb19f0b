// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Net drives a World by the clock of the process, or of the synctest bubble it
// was started in. All its methods are safe for concurrent use.
//
// One goroutine with one timer waits for the next event; whoever writes to a
// Conn also moves what is due. A Net keeps the world's clock at the real one,
// starting from what it showed at Start.
type Net struct {
	wake chan struct{} // capacity 1, dropped when full: the loop has to look only once
	quit chan struct{}
	wg   sync.WaitGroup // the loop and the timers of deadlines

	mu     sync.Mutex
	w      *World
	real   time.Time     // at Start
	origin time.Duration // of the world then
	armed  time.Duration // the event the loop waits for; −1 = none
	conns  []*Conn
	closed bool
}

// Start begins to drive w, which belongs to the Net until Close: see [Net.Do].
func Start(w *World) *Net {
	n := &Net{
		wake:   make(chan struct{}, 1),
		quit:   make(chan struct{}),
		w:      w,
		real:   time.Now(),
		origin: w.now,
		armed:  -1,
	}
	n.wg.Go(n.loop)
	return n
}

// Do runs f with the world, at the present time and alone. f must not call n
// nor its Conns, nor run the world.
func (n *Net) Do(f func(w *World)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sync()
	f(n.w)
	n.rearm()
}

// Listen opens a socket on all addresses of h, at port or at a free one when
// port is 0.
func (n *Net) Listen(h *Host, port uint16) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, fmt.Errorf("simnet: listen: %w", net.ErrClosed)
	}
	if h.realm.w != n.w {
		return nil, fmt.Errorf("simnet: listen: %s is in another world", h.name)
	}
	n.sync()
	c := &Conn{n: n, host: h}
	c.filled.L = &n.mu
	a, err := h.open(port, c)
	if err != nil {
		return nil, err
	}
	c.port = a.Port()
	c.addr = net.UDPAddrFromAddrPort(a)
	n.conns = append(n.conns, c)
	return c, nil
}

// Close closes all Conns, stops driving and waits until nothing of it runs.
// The world stands still then and is the caller's again. It is safe to call
// twice.
func (n *Net) Close() {
	n.mu.Lock()
	if !n.closed {
		n.closed = true
		n.sync()
		for _, c := range n.conns {
			c.shut()
		}
		n.conns = nil
		close(n.quit)
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// loop sleeps from event to event.
func (n *Net) loop() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		t.Stop() // one left running would move a bubble's time for nothing
		n.mu.Lock()
		if !n.closed {
			n.sync()
		}
		due, some := n.w.next()
		n.armed = -1
		if some {
			n.armed = due
			t.Reset(due - n.w.now)
		}
		n.mu.Unlock()
		var tick <-chan time.Time
		if some {
			tick = t.C
		}
		select {
		case <-tick:
		case <-n.wake:
		case <-n.quit:
			return
		}
	}
}

// sync lets happen what is due. n.mu is held, as in all below.
func (n *Net) sync() {
	now := n.origin + time.Since(n.real)
	n.w.Run(n.w.start.Add(now))
}

// rearm wakes the loop when an event has come in front of the one it waits for.
func (n *Net) rearm() {
	due, some := n.w.next()
	if !some || n.armed >= 0 && n.armed <= due {
		return
	}
	n.armed = due
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// send is a Conn's write. It returns false when the host has no address of the
// destination's family.
func (n *Net) send(c *Conn, to netip.AddrPort, b []byte) bool {
	n.sync()
	ok := c.host.write(c.port, to, b)
	n.rearm()
	return ok
}
