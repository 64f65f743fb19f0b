// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// backlog bounds connections that wait for Accept: one from each prefix
	// that dials while the node is busy for a moment.
	backlog = 16

	// firstPause and maxPause bound the pause after Accept failed, for want of
	// file descriptors mostly.
	firstPause = 5 * time.Millisecond
	maxPause   = time.Second

	// lingerTime and lingerBytes bound what is read from somebody who got an
	// answer in HTTP: without that the system throws the answer away.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 16 << 10
)

// Listener takes connections from Dial.
type Listener struct {
	tcp   net.Listener
	tls   *tls.Config
	ready chan *Conn    // capacity backlog; whoever finds it full waits a handshakeTime
	done  chan struct{} // closed by Close
	work  sync.WaitGroup
	once  sync.Once

	mu         sync.Mutex // guards what follows
	conns      *quota
	handshakes *quota
	pending    map[net.Conn]bool // in their handshake
	stats      ListenerStats
}

// ListenerStats counts what came.
type ListenerStats struct {
	Accepted uint64 // became a Conn
	Refused  uint64 // over a limit: closed at once
	HTTP     uint64 // spoke HTTP, and got an answer
	Failed   uint64 // everything else: garbage, silence, gone in the handshake
	Open     int    // connections now, those in their handshake included
}

// Listen listens on a TCP address, "host:port". Ports below 1024, 443 among
// them, may need a privilege.
func Listen(cfg Config, addr string) (*Listener, error) {
	// No deadline: the address is local, and nothing is looked up but a name.
	lc := net.ListenConfig{KeepAliveConfig: tcpKeepalive()}
	tcp, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("carrier: listen: %w", err)
	}
	l, err := serve(cfg, tcp)
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return l, nil
}

func serve(cfg Config, tcp net.Listener) (*Listener, error) {
	t, err := serverTLS(time.Now())
	if err != nil {
		return nil, err
	}
	l := &Listener{
		tcp: tcp, tls: t,
		ready: make(chan *Conn, backlog), done: make(chan struct{}),
		conns: cfg.conns(), handshakes: cfg.handshakes(), pending: make(map[net.Conn]bool),
	}
	l.work.Go(l.accept)
	return l, nil
}

// Addr returns the address it listens on.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.tcp.Addr()) }

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Open = l.conns.n
	return s
}

// Accept waits for the next connection whose other end has greeted. The error
// is the context's, or wraps net.ErrClosed.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case <-l.done: // Close may have left some
		return nil, fmt.Errorf("carrier: accept: %w", net.ErrClosed)
	default:
	}
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, fmt.Errorf("carrier: accept: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close stops listening and closes what nobody has accepted; connections that
// somebody has live on. It is safe to call twice.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		l.mu.Lock()
		close(l.done)
		for c := range l.pending {
			_ = c.Close()
		}
		l.mu.Unlock()
		err = l.tcp.Close()
		l.work.Wait()
		for {
			select {
			case c := <-l.ready:
				_ = c.Close()
				continue
			default:
			}
			break
		}
	})
	if err != nil {
		return fmt.Errorf("carrier: closing the listener: %w", err)
	}
	return nil
}

func (l *Listener) accept() {
	pause := firstPause
	for {
		c, err := l.tcp.Accept()
		switch {
		case err == nil:
			pause = firstPause
			l.admit(c)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.done:
			timer.Stop()
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// admit starts the handshake, if the limits allow it.
func (l *Listener) admit(c net.Conn) {
	from := addrPort(c.RemoteAddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		_ = c.Close()
		return
	default:
	}
	allowed := l.conns.take(from.Addr())
	if allowed && !l.handshakes.take(from.Addr()) {
		l.conns.give(from.Addr())
		allowed = false
	}
	if !allowed {
		l.stats.Refused++
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing of it stays with our kernel
		}
		_ = c.Close()
		return
	}
	l.pending[c] = true
	l.work.Go(func() { l.receive(c, from) })
}

// receive takes a connection from its first byte to Accept, or to its end.
func (l *Listener) receive(raw net.Conn, from netip.AddrPort) {
	prepare(raw)
	timer := time.AfterFunc(handshakeTime, func() { _ = raw.Close() })
	conn, http := l.greet(raw, from)
	timer.Stop()
	l.mu.Lock()
	delete(l.pending, raw)
	l.handshakes.give(from.Addr())
	switch {
	case conn != nil:
		l.stats.Accepted++
	case http:
		l.stats.HTTP++
	default:
		l.stats.Failed++
	}
	l.mu.Unlock()
	if conn == nil {
		_ = raw.Close()
		l.leave(from)
		return
	}
	timer = time.NewTimer(handshakeTime)
	defer timer.Stop()
	select {
	case l.ready <- conn:
	case <-l.done:
		_ = conn.Close()
	case <-timer.C: // nobody accepts
		_ = conn.Close()
	}
}

func (l *Listener) leave(from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns.give(from.Addr())
}

// greet returns a connection whose other end has done the handshake and sent
// the beginning of a frame, or nil, and then whether it spoke HTTP.
func (l *Listener) greet(raw net.Conn, from netip.AddrPort) (conn *Conn, http bool) {
	t := tls.Server(raw, l.tls)
	// Not HandshakeContext: closing raw ends it, by the timer or by Close.
	if err := t.Handshake(); err != nil {
		var record tls.RecordHeaderError
		if !errors.As(err, &record) || !isHTTP(record.RecordHeader[:]) {
			return nil, false
		}
		answer(raw, raw, plainAnswer)
		return nil, true
	}
	conn = newConn(raw, t, addrPort(raw.LocalAddr()), from)
	err := conn.hello()
	var frame *FrameError
	switch {
	case err == nil:
		conn.release = func() { l.leave(from) }
		return conn.run(), false
	case errors.As(err, &frame) && frame.http():
		answer(raw, t, emptyAnswer(time.Now()))
		return nil, true
	}
	return nil, false
}

// hello waits for the header of the first frame. The connection isn't running.
func (c *Conn) hello() error {
	for c.in.w < frameHeader {
		n, err := c.tls.Read(c.in.room())
		if n == 0 && err != nil {
			return fmt.Errorf("carrier: waiting for the first frame: %w", err)
		}
		c.in.filled(n)
	}
	peek := c.in // next would take a whole one
	_, _, err := peek.next()
	return err
}

// answer sends HTTP, and reads a little so that it gets there.
func answer(raw, to net.Conn, text string) {
	_ = raw.SetDeadline(time.Now().Add(lingerTime))
	if _, err := io.WriteString(to, text); err != nil {
		return
	}
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, to, lingerBytes)
}
