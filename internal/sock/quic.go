// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"net"
	"os"
	"sync"
	"time"
)

// QueueLen bounds the packets that wait for QUIC: 100 ms at 100 Mbit/s, at
// most 1.5 MiB. When it is full the oldest goes, as it is the one QUIC will
// soonest have sent again.
const QueueLen = 1024

// pathConn is the path socket. It has neither SyscallConn nor the methods for
// control messages: with the first quic-go would search for a larger path MTU,
// which a hidden switch to another path turns into a black hole.
type pathConn struct {
	s    *Socket
	addr *net.UDPAddr
	read deadline
	more chan struct{} // capacity 1, never blocks: there are packets
	done chan struct{} // closed by Close

	mu          sync.Mutex
	closed      bool
	queue       [QueueLen]arrival
	head, count int
}

// arrival is one packet for QUIC and the virtual address it shows.
type arrival struct {
	from *net.UDPAddr
	buf  *buffer
}

func newPathConn(s *Socket, addr *net.UDPAddr) *pathConn {
	return &pathConn{
		s:    s,
		addr: addr,
		read: deadline{passed: make(chan struct{})},
		more: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
}

// push queues a packet and takes over its buffer.
func (c *pathConn) push(from *net.UDPAddr, buf *buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.s.pool.put(buf)
		return
	}
	if c.count == QueueLen {
		c.s.pool.put(c.pop().buf)
		c.s.drops.add(queueFull)
	}
	c.queue[(c.head+c.count)%QueueLen] = arrival{from, buf}
	c.count++
	c.signal()
}

// pop takes the oldest packet; c.mu is held and there is one.
func (c *pathConn) pop() arrival {
	a := c.queue[c.head]
	c.queue[c.head] = arrival{}
	c.head = (c.head + 1) % QueueLen
	c.count--
	return a
}

func (c *pathConn) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// ReadFrom returns the next packet and the virtual address of its peer, a
// *net.UDPAddr nobody may change. Its only errors are net.ErrClosed and
// os.ErrDeadlineExceeded: quic-go closes every link when it sees another one.
func (c *pathConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		passed := c.read.wait()
		select {
		case <-c.done:
			return 0, nil, net.ErrClosed
		case <-passed:
			return 0, nil, os.ErrDeadlineExceeded
		default:
		}
		if a, ok := c.take(); ok {
			n := copy(b, a.buf.data())
			c.s.pool.put(a.buf)
			return n, a.from, nil
		}
		select {
		case <-c.more:
		case <-c.done:
		case <-passed:
		}
	}
}

// take returns the oldest packet, if there is one, and wakes the next reader
// if there are more.
func (c *pathConn) take() (arrival, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == 0 {
		return arrival{}, false
	}
	a := c.pop()
	if c.count > 0 {
		c.signal()
	}
	return a, true
}

// WriteTo sends b on the paths of the peer with this virtual address. Whatever
// becomes of it, b counts as written; the only error is net.ErrClosed.
func (c *pathConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	p := c.s.peerAt(addrPort(to))
	if p == nil || p.state.Load() == provisional && p.expired(c.s.now()) {
		c.s.drops.add(unknownVirtual)
	} else {
		p.sendQUIC(b)
	}
	return len(b), nil
}

// Close ends the path socket; the Socket goes on. It is safe to call twice.
func (c *pathConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	close(c.done)
	for c.count > 0 {
		c.s.pool.put(c.pop().buf)
	}
	c.read.set(time.Time{}) // leaves no timer behind
	return nil
}

// LocalAddr returns a virtual address that is this node's own.
func (c *pathConn) LocalAddr() net.Addr { return c.addr }

// SetDeadline sets the deadline of reads; writes never wait.
func (c *pathConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads that wait, and later ones, fail from t on; zero
// means never. quic.Transport.Close wakes its reader this way.
func (c *pathConn) SetReadDeadline(t time.Time) error {
	select {
	case <-c.done:
		return net.ErrClosed
	default:
		c.read.set(t)
		return nil
	}
}

// SetWriteDeadline does nothing: writes never wait.
func (c *pathConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer does nothing; Open has set the kernel's. Without it quic-go
// logs a warning.
func (c *pathConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing; Open has set the kernel's.
func (c *pathConn) SetWriteBuffer(int) error { return nil }
