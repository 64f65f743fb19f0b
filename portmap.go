// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/p2pos/p2pos/nat/portmap"
	"github.com/p2pos/p2pos/overlay"
)

// portMapper has the router keep the node's ports open, and tells the overlay
// what the router says. Its methods may be called on nil.
type portMapper struct {
	ov     *overlay.Overlay
	log    *slog.Logger
	secret []byte
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	wg     sync.WaitGroup // a reader for each client, and its closing

	mu      sync.Mutex // guards what follows
	clients []*portmap.Client
	gates   map[netip.Addr]netip.Addr // routers and their outside addresses, IPv4
	router  netip.Addr                // the one asked last
	second  bool                      // the second port is being mapped
}

// mapPorts starts to map the ports of real sockets on other interfaces than
// loopback, and returns nil when there are none.
func mapPorts(ov *overlay.Overlay, conns []net.PacketConn, secret [32]byte, log *slog.Logger) *portMapper {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("p2pos portmap v1"))
	m := &portMapper{ov: ov, log: log, secret: mac.Sum(nil), gates: make(map[netip.Addr]netip.Addr)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for _, a := range mappable(conns) {
		m.open(a)
	}
	if len(m.clients) == 0 {
		return nil
	}
	return m
}

// mappable returns the local addresses to map: one for both families where
// they share a port.
func mappable(conns []net.PacketConn) (list []netip.AddrPort) {
	for _, c := range conns {
		u, ok := c.(*net.UDPConn)
		if !ok {
			continue // a simulated one has no router of ours
		}
		a := u.LocalAddr().(*net.UDPAddr).AddrPort()
		a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
		if a.Addr().IsLoopback() || a.Addr().IsLinkLocalUnicast() {
			continue
		}
		if a.Addr() == netip.IPv6Unspecified() {
			// portmap takes this for both families.
			list = slices.DeleteFunc(list, func(o netip.AddrPort) bool { return o == netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()) })
			if len(list) > 0 {
				continue // another port for IPv6: a pinhole for it can't be had alone
			}
		}
		list = append(list, a)
	}
	return list
}

func (m *portMapper) open(a netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	c := portmap.Open(portmap.Config{Internal: a, Logger: m.log, Secret: m.secret})
	m.clients = append(m.clients, c)
	m.wg.Go(func() {
		for e := range c.Changes(m.ctx) {
			m.changed(e)
		}
		c.Close()
	})
}

// changed tells the overlay what stands after an event.
func (m *portMapper) changed(e portmap.Event) {
	m.mu.Lock()
	switch e := e.(type) {
	case portmap.External:
		if e.Addr.Is4() {
			m.router, m.gates[e.Gateway] = e.Gateway, e.Addr
			for g := range m.gates {
				if g != m.router { // that of another network
					delete(m.gates, g)
				}
			}
		}
	case portmap.Failed:
		if !e.V6 && e.Gateway != m.router {
			clear(m.gates)
		}
	}
	var list []overlay.Mapping
	mapped := false
	for _, c := range m.clients {
		for _, p := range c.Mappings() {
			list = append(list, overlay.Mapping{Method: string(p.Method), Outside: p.External, Port: p.Internal.Port(), Middle: p.Layer2})
			mapped = mapped || p.External.Addr().Is4()
		}
	}
	gate := m.gates[m.router]
	second := mapped && !m.second
	m.second = m.second || mapped
	m.mu.Unlock()
	m.ov.SetMappings(list)
	m.ov.SetGateway(gate)
	if second {
		// The port that answers tests is worth a second question only where
		// there was an answer to the first.
		if a := m.ov.SecondAddr(); a.Addr().Is4() && !a.Addr().IsLoopback() {
			m.open(a)
		}
	}
}

// refresh looks at the network at once, for when it may have changed.
func (m *portMapper) refresh() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		c.Refresh()
	}
}

// stop begins to take everything back, and returns at once.
func (m *portMapper) stop() {
	if m == nil {
		return
	}
	m.mu.Lock() // nobody opens another one any more
	defer m.mu.Unlock()
	m.cancel()
}

// wait returns when nothing runs any more, at most about 1.3 s after stop.
func (m *portMapper) wait() {
	if m != nil {
		m.wg.Wait()
	}
}
