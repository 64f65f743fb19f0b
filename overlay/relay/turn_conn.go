// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v2"
	"github.com/pion/turn/v2"
)

const (
	// maxTURNDatagram bounds a datagram, as internal/sock does.
	maxTURNDatagram = 1500

	// turnKeepalive keeps the NAT's mapping towards the server, as between
	// peers. The library refreshes only each few minutes.
	turnKeepalive = 15 * time.Second

	// maxTURNSilence is how many keepalives in a row may stay unanswered.
	maxTURNSilence = 4
)

// ErrTURNGone reports an allocation that the server doesn't have any more, or
// a server that is silent.
var ErrTURNGone = errors.New("relay: the TURN allocation is gone")

// TURNConn is an address at a TURN server: a net.PacketConn whose datagrams go
// out and come in there. It may be used from any goroutine. It renews itself
// until it is closed or lost.
type TURNConn struct {
	server  string
	wire    *turnWire
	client  *turn.Client
	relay   net.PacketConn
	relayed *net.UDPAddr
	peer    netip.AddrPort // relayed; these three are set once, before anybody else has c

	work    sync.WaitGroup
	done    chan struct{} // closed when it is down
	closing sync.Once

	mu       sync.Mutex // guards what follows
	cause    error      // why it is down
	asked    bool       // the server has asked for credentials
	refused  *TURNError // why it didn't allocate
	deadline time.Time  // of reads
	peers    map[netip.AddrPort]*turnPeer
	hosts    map[netip.Addr]int // peers there
	setups   int

	dropped atomic.Uint64
}

// DialTURN asks a TURN server for an address, over a socket of its own. It
// takes two round trips (four with TLS), and fails by itself after about 16 s.
// A *TURNError says that the server refused.
func DialTURN(ctx context.Context, cfg TURN) (*TURNConn, error) {
	u, err := parseTURNURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	wire, err := dialTURNWire(ctx, u, cfg.TLS)
	if err != nil {
		return nil, err
	}
	c := &TURNConn{
		server: u.String(), wire: wire, done: make(chan struct{}),
		peers: make(map[netip.AddrPort]*turnPeer), hosts: make(map[netip.Addr]int),
	}
	c.client, err = turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: c.server, Username: cfg.Username, Password: cfg.Password,
		Conn: wire, Net: turnNet{addr: wire.server}, LoggerFactory: silentTURN(),
	})
	if err != nil {
		_ = wire.Close()
		return nil, fmt.Errorf("relay: TURN client: %w", err)
	}
	c.work.Go(c.receive)
	if wire.stream {
		c.work.Go(wire.write)
	}
	stop := context.AfterFunc(ctx, func() { c.down(context.Cause(ctx)) })
	relay, err := c.client.Allocate()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if relay != nil {
		err = errors.Join(err, c.place(relay))
	}
	if err != nil {
		err = c.why(err)
		_ = c.Close()
		return nil, err
	}
	c.work.Go(c.keep)
	return c, nil
}

// place takes note of where the relay is. The error is why that is no use.
func (c *TURNConn) place(relay net.PacketConn) error {
	c.mu.Lock()
	c.relay = relay
	cause := c.cause
	c.mu.Unlock()
	if cause != nil { // down came too early to close it
		_ = relay.Close()
		return cause
	}
	a, ok := relay.LocalAddr().(*net.UDPAddr)
	if !ok || !a.AddrPort().IsValid() || a.Port == 0 {
		return fmt.Errorf("no usable address: %v", relay.LocalAddr())
	}
	c.peer = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	c.relayed = net.UDPAddrFromAddrPort(c.peer)
	return nil
}

// why says as exactly as possible what went wrong in Allocate.
func (c *TURNConn) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
		return fmt.Errorf("relay: allocating at TURN server %s: %w", c.server, c.cause)
	case c.refused != nil:
		return c.refused
	}
	return fmt.Errorf("relay: allocating at TURN server %s: %w", c.server, err)
}

// LocalAddr returns the address at the server, a *net.UDPAddr nobody may
// change. It is a candidate.
func (c *TURNConn) LocalAddr() net.Addr { return c.relayed }

// Relayed is LocalAddr in another form.
func (c *TURNConn) Relayed() netip.AddrPort { return c.peer }

// Done returns a channel that is closed when the address is lost.
func (c *TURNConn) Done() <-chan struct{} { return c.done }

// Err returns why, and nil before.
func (c *TURNConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// ReadFrom returns the next datagram and its sender, a *net.UDPAddr. What
// doesn't fit into b is lost. The errors are os.ErrDeadlineExceeded, and
// net.ErrClosed when it is down; Err says why.
func (c *TURNConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		over := !c.deadline.IsZero() && !time.Now().Before(c.deadline)
		down := c.cause != nil
		c.mu.Unlock()
		switch {
		case down:
			return 0, nil, net.ErrClosed
		case over:
			return 0, nil, os.ErrDeadlineExceeded
		}
		n, from, err := c.relay.ReadFrom(b)
		switch {
		case err == nil:
			return n, from, nil
		case errors.Is(err, io.ErrShortBuffer): // too long, and lost
			c.dropped.Add(1)
		}
		// Otherwise closed, or the deadline has passed or been moved.
	}
}

// WriteTo sends a datagram to any address. It never waits: until the server
// has let a new peer through, a few datagrams wait, the oldest of which may be
// lost. The error is ErrTURNFull when there are too many peers, or wraps
// net.ErrClosed.
func (c *TURNConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok || u == nil {
		return 0, fmt.Errorf("relay: TURN: write to %v, which is no UDP address", to)
	}
	at := netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
	if len(b) > maxTURNDatagram || at.Port() == 0 || at.Addr().Is4() != c.peer.Addr().Is4() {
		return 0, fmt.Errorf("relay: TURN: %d bytes from %v to %v can't be sent", len(b), c.peer, at)
	}
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	p, err := c.destination(at)
	if err != nil {
		c.mu.Unlock()
		return 0, err
	}
	if !p.ready {
		c.wait(p, b)
		c.mu.Unlock()
		return len(b), nil
	}
	c.mu.Unlock()
	if _, err := c.relay.WriteTo(b, p.addr); err != nil { // its permission is there: nothing waits
		c.dropped.Add(1)
	}
	return len(b), nil
}

// SetDeadline sets the deadline of reads; writes never wait.
func (c *TURNConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads that wait, and later ones, fail from t on; zero
// means never.
func (c *TURNConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return net.ErrClosed
	}
	c.deadline = t
	return c.relay.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: writes never wait.
func (c *TURNConn) SetWriteDeadline(time.Time) error { return nil }

// TURNStats counts what happened on a TURNConn.
type TURNStats struct {
	Filtered uint64 // malformed messages of the server, dropped
	Dropped  uint64 // datagrams lost here
}

// Stats returns the counters.
func (c *TURNConn) Stats() TURNStats {
	return TURNStats{c.wire.filtered.Load(), c.dropped.Load() + c.wire.dropped.Load()}
}

// Close gives the address back, if the server hears it, and waits until
// nothing runs any more but two timers of the library's, which end at once. It
// is safe to call twice.
func (c *TURNConn) Close() error {
	c.closing.Do(func() {
		c.down(net.ErrClosed)
		c.work.Wait()
	})
	return nil
}

// down ends it, for this reason if it is the first.
func (c *TURNConn) down(cause error) {
	c.mu.Lock()
	first := c.cause == nil
	if first {
		c.cause = cause
		close(c.done)
	}
	relay := c.relay
	c.mu.Unlock()
	if !first {
		return
	}
	if relay != nil {
		_ = relay.Close() // sends a refresh with lifetime 0, and doesn't wait
	}
	_ = c.wire.Close()
	c.client.Close() // who waits for the server now hears of it
}

// receive hands the server's messages to the library.
func (c *TURNConn) receive() {
	err := c.wire.serve(func(b []byte) {
		const allocate, refresh = 0x003, 0x004 // RFC 8656 §17
		if b[0] < 4 {
			switch method, code, reason := turnErrorCode(b); {
			case code == 0:
			case method == refresh && code != 438: // 438 only wants a newer nonce
				c.down(fmt.Errorf("%w: refresh is answered with %d %s", ErrTURNGone, code, reason))
				return
			case method == allocate:
				c.mu.Lock()
				if code == 401 && !c.asked {
					c.asked = true // the first answer always is that
				} else {
					c.refused = &TURNError{c.server, code, reason}
				}
				c.mu.Unlock()
			}
		}
		_, _ = c.client.HandleInbound(b, c.wire.server) // what it doesn't like, it drops
	})
	c.down(err)
}

// keep keeps the NAT's mapping, and finds out when it has changed, or the
// server is gone.
func (c *TURNConn) keep() {
	tick := time.NewTicker(turnKeepalive)
	defer tick.Stop()
	var mapped string
	silent, heard := 0, c.wire.heard.Load()
	for {
		if a, err := c.client.SendBindingRequestTo(c.wire.server); err == nil {
			switch {
			case mapped == "":
				mapped = a.String()
			case mapped != a.String():
				c.down(fmt.Errorf("%w: it belongs to %s, and this is %s now", ErrTURNGone, mapped, a))
				return
			}
		}
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if now := c.wire.heard.Load(); now != heard {
			silent, heard = 0, now
		} else if silent++; silent == maxTURNSilence {
			c.down(fmt.Errorf("%w: server %s is silent", ErrTURNGone, c.server))
			return
		}
	}
}

// turnNet tells the library the one address it asks for. It has no other
// business with the network.
type turnNet struct {
	transport.Net // nil
	addr          *net.UDPAddr
}

func (n turnNet) ResolveUDPAddr(string, string) (*net.UDPAddr, error) { return n.addr, nil }

// silentTURN keeps the library from writing a line for each bad packet.
func silentTURN() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}
