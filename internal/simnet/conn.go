// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxQueue bounds the datagrams that wait for a reader: 1.4 MB of full
	// ones, a fifth of what quic-go asks a kernel for, and 20 s of one voice
	// stream. When it is full the newest is dropped, as kernels do.
	maxQueue = 1024

	// maxPayload is the largest UDP payload over IPv4.
	maxPayload = 65535 - 20 - 8
)

// Conn is a UDP socket of a host: a net.PacketConn with *net.UDPAddr
// addresses, with the further methods of *net.UDPConn that spare allocations.
// Errors are *net.OpErrors around net.ErrClosed, os.ErrDeadlineExceeded or a
// syscall.Errno.
type Conn struct {
	n    *Net
	host *Host
	port uint16
	addr *net.UDPAddr

	// guarded by n.mu
	filled   sync.Cond
	queue    []*packet // queue[head:] waits
	head     int
	closed   bool
	read     deadline
	writeEnd time.Time
}

// deadline is a time after which reads fail until another one is set.
type deadline struct {
	timer  *time.Timer
	set    uint64 // counts settings, so that an old timer does nothing
	passed bool
}

var (
	_ net.PacketConn = (*Conn)(nil)
	_ listener       = (*Conn)(nil)
)

// deliver queues a datagram; the Net's lock is held.
func (c *Conn) deliver(w *World, p *packet) bool {
	if len(c.queue)-c.head >= maxQueue {
		w.drop(c.host.name, p, QueueFull)
		return true // drop has taken it
	}
	w.stats.Delivered++
	w.tracePacket(Delivered, c.host.name, p)
	if c.head > 0 && len(c.queue) == cap(c.queue) {
		rest := copy(c.queue, c.queue[c.head:])
		clear(c.queue[rest:])
		c.queue, c.head = c.queue[:rest], 0
	}
	c.queue = append(c.queue, p)
	c.filled.Signal()
	return true
}

// ReadFrom waits for a datagram. What does not fit into b is cut off.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is ReadFrom without allocations.
func (c *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.fail("read", net.ErrClosed)
		case c.read.passed:
			return 0, netip.AddrPort{}, c.fail("read", os.ErrDeadlineExceeded)
		case c.head < len(c.queue):
			p := c.queue[c.head]
			c.queue[c.head] = nil
			if c.head++; c.head == len(c.queue) {
				c.queue, c.head = c.queue[:0], 0
			}
			n, from := copy(b, p.b), p.from
			c.n.w.recycle(p)
			return n, from, nil
		}
		c.filled.Wait()
	}
}

// WriteTo sends b to addr, a *net.UDPAddr. It never blocks and does not keep b.
// What the network loses, or what is too big for it, is no error; an address
// of a family the host has none of is.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok || a == nil {
		return 0, c.fail("write", fmt.Errorf("address %v of type %T", addr, addr))
	}
	return c.WriteToUDPAddrPort(b, a.AddrPort())
}

// WriteToUDPAddrPort is WriteTo for another form of address.
func (c *Conn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	switch {
	case c.closed:
		return 0, c.fail("write", net.ErrClosed)
	case !c.writeEnd.IsZero() && !time.Now().Before(c.writeEnd):
		return 0, c.fail("write", os.ErrDeadlineExceeded)
	case len(b) > maxPayload:
		return 0, c.fail("write", syscall.EMSGSIZE)
	case !to.IsValid() || to.Port() == 0:
		return 0, c.fail("write", syscall.EINVAL)
	}
	if !c.n.send(c, to, b) {
		return 0, c.fail("write", syscall.ENETUNREACH)
	}
	return len(b), nil
}

// Close closes the socket. A second time it returns an error.
func (c *Conn) Close() error {
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.shut()
	for i, o := range n.conns {
		if o == c {
			last := len(n.conns) - 1
			n.conns[i], n.conns[last] = n.conns[last], nil
			n.conns = n.conns[:last]
			break
		}
	}
	return nil
}

// shut is Close without the list; the lock is held.
func (c *Conn) shut() {
	c.closed = true
	delete(c.host.ports, c.port)
	for _, p := range c.queue[c.head:] {
		c.n.w.recycle(p)
	}
	c.queue, c.head = nil, 0
	c.stopTimer()
	c.filled.Broadcast()
}

// LocalAddr returns the host's first address when the socket was opened, and
// the port.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// SetDeadline sets the deadlines of reading and writing.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, those that wait included; the
// zero time ends that. It may be set again at any time.
func (c *Conn) SetReadDeadline(t time.Time) error {
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	c.stopTimer()
	c.read.passed = false
	if t.IsZero() {
		return nil
	}
	d := time.Until(t)
	if d <= 0 {
		c.read.passed = true
		c.filled.Broadcast()
		return nil
	}
	set := c.read.set
	n.wg.Add(1)
	c.read.timer = time.AfterFunc(d, func() {
		defer n.wg.Done()
		n.mu.Lock()
		defer n.mu.Unlock()
		if c.read.set == set {
			c.read.passed = true
			c.filled.Broadcast()
		}
	})
	return nil
}

// stopTimer makes sure that the deadline's timer does nothing any more.
func (c *Conn) stopTimer() {
	c.read.set++
	if c.read.timer != nil && c.read.timer.Stop() {
		c.n.wg.Done() // it won't
	}
	c.read.timer = nil
}

// SetWriteDeadline makes writes fail from t on; the zero time ends that.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	c.writeEnd = t
	return nil
}

// SetReadBuffer does nothing: the queue is what it is.
func (c *Conn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing: writes go out at once.
func (c *Conn) SetWriteBuffer(int) error { return nil }

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.addr, Err: err}
}
