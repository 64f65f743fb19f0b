// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/carrier"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// Where no UDP passes, datagrams go over TLS on TCP (package carrier). Each
// connection is one more local connection of the socket with one remote
// address, so that links and media over it are what they are elsewhere.

const (
	// tcpAfter is how long UDP may take before TCP is tried as well: most
	// links stand by then.
	tcpAfter = 1500 * time.Millisecond
	// tcpPort is open where little else is.
	tcpPort = 443
	// maxTCP connections of a node: each costs 30 KiB and three goroutines.
	maxTCP = 256
	// tcpAgain is how long a peer's TCP address is left alone after an attempt.
	tcpAgain = 5 * time.Second
)

// listenTCP accepts connections until the listener is closed.
func (o *Overlay) listenTCP() {
	for {
		conn, err := o.tcp.Accept(o.ctx)
		if err != nil {
			return
		}
		if _, err := o.addTCP(conn); err != nil {
			o.log.Debug("tcp connection refused", "remote", conn.Remote(), "err", err)
		}
	}
}

// addTCP gives a connection to the socket.
func (o *Overlay) addTCP(conn *carrier.Conn) (path sock.Path, err error) {
	full := false
	if err := o.loop.Do(o.ctx, func(time.Time) { full = len(o.core.tcp) >= maxTCP }); err != nil || full {
		conn.Close()
		return path, cmpErr(err, ErrCongested)
	}
	path.Remote = conn.Remote()
	// Reading begins with Add: until the loop knows the number, a handshake
	// that came already finds a path of no special kind.
	if path.Local, err = o.sock.Add(conn); err != nil {
		return path, err
	}
	err = o.loop.Do(o.ctx, func(time.Time) { o.core.tcp[path.Local] = path.Remote })
	return path, err
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// dialTCP opens a link to whatever node answers on TCP at one of the
// addresses.
func (o *Overlay) dialTCP(ctx context.Context, addrs ...netip.AddrPort) (*Link, error) {
	var all []error
	for _, a := range addrs {
		conn, err := carrier.Dial(ctx, o.cfg.TCP, a.String())
		if err != nil {
			all = append(all, err)
			continue
		}
		path, err := o.addTCP(conn)
		if err != nil {
			return nil, err
		}
		sp := o.sock.NewPeer()
		if sp == nil {
			o.sock.Remove(path.Local)
			return nil, ErrCongested
		}
		sp.Bind(path)
		sp.Use(path)
		l, err := o.dial(ctx, sp, path, nil)
		if err == nil {
			return l, nil
		}
		sp.Close()
		o.dropTCP(path.Local)
		all = append(all, err)
	}
	return nil, fmt.Errorf("%w over TCP: %w", ErrUnreachable, errors.Join(all...))
}

func (o *Overlay) dropTCP(local int) {
	o.sock.Remove(local)
	o.loop.Do(o.ctx, func(now time.Time) { o.core.tcpDown(now, local) })
}

// tcpDown forgets a connection that has ended.
func (c *core) tcpDown(now time.Time, local int) {
	if _, ok := c.tcp[local]; !ok {
		return
	}
	delete(c.tcp, local)
	for _, p := range c.order {
		if p.state.paths != nil {
			p.state.paths.SocketDown(now, local)
		}
	}
	c.o.tasks.run(func() { c.o.sock.Remove(local) }) // not from its own reader
}

// tcpFor returns where a UDP address might take TCP.
func tcpFor(a netip.AddrPort) (list []netip.AddrPort) {
	list = append(list, a)
	if a.Port() != tcpPort {
		list = append(list, netip.AddrPortFrom(a.Addr(), tcpPort))
	}
	return list
}

// blocked reports that this node can't use UDP, as far as it knows.
func (c *core) blocked() bool { return c.obs.class.Behaviour().Mapping == nat.UDPBlocked }

// onlyTCP reports that nothing but TCP leads to anybody: before a verdict there is,
// that is reason enough to try it at once. Who waits for the verdict misses the
// introductions by which it gets its place.
func (c *core) onlyTCP() bool {
	tcp := false
	for _, p := range c.order {
		if !p.state.linked {
			continue
		}
		switch c.kindOf(p, p.state.active) {
		case nat.TCP:
			tcp = true
		case nat.Relay:
		default:
			return false
		}
	}
	return tcp
}

// tcpAddrs are where this node takes TCP.
func (c *core) tcpAddrs() (list []netip.AddrPort) {
	if c.o.tcp == nil {
		return nil
	}
	port := c.o.tcp.Addr().Port()
	for _, a := range c.addresses() {
		b := netip.AddrPortFrom(a.Addr(), port)
		if (!inside(a.Addr()) || c.local()) && !slices.Contains(list, b) && len(list) < maxTCPAddrs {
			list = append(list, b)
		}
	}
	return list
}

// maxTCPAddrs are named in records and parcels: one for each address family,
// and a spare.
const maxTCPAddrs = 3

// overTCP adds a way over TCP to a peer that is known to take it, when this
// node has no other.
func (c *core) overTCP(now time.Time, p *Peer, addrs []netip.AddrPort) {
	s := &p.state
	if len(addrs) > 0 {
		s.tcp = addrs
	}
	if !c.o.cfg.UseTCP || len(s.tcp) == 0 || !c.blocked() && !c.onlyTCP() || c.direct(p) || now.Before(s.tcpAt) || s.paths == nil {
		return
	}
	s.tcpAt = now.Add(tcpAgain)
	list := slices.Clone(s.tcp)
	c.o.tasks.run(func() {
		ctx, cancel := context.WithTimeout(c.o.ctx, dialTime)
		defer cancel()
		for _, a := range list {
			conn, err := carrier.Dial(ctx, c.o.cfg.TCP, a.String())
			if err != nil {
				c.o.log.Debug("no tcp", "peer", p.node, "addr", a, "err", err)
				continue
			}
			path, err := c.o.addTCP(conn)
			if err != nil {
				return
			}
			c.o.loop.Do(c.o.ctx, func(now time.Time) {
				if c.peers[p.node] != p || s.paths == nil {
					c.tcpDown(now, path.Local)
					return
				}
				p.sock.Bind(path)
				s.wanted = true
				if o := s.offer.Outside; !s.udp.IsValid() && slices.Contains(s.offer.Candidates, o) {
					s.udp = o // it was tried all the time
				}
				s.paths.AddAttested(now, path)
			})
			return
		}
	})
}
