// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// Dial opens a link to whatever node answers at an address. It returns the
// peer that is there, also when a link to it stood already. Errors: ErrSelf,
// ErrNetwork, *VersionError, ErrUnreachable, net.ErrClosed, or ctx's.
func (o *Overlay) Dial(ctx context.Context, addr netip.AddrPort) (*Peer, error) {
	paths := o.pathsTo(addr)
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: no socket for %v", ErrUnreachable, addr)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var there *Peer
	if err := o.loop.Do(ctx, func(time.Time) { there = o.core.at(paths) }); err != nil || there != nil {
		return there, err
	}
	l, err := o.dialEither(ctx, paths[0])
	if err != nil {
		var idle *quic.IdleTimeoutError
		if errors.As(err, &idle) || (errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil) {
			return nil, fmt.Errorf("%w: no answer from %v", ErrUnreachable, addr)
		}
		return nil, err
	}
	return l.peer, nil
}

// dialEither dials over UDP, and over TCP when that takes too long.
func (o *Overlay) dialEither(ctx context.Context, path sock.Path) (*Link, error) {
	if !o.cfg.UseTCP {
		return o.dialUDP(ctx, path)
	}
	type result struct {
		l   *Link
		err error
	}
	udp, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, 2)
	if !o.tasks.run(func() { l, err := o.dialUDP(udp, path); results <- result{l, err} }) {
		return nil, net.ErrClosed
	}
	wait := tcpAfter
	if n := o.nat.Load(); n != nil && n.Behaviour.Mapping == nat.UDPBlocked {
		wait = 0
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var first error
	for open := 1; open > 0; {
		select {
		case r := <-results:
			open--
			if r.err == nil {
				return r.l, nil
			}
			if first == nil {
				first = r.err
			}
			if timer.Stop() && open == 0 && errors.Is(first, context.DeadlineExceeded) {
				timer.Reset(0)
			}
		case <-timer.C:
			if !o.tasks.run(func() {
				l, err := o.dialTCP(ctx, tcpFor(path.Remote)...)
				if err == nil {
					o.loop.Do(o.ctx, func(now time.Time) { o.core.afterTCP(now, l.peer, path.Remote) })
				}
				results <- result{l, err}
			}) {
				return nil, net.ErrClosed
			}
			open++
		}
	}
	return nil, first
}

// afterTCP tries UDP once more beside a link over TCP, and whether it is this
// node's network that blocks it.
func (c *core) afterTCP(now time.Time, p *Peer, udp netip.AddrPort) {
	if c.peers[p.node] != p || p.state.paths == nil {
		return
	}
	p.state.udp = udp
	c.addCandidates(now, p, []netip.AddrPort{udp})
	c.observe(now, p)
}

// dialUDP dials whoever answers on a path.
func (o *Overlay) dialUDP(ctx context.Context, path sock.Path) (*Link, error) {
	sp := o.sock.NewPeer()
	if sp == nil {
		return nil, ErrCongested
	}
	sp.Bind(path)
	sp.Use(path)
	l, err := o.dial(ctx, sp, path, nil)
	if err != nil {
		sp.Close()
	}
	return l, err
}

// dial opens a link over a socket peer. via is the path it uses, zero when the
// path machine knows already.
func (o *Overlay) dial(ctx context.Context, sp *sock.Peer, via sock.Path, want *identity.NodeID) (*Link, error) {
	conn, err := o.tr.Dial(ctx, sp.Addr(), tlsConfig(o.cert, o.self, want), quicConfig())
	if err != nil {
		return nil, o.closedOr(linkError(err))
	}
	l, err := o.shake(ctx, conn, via, sp, true)
	if err != nil {
		code, text := helloFailure(err)
		conn.CloseWithError(quic.ApplicationErrorCode(code), text)
		o.refusal(err)
		return nil, o.closedOr(linkError(err))
	}
	return l, o.start(l, via)
}

func (o *Overlay) closedOr(err error) error {
	if o.ctx.Err() != nil {
		return net.ErrClosed
	}
	return err
}

// start adopts a link and begins to read it.
func (o *Overlay) start(l *Link, via sock.Path) error {
	l.since = time.Now()
	err := o.loop.Do(o.ctx, func(now time.Time) { o.core.adopt(now, l, via) })
	o.release(l.peer)
	if err != nil || !o.tasks.run(func() { o.serve(l) }) {
		l.close(codeBye, "closing")
		return net.ErrClosed
	}
	return nil
}

// serve reads a link to its end.
func (o *Overlay) serve(l *Link) {
	err := l.read(o.ctx)
	var app *quic.ApplicationError
	var reset *quic.StatelessResetError
	bye := errors.As(err, &app) && app.Remote && app.ErrorCode == codeBye
	// Whoever has the node's secret now does not know the link: started anew,
	// most likely, unless it has just rung over the route.
	forgotten := errors.As(err, &reset)
	o.log.Debug("link ended", "peer", l.peer.node, "err", err)
	o.refusal(err)
	if errors.Is(err, errFrame) {
		o.badFrames.Add(1)
		l.close(codeProtocol, "malformed frame")
	} else {
		l.close(codeBye, "")
	}
	o.loop.Do(context.Background(), func(now time.Time) {
		o.core.lost(now, l, bye || forgotten && !now.Before(l.peer.state.bothUntil))
	})
}

// accept takes incoming connections until the listener closes.
func (o *Overlay) accept() {
	for {
		conn, err := o.ln.Accept(o.ctx)
		if err != nil {
			return
		}
		if !o.tasks.run(func() { o.welcome(conn) }) {
			conn.CloseWithError(codeBye, "closing")
		}
	}
}

// arrivalKey finds an arrival in a connection's context.
type arrivalKey struct{}

var errBusy = errors.New("overlay: too many handshakes")

// arrive is asked by quic-go before it keeps any state for a newcomer.
func (o *Overlay) arrive(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	sp := o.sock.PeerAt(info.RemoteAddr)
	if sp == nil {
		return ctx, errBusy
	}
	via, _, _ := sp.Route()
	place := o.arrivals.take(via.Remote.Addr())
	if place == nil {
		o.refused.Add(1)
		return ctx, errBusy
	}
	context.AfterFunc(ctx, place.done)
	return context.WithValue(ctx, arrivalKey{}, place), nil
}

// welcome runs the listener's side of a link handshake.
func (o *Overlay) welcome(conn *quic.Conn) {
	if place, ok := conn.Context().Value(arrivalKey{}).(*arrival); ok {
		defer place.done()
	}
	sp := o.sock.PeerAt(conn.RemoteAddr())
	if sp == nil { // expired while quic-go was shaking hands
		conn.CloseWithError(codeUnused, "too slow")
		return
	}
	via, _, _ := sp.Route()
	l, err := o.shake(o.ctx, conn, via, sp, false)
	if err != nil {
		o.refused.Add(1)
		o.log.Debug("link refused", "remote", via.Remote, "err", err)
		code, text := helloFailure(err)
		conn.CloseWithError(quic.ApplicationErrorCode(code), text)
		return
	}
	if err := o.start(l, via); err != nil {
		o.log.Debug("link not started", "err", err)
	}
}

func (c *core) drainLink(l *Link) {
	c.o.tasks.run(func() {
		select {
		case <-time.After(drainTime):
		case <-c.o.ctx.Done():
		}
		l.close(codeDouble, "another link stays")
	})
}

// redial opens a link to a peer whose paths are known.
func (c *core) redial(p *Peer) {
	s := &p.state
	if s.dialing {
		return
	}
	s.dialing = true
	c.hold(p)
	c.o.tasks.run(func() {
		want := p.node
		_, err := c.o.dial(c.o.ctx, p.sock, sock.Path{}, &want)
		if err != nil {
			c.o.log.Debug("dial failed", "peer", p.node, "err", err)
		}
		c.o.loop.Do(context.Background(), func(time.Time) {
			s.dialing = false
			c.release(p)
		})
	})
}
