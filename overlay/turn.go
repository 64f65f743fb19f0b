// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/overlay/relay"
)

// A TURN server of Config is one more relay. An address there is held from the
// start on: a local connection of the socket like any other, whose paths are
// relayed ones. People that this node talks to are told the address, as one of
// that kind, so that their paths to it are relayed ones as well. Neighbours of
// the mesh are not: a company's server is for its calls.

const (
	// MaxTURN servers are used at a time: one for each of two sites.
	MaxTURN = 2
	// turnTime bounds one attempt; turnFirst is the pause after it, which doubles
	// up to turnMost.
	turnTime  = 20 * time.Second
	turnFirst = time.Second
	turnMost  = 5 * time.Minute
	// turnTries of a person's addresses are written to from the server: its
	// outside address and what its interfaces have.
	turnTries = 4
	// turnLasts is for how long an address served that was a good one: another is
	// asked for at once. A server that takes back what it has just given is left
	// alone for a while.
	turnLasts = time.Minute
	// turnFull addresses may be written to from an allocation, for good: package
	// relay has room for as many hosts. Above turnWorn, half of them, it is changed
	// for a new one in a quiet moment.
	turnFull = 64
	turnWorn = turnFull / 2
)

// turning is what the loop knows of TURN servers.
type turning struct {
	locals  map[int]turnLocal
	renewed []chan struct{} // for each server, capacity 1: get another address
}

// turnLocal is an address at a server, in use.
type turnLocal struct {
	server string // host:port
	addr   netip.AddrPort
	number int // of the server
	used   map[netip.AddrPort]bool
}

// holdTURN keeps an address at a server until the overlay is closed.
func (o *Overlay) holdTURN(number int, cfg relay.TURN, renew <-chan struct{}) {
	retryTURN(o.ctx, renew, func() error { return o.useTURN(number, cfg, renew) }, func(err error, wait time.Duration) {
		o.log.Warn("no TURN server", "url", cfg.URL, "err", err, "again", wait)
	})
}

// retryTURN calls use again and again, at once only when that ended without an
// error or after turnLasts. failed hears of the others.
func retryTURN(ctx context.Context, renew <-chan struct{}, use func() error, failed func(err error, wait time.Duration)) {
	wait := turnFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := use()
		if ctx.Err() != nil {
			return
		}
		if err == nil || time.Since(began) >= turnLasts {
			wait = turnFirst
			continue
		}
		failed(err, wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-renew: // another network: it may be there
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, turnMost)
	}
}

// useTURN gets an address and uses it for as long as it lasts. The error is why
// there was none, or none any more; nil = another one is wanted.
func (o *Overlay) useTURN(number int, cfg relay.TURN, renew <-chan struct{}) (err error) {
	ctx, cancel := context.WithTimeout(o.ctx, turnTime)
	conn, err := relay.DialTURN(ctx, cfg)
	cancel()
	if err != nil {
		return err
	}
	local, err := o.sock.Add(conn)
	if err != nil {
		conn.Close()
		return err
	}
	o.loop.Do(o.ctx, func(now time.Time) {
		o.core.turnUp(now, local, turnLocal{cfg.URL, conn.Relayed(), number, make(map[netip.AddrPort]bool)})
	})
	select {
	case <-conn.Done():
		err = fmt.Errorf("overlay: TURN address lost: %w", conn.Err())
		o.log.Info("TURN address lost", "url", cfg.URL, "err", conn.Err())
	case <-renew:
	case <-o.ctx.Done():
	}
	o.loop.Do(o.ctx, func(now time.Time) { o.core.turnDown(now, local) })
	o.sock.Remove(local)
	conn.Close()
	return err
}

func (c *core) turnUp(now time.Time, local int, at turnLocal) {
	c.turn.locals[local] = at
	c.o.log.Info("TURN address", "url", at.server, "socket", local)
	c.shareSoon(now)
	for _, p := range c.order {
		if p.state.media || p.state.shared && !c.direct(p) { // it had a path through the last address, perhaps
			c.overTURN(now, p)
		}
	}
}

func (c *core) turnDown(now time.Time, local int) {
	delete(c.turn.locals, local)
	c.socketDown(now, local)
	c.shareSoon(now)
}

// turnRenew gets new addresses at all servers: those there are belong to an
// address of this machine that is another one now.
func (c *core) turnRenew() {
	for _, ch := range c.turn.renewed {
		select {
		case ch <- struct{}{}:
		default: // it is on its way
		}
	}
}

// turnRest changes addresses that many were written to from, when no call needs
// them.
func (c *core) turnRest() {
	for _, p := range c.order {
		if p.state.media {
			return
		}
	}
	for _, at := range c.turn.locals {
		if len(at.used) > turnWorn {
			select {
			case c.turn.renewed[at.number] <- struct{}{}:
			default:
			}
		}
	}
}

// turnLocals lists the connections to servers in a fixed order.
func (c *core) turnLocals() []int { return slices.Sorted(maps.Keys(c.turn.locals)) }

// turnAddrs are where this node is reached through servers.
func (c *core) turnAddrs() (list []netip.AddrPort) {
	for _, i := range c.turnLocals() {
		if len(list) < MaxTURN {
			list = append(list, c.turn.locals[i].addr)
		}
	}
	return list
}

// turnTold takes what a person says in a ring or its answer.
func (c *core) turnTold(now time.Time, p *Peer, theirs []netip.AddrPort) {
	c.turnAt(now, p, theirs)
	c.overTURN(now, p)
}

// turnAt notes where a person is reached through servers. What led to an address that
// it has no longer ends, and what came from a new one before this word of it was taken
// for a direct path.
func (c *core) turnAt(now time.Time, p *Peer, theirs []netip.AddrPort) {
	s := &p.state
	if len(theirs) == 0 || slices.Equal(theirs, s.atTURN) {
		return
	}
	before := s.atTURN
	s.atTURN = theirs
	if s.paths == nil {
		return
	}
	for _, q := range s.paths.Snapshot() {
		if a := q.Path.Remote; slices.Contains(before, a) && !slices.Contains(theirs, a) {
			s.paths.Remove(now, q.Path)
		}
	}
	s.paths.Rejudge(now)
}

// overTURN adds the ways to a person through servers: theirs, and this node's own.
func (c *core) overTURN(now time.Time, p *Peer) {
	s := &p.state
	if s.paths == nil {
		return
	}
	c.addCandidates(now, p, s.atTURN)
	for _, i := range c.turnLocals() {
		l := c.turn.locals[i]
		tries := append([]netip.AddrPort{s.offer.Outside}, s.offer.Candidates...)
		tries = append(append(tries, s.told...), s.atTURN...)
		for _, a := range l.choose(tries) {
			c.addPath(now, p, sock.Path{Local: i, Remote: a})
		}
	}
}

// choose picks those of a person's addresses that are written to from the server,
// and notes them. Who names ever new ones gets no more than the allocation has room
// for.
func (l turnLocal) choose(tries []netip.AddrPort) (list []netip.AddrPort) {
	for _, a := range tries {
		if !a.IsValid() || a.Addr().Is4() != l.addr.Addr().Is4() || !l.used[a] && len(l.used) >= turnFull {
			continue
		}
		if len(list) == turnTries {
			break
		}
		l.used[a] = true
		list = append(list, a)
	}
	return list
}

// offTURN leaves the servers' paths to a person when there is a direct one and no
// call any more.
func (c *core) offTURN(now time.Time, p *Peer) {
	if p.state.paths == nil || p.state.media || !c.direct(p) {
		return
	}
	for _, q := range p.state.paths.Snapshot() {
		if c.turnServer(p, q.Path) != "" {
			p.state.paths.Remove(now, q.Path)
		}
	}
}

// turnServer says which server a path to p leads through; "" for other paths.
func (c *core) turnServer(p *Peer, path sock.Path) string {
	if l, ok := c.turn.locals[path.Local]; ok {
		return l.server
	}
	if slices.Contains(p.state.atTURN, path.Remote) {
		return path.Remote.String()
	}
	return ""
}

// turnNode stands for a server where a relay is named by its node ID: no node has
// it, by SHA-256.
func turnNode(server string) identity.NodeID {
	return identity.NodeID(sha256.Sum256([]byte("p2pos turn server " + server)))
}
