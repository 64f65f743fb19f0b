// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection: a net.PacketConn with one remote address.
type Conn struct {
	raw           net.Conn  // the TCP connection
	tls           *tls.Conn // on it
	local, remote *net.UDPAddr
	peer          netip.AddrPort // remote
	start         time.Time
	release       func() // called once it is down; may be nil

	reading sync.Mutex // held by ReadFrom; guards what follows
	in      deframer
	began   time.Time // when the frame that is incomplete began
	heard   time.Time // when the latest whole frame was here

	deadlines sync.Mutex // guards what follows
	user      time.Time  // set by SetReadDeadline
	inner     time.Time  // our own limit of the read under way

	writer  sync.WaitGroup
	more    chan struct{} // capacity 1, never blocks: the queue isn't empty
	done    chan struct{} // closed when it is down
	closing sync.Once

	mu    sync.Mutex // guards what follows
	out   queue
	cause error // why it is down

	received, sent atomic.Uint64 // datagrams
}

// newConn takes over both connections; the handshake is done. It starts
// nothing.
func newConn(raw net.Conn, t *tls.Conn, local, remote netip.AddrPort) *Conn {
	now := time.Now()
	return &Conn{
		raw: raw, tls: t,
		local: net.UDPAddrFromAddrPort(local), remote: net.UDPAddrFromAddrPort(remote), peer: remote,
		start: now, began: now, heard: now,
		more: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// run starts the writer, which greets the other side.
func (c *Conn) run() *Conn {
	c.writer.Go(c.write)
	return c
}

// LocalAddr returns the address of the TCP connection's own end, as a
// *net.UDPAddr nobody may change.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the one address ReadFrom returns and WriteTo takes, a
// *net.UDPAddr nobody may change: that of the TCP connection's other end, or,
// behind a proxy, the address dialled where it was one.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Remote is RemoteAddr in another form.
func (c *Conn) Remote() netip.AddrPort { return c.peer }

// Stats counts datagrams.
type Stats struct {
	Received, Sent uint64 // Sent have been handed to the kernel
	Late           uint64 // dropped after waiting for 100 ms
	Full           uint64 // dropped because too much waited
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{c.received.Load(), c.sent.Load(), c.out.late, c.out.full}
}

// ReadFrom returns the next datagram and RemoteAddr. What doesn't fit into b
// is lost, as with UDP. The errors are os.ErrDeadlineExceeded, after which it
// goes on, and such as wrap net.ErrClosed, after which it doesn't: Close was
// called, the other side closed or is silent, or it sent what is no frame (a
// *FrameError).
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for first := true; ; first = false {
		d, whole, err := c.in.next()
		switch {
		case err != nil:
			c.down(err)
			return 0, nil, c.err()
		case whole && len(d) > 0:
			c.received.Add(1)
			c.began, c.heard = time.Time{}, time.Time{}
			return copy(b, d), c.remote, nil
		case whole:
			c.began, c.heard = time.Time{}, time.Time{}
			continue
		}
		if err := c.fill(first); err != nil {
			return 0, nil, err
		}
	}
}

// fill reads once. What came while nobody read may all be in the kernel, so the
// first time it gets a moment whatever was before.
func (c *Conn) fill(first bool) error {
	now := time.Now()
	if c.heard.IsZero() {
		c.heard = now // as late as this at most; it saves a look at the clock for each frame
	}
	limit := c.heard.Add(maxSilence)
	if !c.in.begun() {
		c.began = time.Time{}
	} else {
		if c.began.IsZero() {
			c.began = now
		}
		limit = earlier(limit, c.began.Add(maxFrameTime))
	}
	if soon := now.Add(graceTime); first && limit.Before(soon) {
		limit = soon
	}
	c.limit(limit)
	n, err := c.tls.Read(c.in.room())
	c.in.filled(n)
	switch {
	case err == nil || n > 0:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		now := time.Now()
		if c.expired(now) {
			return os.ErrDeadlineExceeded
		}
		if now.Before(limit) {
			return nil // the deadline was moved meanwhile
		}
		err = fmt.Errorf("carrier: nothing heard for %v: %w", maxSilence, os.ErrDeadlineExceeded)
		if c.in.begun() {
			err = fmt.Errorf("carrier: peer stalls inside a frame: %w", os.ErrDeadlineExceeded)
		}
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		err = fmt.Errorf("carrier: closed by the peer: %w", io.EOF)
	default:
		err = fmt.Errorf("carrier: read: %w", err)
	}
	c.down(err)
	return c.err()
}

// earlier returns the earlier of two moments; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (c *Conn) limit(t time.Time) {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.inner = t
	_ = c.raw.SetReadDeadline(earlier(c.user, c.inner)) // when it is closed the read says so
}

func (c *Conn) expired(now time.Time) bool {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	return !c.user.IsZero() && !now.Before(c.user)
}

// WriteTo queues a datagram and never waits. It fails when to is not
// RemoteAddr, b is longer than MaxDatagram, or, wrapping net.ErrClosed, when
// the connection is down. Success doesn't mean that it arrives, or leaves. An
// empty datagram isn't sent.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > MaxDatagram {
		return 0, fmt.Errorf("carrier: datagram of %d bytes, at most %d go", len(b), MaxDatagram)
	}
	if u, ok := to.(*net.UDPAddr); !ok || u == nil || u != c.remote && unmap(u.AddrPort()) != c.peer {
		return 0, fmt.Errorf("carrier: write to %v on a connection to %v", to, c.peer)
	}
	if len(b) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	cause := c.cause
	if cause == nil {
		c.out.push(time.Since(c.start), b)
	}
	c.mu.Unlock()
	if cause != nil {
		return 0, closed(cause)
	}
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// SetDeadline sets the deadline of reads; writes never wait.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads that wait, and later ones, fail from t on; zero
// means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.user = t
	if err := c.raw.SetReadDeadline(earlier(c.user, c.inner)); err != nil {
		return fmt.Errorf("carrier: setting a deadline: %w", err)
	}
	return nil
}

// SetWriteDeadline does nothing: writes never wait.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Err returns why the connection is down, nil while it isn't. It is
// net.ErrClosed after Close, wraps io.EOF when the other side closed it.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Done returns a channel that is closed when the connection is down.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close sends what waits, for 50 ms at most, and closes the connection. It is
// safe to call twice.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.down(net.ErrClosed)
		timer := time.AfterFunc(flushTime, func() { _ = c.raw.Close() })
		c.writer.Wait()
		_ = c.tls.Close() // its goodbye may not go out any more
		timer.Stop()
		_ = c.raw.Close()
	})
	return nil
}

// down ends the connection, for this reason if it is the first.
func (c *Conn) down(cause error) {
	c.mu.Lock()
	first := c.cause == nil
	if first {
		c.cause = cause
		close(c.done)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	if cause != net.ErrClosed { // Close says goodbye first
		_ = c.raw.Close()
	}
	if c.release != nil {
		c.release()
	}
}

// err is what ReadFrom returns when the connection is down.
func (c *Conn) err() error { return closed(c.Err()) }

// closed makes sure that an error says that nothing more will come.
func closed(cause error) error {
	if errors.Is(cause, net.ErrClosed) {
		return cause
	}
	return &downError{cause}
}

// downError is the cause, and net.ErrClosed as well.
type downError struct{ cause error }

func (e *downError) Error() string   { return e.cause.Error() }
func (e *downError) Unwrap() []error { return []error{e.cause, net.ErrClosed} }

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// addrPort returns the address of a TCP connection's end, or the zero value
// where it has none, as in a pipe.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok || t == nil {
		return netip.AddrPort{}
	}
	return unmap(t.AddrPort())
}
