// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
)

// errTURNLimit reports an allocation beyond a limit; guests are told 508.
var errTURNLimit = errors.New("relay: TURN server: no allocation left")

// turnListener is the server's socket as the library sees it: what comes in
// has passed the filter.
type turnListener struct {
	net.PacketConn
	s     *TURNServer
	ended chan struct{} // closed when the library's reader has seen the end
	once  sync.Once
}

// ReadFrom returns the next valid message. Errors that don't mean the end, as
// some systems report for datagrams that a guest refused, are passed over.
func (l *turnListener) ReadFrom(b []byte) (int, net.Addr, error) {
	for failures := 0; ; {
		n, from, err := l.PacketConn.ReadFrom(b)
		if err != nil {
			if failures++; !errors.Is(err, net.ErrClosed) && failures < maxTURNErrors {
				continue
			}
			l.once.Do(func() { close(l.ended) })
			return 0, nil, err
		}
		if validTURN(b[:n]) {
			return n, from, nil
		}
		failures = 0
		l.s.counted.filtered.Add(1)
	}
}

// WriteTo sends an answer, or what came for a guest. Refusals go out at a
// bounded rate, as anybody can provoke them in another one's name.
func (l *turnListener) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) >= 2 && binary.BigEndian.Uint16(b)&0xc110 == 0x0110 && !l.s.refuse.take(l.s.since(), 1) {
		l.s.counted.limited.Add(1)
		return len(b), nil
	}
	return l.PacketConn.WriteTo(b, to)
}

// turnSockets makes the sockets of allocations.
type turnSockets struct{ s *TURNServer }

func (turnSockets) Validate() error { return nil }

// AllocatePacketConn is called for whom authenticate has admitted last.
func (t turnSockets) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	who := s.asking
	if s.ending || !s.ledger.take(who.user, who.from) {
		s.counted.refused.Add(1)
		return nil, nil, errTURNLimit
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: s.cfg.Bind.AsSlice(), Port: port})
	if err != nil {
		s.ledger.give(who.user, who.from)
		return nil, nil, fmt.Errorf("relay: TURN server: %w", err)
	}
	c := &turnSocket{PacketConn: conn, s: s, who: who}
	c.rate.set(rate(s.cfg.Rate, 2_000_000), turnBurst)
	s.sockets[c] = true
	return c, &net.UDPAddr{IP: s.cfg.Relay.AsSlice(), Port: conn.LocalAddr().(*net.UDPAddr).Port}, nil
}

// AllocateConn is not offered: TCP to peers (RFC 6062).
func (turnSockets) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errTURNLimit
}

// turnSocket is where one allocation meets its peers.
type turnSocket struct {
	net.PacketConn
	s    *TURNServer
	who  turnAsking
	rate bucket
}

// ReadFrom returns what is within the rate. An error ends the allocation.
func (c *turnSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	if !c.begin() {
		return 0, nil, net.ErrClosed
	}
	defer c.end()
	for failures := 0; ; {
		n, from, err := c.PacketConn.ReadFrom(b)
		switch {
		case err == nil && c.s.pass(&c.rate, n):
			return n, from, nil
		case err == nil:
			failures = 0
			continue
		}
		if failures++; errors.Is(err, net.ErrClosed) || failures == maxTURNErrors {
			return 0, nil, err
		}
	}
}

// begin counts a reader, unless the socket is closed.
func (c *turnSocket) begin() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.ending || !c.s.sockets[c] {
		return false
	}
	c.s.reading++
	return true
}

func (c *turnSocket) end() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.reading--; c.s.reading == 0 {
		c.s.finished.Broadcast()
	}
}

// WriteTo sends what is within the rate; what isn't counts as sent.
func (c *turnSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.s.pass(&c.rate, len(b)) {
		_, _ = c.PacketConn.WriteTo(b, to) // as good as lost
	}
	return len(b), nil
}

// Close gives the place back; safe to call twice.
func (c *turnSocket) Close() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.sockets[c] {
		delete(c.s.sockets, c)
		c.s.ledger.give(c.who.user, c.who.from)
	}
	_ = c.PacketConn.Close()
	return nil
}
