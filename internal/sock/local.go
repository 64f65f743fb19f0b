// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
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
	// kernelBuffer is asked for in both directions: 300 ms at 100 Mbit/s. The
	// system grants what its administrator allows.
	kernelBuffer = 4 << 20

	// maxDestinations bounds the cached addresses of connections that want a
	// *net.UDPAddr: more than a port search writes to in ten minutes.
	maxDestinations = 4096

	// quickErrors is how many read errors in a row cost no pause. Each
	// datagram a peer's host refuses may give one.
	quickErrors = 16

	// maxStrange is how many errors of unknown meaning in a row end a
	// connection, after half a second of pauses.
	maxStrange = quickErrors + 16

	// firstPause and maxPause bound the pause after one more error: short
	// enough that no call notices when the next read succeeds.
	firstPause = time.Millisecond
	maxPause   = 50 * time.Millisecond
)

// local is one local connection.
type local struct {
	index int
	conn  net.PacketConn
	udp   *net.UDPConn // conn, when it is one
	mark  *mark        // of media; nil = none
	addr  netip.AddrPort

	received, sent atomic.Uint64 // bytes of payload
	removed        atomic.Bool   // by Remove: nobody wants to hear of its end

	mu           sync.Mutex
	destinations map[netip.AddrPort]*net.UDPAddr // for conns other than *net.UDPConn
}

func newLocal(index int, c net.PacketConn, m *mark) *local {
	l := &local{index: index, conn: c, addr: addrPort(c.LocalAddr())}
	if u, ok := c.(*net.UDPConn); ok {
		l.udp = u
		l.mark = m
		// A system that grants less works as well, with fewer spare moments.
		_ = u.SetReadBuffer(kernelBuffer)
		_ = u.SetWriteBuffer(kernelBuffer)
	} else {
		l.destinations = make(map[netip.AddrPort]*net.UDPAddr)
	}
	return l
}

func (l *local) write(to netip.AddrPort, b []byte) error {
	if l.mark != nil && isMedia(b) {
		return l.writeMarked(to, b)
	}
	var err error
	if l.udp != nil {
		_, err = l.udp.WriteToUDPAddrPort(b, to)
	} else {
		_, err = l.conn.WriteTo(b, l.destination(to))
	}
	if err != nil {
		return fmt.Errorf("sock: write to %v: %w", to, err)
	}
	l.sent.Add(uint64(len(b)))
	return nil
}

// destination returns to as a *net.UDPAddr that nobody changes.
func (l *local) destination(to netip.AddrPort) *net.UDPAddr {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.destinations[to]
	if a == nil {
		if len(l.destinations) >= maxDestinations {
			clear(l.destinations)
		}
		a = net.UDPAddrFromAddrPort(to)
		l.destinations[to] = a
	}
	return a
}

func (l *local) readInto(b *buffer) (netip.AddrPort, error) {
	var from netip.AddrPort
	var err error
	if l.udp != nil {
		b.n, from, err = l.udp.ReadFromUDPAddrPort(b.b[:])
		return unmap(from), err
	}
	var a net.Addr
	b.n, a, err = l.conn.ReadFrom(b.b[:])
	return addrPort(a), err
}

// read runs until the connection or the socket has ended.
func (s *Socket) read(l *local) {
	buf := s.pool.get()
	defer func() { s.pool.put(buf) }()
	failures := 0
	for {
		from, err := l.readInto(buf)
		if err == nil {
			failures = 0
			l.received.Add(uint64(buf.n))
			if s.receive(Path{l.index, from}, buf) {
				buf = s.pool.get()
			}
			continue
		}
		failures++
		if ended(err) || failures >= maxStrange && !passing(err) {
			s.giveUp(l, err)
			return
		}
		if !s.pause(failures) {
			return
		}
	}
}

// pause waits a little after errors that follow each other, and reports
// whether to go on.
func (s *Socket) pause(failures int) bool {
	if failures <= quickErrors {
		return true
	}
	d := min(firstPause<<min(failures-quickErrors-1, 10), maxPause)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.done:
		return false
	}
}

// giveUp takes a connection that has died out of use and says so.
func (s *Socket) giveUp(l *local, err error) {
	select {
	case <-s.done: // Close did this
		return
	default:
	}
	if l.removed.Load() {
		return
	}
	_ = l.conn.Close() // writes fail from now on; it may be closed already
	if s.cfg.Down != nil {
		s.cfg.Down(l.index, err)
	}
}

// ended reports whether a read error says that the connection was closed; some
// kinds of net.PacketConn have words of their own for it.
func ended(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

// passing reports whether a read error says something about one datagram, or
// one moment, and nothing about the connection.
func passing(err error) bool {
	for _, e := range passingErrors() {
		if errors.Is(err, e) {
			return true
		}
	}
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
