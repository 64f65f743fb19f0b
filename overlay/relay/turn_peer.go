// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// maxTURNHosts bounds the peer addresses without ports: all permissions are
	// renewed in one message, which must fit into a packet of 1,280 bytes.
	maxTURNHosts = 64

	// maxTURNPeers bounds the peer addresses; each costs a channel here and at
	// the server. They are never forgotten: a node that needs more makes a new
	// allocation.
	maxTURNPeers = 256

	// maxTURNSetups bounds the permissions asked for at a time, and so the
	// goroutines: a call tries about eight addresses at once.
	maxTURNSetups = 16

	// maxTURNWaiting bounds the datagrams that wait for one permission, for a
	// round trip to the server: a flight of QUIC and a few of voice.
	maxTURNWaiting = 16

	// turnRetry is how long a peer that the server refused is left alone.
	turnRetry = 10 * time.Second
)

// ErrTURNFull reports an allocation that has been used for as many peers as it
// can. Another one can be made beside it.
var ErrTURNFull = errors.New("relay: the TURN allocation has too many peers")

// turnPeer is one destination. TURNConn.mu guards it.
type turnPeer struct {
	addr    *net.UDPAddr
	ready   bool     // the server has let it through
	busy    bool     // is being asked for
	waiting [][]byte // meanwhile; the oldest goes
	retry   time.Time
}

// destination finds or makes a peer; c.mu is held.
func (c *TURNConn) destination(at netip.AddrPort) (*turnPeer, error) {
	if p := c.peers[at]; p != nil {
		return p, nil
	}
	full := func() bool {
		return len(c.peers) == maxTURNPeers || c.hosts[at.Addr()] == 0 && len(c.hosts) == maxTURNHosts
	}
	if full() {
		c.forget()
	}
	if full() {
		return nil, ErrTURNFull
	}
	p := &turnPeer{addr: net.UDPAddrFromAddrPort(at)}
	c.peers[at] = p
	c.hosts[at.Addr()]++
	return p, nil
}

// forget makes room where the server has refused peers; c.mu is held. Those it
// let through stay: the library knows them for good.
func (c *TURNConn) forget() {
	for at, p := range c.peers {
		if p.ready || p.busy {
			continue
		}
		delete(c.peers, at)
		if c.hosts[at.Addr()]--; c.hosts[at.Addr()] == 0 {
			delete(c.hosts, at.Addr())
		}
	}
}

// wait keeps a datagram until the server lets the peer through, and asks for
// that; c.mu is held.
func (c *TURNConn) wait(p *turnPeer, b []byte) {
	if !p.busy && (c.setups == maxTURNSetups || time.Now().Before(p.retry)) {
		c.dropped.Add(1)
		return
	}
	if len(p.waiting) == maxTURNWaiting {
		p.waiting = append(p.waiting[:0], p.waiting[1:]...)
		c.dropped.Add(1)
	}
	p.waiting = append(p.waiting, append([]byte(nil), b...))
	if !p.busy {
		p.busy = true
		c.setups++
		c.work.Go(func() { c.setup(p) })
	}
}

// setup sends the first datagram, for which the library asks the server's
// permission, and then what has come meanwhile.
func (c *TURNConn) setup(p *turnPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.cause == nil && len(p.waiting) > 0 {
		b := p.waiting[0]
		p.waiting = p.waiting[1:]
		c.mu.Unlock()
		_, err := c.relay.WriteTo(b, p.addr)
		c.mu.Lock()
		if err != nil {
			c.dropped.Add(1 + uint64(len(p.waiting)))
			p.retry = time.Now().Add(turnRetry)
			break
		}
		p.ready = len(p.waiting) == 0 // only now, so that order is kept
	}
	p.waiting, p.busy = nil, false
	c.setups--
}
