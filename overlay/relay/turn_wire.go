// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turnQueue bounds the messages that wait for a TCP connection to a TURN
	// server: 100 ms at 10 Mbit/s. The oldest goes.
	turnQueue = 128

	// turnWriteTime is how long such a server may accept nothing.
	turnWriteTime = 20 * time.Second

	// maxTURNErrors is how many read errors in a row end the connection. An
	// unreachable server gives one for each datagram sent.
	maxTURNErrors = 64
)

// turnWire is the connection to the server as the TURN library sees it, a
// net.PacketConn. What comes in passes the filter and goes to the library by
// serve; ReadFrom is never used. A write never waits, and never fails before
// Close: the library forgets to clean up after that.
type turnWire struct {
	conn   net.Conn // connected UDP, TCP or TLS
	stream bool
	server *net.UDPAddr // as the library knows it

	out    chan []byte   // of streams; capacity turnQueue, drops the oldest
	done   chan struct{} // closed by Close
	closed atomic.Bool
	once   sync.Once

	heard    atomic.Int64 // messages of the server
	filtered atomic.Uint64
	dropped  atomic.Uint64 // from out
}

func dialTURNWire(ctx context.Context, u turnURL, cfg *tls.Config) (*turnWire, error) {
	network := "udp"
	if u.tcp {
		network = "tcp"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, u.String())
	if err != nil {
		return nil, fmt.Errorf("relay: dialling TURN server %s: %w", u, err)
	}
	w := &turnWire{conn: c, stream: u.tcp, done: make(chan struct{})}
	var at netip.AddrPort
	switch a := c.RemoteAddr().(type) {
	case *net.UDPAddr:
		at = a.AddrPort()
	case *net.TCPAddr:
		at = a.AddrPort()
	}
	w.server = net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
	if u.tls {
		if cfg == nil {
			cfg = new(tls.Config)
		}
		cfg = cfg.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName = u.host
		}
		t := tls.Client(c, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("relay: TLS with TURN server %s: %w", u, err)
		}
		w.conn = t
	}
	if w.stream {
		w.out = make(chan []byte, turnQueue)
	}
	return w, nil
}

// serve gives each valid message to handle until the connection ends, and
// returns why it did.
func (w *turnWire) serve(handle func(b []byte)) error {
	take := func(b []byte) {
		if !validTURN(b) {
			w.filtered.Add(1)
			return
		}
		w.heard.Add(1)
		handle(b)
	}
	if w.stream {
		return w.serveStream(take)
	}
	buf := make([]byte, maxTURNMessage+1)
	for failures := 0; ; {
		n, err := w.conn.Read(buf)
		if err == nil {
			failures = 0
			take(buf[:n])
			continue
		}
		// A datagram that an unreachable server refused says nothing about the
		// next one.
		if failures++; errors.Is(err, net.ErrClosed) || failures == maxTURNErrors {
			return fmt.Errorf("relay: reading from the TURN server: %w", err)
		}
	}
}

func (w *turnWire) serveStream(take func(b []byte)) error {
	s := new(turnStream)
	for {
		b, whole, err := s.next()
		switch {
		case err != nil:
			return err
		case whole:
			take(b)
			continue
		}
		n, err := w.conn.Read(s.room())
		s.filled(n)
		if err != nil && n == 0 {
			return fmt.Errorf("relay: reading from the TURN server: %w", err)
		}
	}
}

// write is the writer of a stream; it ends with the connection.
func (w *turnWire) write() {
	for {
		select {
		case b := <-w.out:
			_ = w.conn.SetWriteDeadline(time.Now().Add(turnWriteTime))
			if _, err := w.conn.Write(b); err != nil {
				_ = w.conn.Close() // serve notices
				return
			}
		case <-w.done:
			return
		}
	}
}

// WriteTo sends a message to the server, whatever the address.
func (w *turnWire) WriteTo(b []byte, _ net.Addr) (int, error) {
	if w.closed.Load() {
		return 0, net.ErrClosed
	}
	if !w.stream {
		_, _ = w.conn.Write(b) // as good as lost
		return len(b), nil
	}
	c := append([]byte(nil), b...)
	for {
		select {
		case w.out <- c:
			return len(b), nil
		default:
		}
		select {
		case <-w.out:
			w.dropped.Add(1)
		default:
		}
	}
}

// Close ends the connection; safe to call twice.
func (w *turnWire) Close() error {
	w.once.Do(func() {
		w.closed.Store(true)
		close(w.done)
		_ = w.conn.Close()
	})
	return nil
}

// ReadFrom is not used: serve hands over what comes in.
func (w *turnWire) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, io.ErrClosedPipe }

func (w *turnWire) LocalAddr() net.Addr              { return w.conn.LocalAddr() }
func (w *turnWire) SetDeadline(time.Time) error      { return nil }
func (w *turnWire) SetReadDeadline(time.Time) error  { return nil }
func (w *turnWire) SetWriteDeadline(time.Time) error { return nil }
