// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/overlay/lan"
)

const (
	// maxNear is how many nodes on the LAN a node has itself linked to. In a
	// larger LAN the overlay makes the other links, by introduction.
	maxNear = 16
	// nearDials run at once: a handshake costs some milliseconds of processor.
	nearDials = 4
	// maxNearby addresses are remembered, as many as the discovery knows.
	maxNearby = 256
	// nearAgain is the wait before an address that did not answer is dialled
	// again; it doubles up to nearMost.
	nearAgain = time.Minute
	nearMost  = time.Hour
)

// nearby looks for nodes on the LAN and links to them. Its methods may be
// called on nil.
type nearby struct {
	ov      *overlay.Overlay
	service *lan.Service
	slots   chan struct{} // capacity nearDials: a dial holds one

	mu   sync.Mutex // guards what follows
	seen map[netip.AddrPort]*near
}

// near is an address on the LAN that was found.
type near struct {
	node    identity.NodeID // who answered there last
	self    bool            // this node
	dialing bool
	wait    time.Duration // after the last failure
	next    time.Time     // not to be dialled before
}

// announceable returns the port that others on the LAN may dial, the first that
// isn't on loopback, and the local addresses it is bound to.
func announceable(conns []net.PacketConn) (port uint16, addrs []netip.Addr) {
	for _, c := range conns {
		u, ok := c.(*net.UDPConn)
		if !ok {
			continue // a simulated one is on no LAN of ours
		}
		a := u.LocalAddr().(*net.UDPAddr).AddrPort()
		ip := a.Addr().Unmap().WithZone("")
		if ip.IsLoopback() || port != 0 && a.Port() != port {
			continue
		}
		port, addrs = a.Port(), append(addrs, ip)
	}
	return port, addrs
}

// lanInterfaces restricts the discovery to Config.Interfaces.
func (n *Node) lanInterfaces() func(net.Interface) bool {
	if len(n.cfg.Interfaces) == 0 {
		return nil
	}
	return func(i net.Interface) bool { return n.cfg.mayUse(i.Name) }
}

// findNearby starts the discovery for real sockets on other interfaces than
// loopback.
func (n *Node) findNearby(conns []net.PacketConn) {
	port, addrs := announceable(conns)
	if port == 0 {
		return
	}
	s, err := lan.Start(lan.Config{Port: port, Addrs: addrs, Network: n.cfg.Network.Tag(), Logger: n.log, Interfaces: n.lanInterfaces()})
	if err != nil {
		n.log.Warn("no LAN discovery", "err", err)
		return
	}
	n.near = &nearby{ov: n.ov, service: s, slots: make(chan struct{}, nearDials), seen: make(map[netip.AddrPort]*near)}
	n.wg.Go(func() {
		for a := range s.Found() {
			select {
			case n.near.slots <- struct{}{}:
			case <-n.ctx.Done():
				return
			}
			n.wg.Go(func() {
				defer func() { <-n.near.slots }()
				if err := n.near.link(n.ctx, a); err != nil {
					n.log.Debug("node on the LAN not linked", "addr", a, "err", err)
				}
			})
		}
	})
}

// link dials an address unless a link to it or its node stands.
func (l *nearby) link(ctx context.Context, a netip.AddrPort) error {
	linked := make(map[identity.NodeID]bool)
	peers, err := l.ov.Peers(ctx)
	if err != nil {
		return err
	}
	for _, p := range peers {
		linked[p.Node()] = true
	}
	s := l.due(time.Now(), a, linked)
	if s == nil {
		return nil
	}
	p, err := l.ov.Dial(ctx, a)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.dialing = false
	if err != nil {
		s.self = errors.Is(err, overlay.ErrSelf)
		s.wait = min(max(2*s.wait, nearAgain), nearMost)
		s.next = time.Now().Add(s.wait)
		return err
	}
	s.node, s.wait = p.Node(), 0
	return nil
}

// due returns what is remembered of an address that is to be dialled now; nil
// if it is not.
func (l *nearby) due(now time.Time, a netip.AddrPort, linked map[identity.NodeID]bool) *near {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[a]
	if s == nil {
		if len(l.seen) >= maxNearby {
			for old, o := range l.seen { // any that is of no use: it may come again
				if !o.dialing && !linked[o.node] {
					delete(l.seen, old)
					break
				}
			}
		}
		if len(l.seen) >= maxNearby {
			return nil
		}
		s = new(near)
		l.seen[a] = s
	}
	if s.self || s.dialing || linked[s.node] || now.Before(s.next) {
		return nil
	}
	have := 0
	for _, o := range l.seen {
		if o.dialing || linked[o.node] {
			have++
		}
	}
	if have >= maxNear {
		return nil
	}
	s.dialing = true
	return s
}

// refresh looks at the interfaces at once.
func (l *nearby) refresh() {
	if l != nil {
		l.service.Refresh()
	}
}

// close says goodbye to the LAN.
func (l *nearby) close() {
	if l != nil {
		l.service.Close()
	}
}

// dropped counts what the discovery did not take, by reason.
func (l *nearby) dropped() (sum uint64) {
	if l != nil {
		for _, n := range l.service.Dropped() {
			sum += n
		}
	}
	return sum
}
