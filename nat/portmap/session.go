// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// datagramLimit bounds an exchange of datagrams: requests after 0, 250, 750
	// and 1,750 ms. RFC 6887 §8.1.1 begins with 3 s for servers far away; ours
	// is one hop off, and a caller may be waiting.
	datagramLimit = 2500 * time.Millisecond
	firstResend   = 250 * time.Millisecond
	// pmpLimit bounds each of the two NAT-PMP exchanges, which can't be
	// interrupted: Close waits for one.
	pmpLimit = time.Second
	// upnpLimit bounds search, description and three actions together.
	upnpLimit = 12 * time.Second
	// dropLimit bounds a withdrawal.
	dropLimit = 1200 * time.Millisecond
	// maxIgnored is how many packets an exchange looks at before it gives up:
	// somebody is flooding.
	maxIgnored = 64
)

// session speaks to one router for one race. Each method's state is touched by
// its one errand at a time.
type session struct {
	net   network
	race  *race // the client's loop owns it
	count *counters
	nonce nonce
	upnp  igd

	ctx    context.Context // ends maps and checks; withdrawals have their own
	cancel context.CancelFunc
}

func newSession(n network, secret []byte, count *counters) *session {
	s := &session{net: n, count: count}
	if len(secret) > 0 {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte("p2pos pcp nonce v1"))
		gateway, internal := n.gateway.As16(), n.internal.Addr().As16()
		mac.Write(gateway[:])
		mac.Write(internal[:])
		mac.Write([]byte{byte(n.internal.Port() >> 8), byte(n.internal.Port())})
		copy(s.nonce[:], mac.Sum(nil))
	} else {
		rand.Read(s.nonce[:])
	}
	s.upnp = newIGD(n, count)
	// Sessions outlive no context of a caller: the client ends them.
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// do runs one errand to its end.
func (s *session) do(ctx context.Context, t task) (g grant, err error) {
	switch t.method {
	case PCP:
		g, err = s.pcp(ctx, t)
	case NATPMP:
		g, err = s.pmp(ctx, t)
	case UPnP:
		limited, cancel := context.WithTimeout(ctx, upnpLimit)
		defer cancel()
		g, err = s.upnp.do(limited, t)
	}
	bad := err
	if err == nil && t.verb == verbMap {
		_, bad = judge(s.net, t.method, g) // the race judges again; here it is only counted
	}
	var refused *RefusedError
	switch {
	case errors.As(bad, &refused):
		s.count.refused.Add(1)
	case errors.Is(bad, errBadExternal):
		s.count.badExternal.Add(1)
	case errors.Is(bad, errBadLifetime):
		s.count.badLifetime.Add(1)
	}
	return g, err
}

// heard is an announcement that reached a session.
type heard struct {
	s *session
	announcement
}

// listen hands on what the router tells everybody, until the session ends.
// Where the port can't be shared, the checks find out a little later.
func (s *session) listen(out chan<- heard) {
	group, family := "224.0.0.1", "udp4"
	if s.net.v6() {
		group, family = "ff02::1", "udp6"
	}
	conn, err := net.ListenMulticastUDP(family, interfaceOf(s.net.internal.Addr()), &net.UDPAddr{IP: net.ParseIP(group), Port: pcpAnnouncePort})
	if err != nil {
		return
	}
	defer conn.Close()
	defer atEnd(s.ctx, func() { conn.Close() })()
	buf := make([]byte, pcpMax+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if from.Port() != pcpPort || !sameHost(from.Addr(), s.net.gateway) {
			s.count.foreign.Add(1)
			continue
		}
		a, err := parseAnnouncement(buf[:n])
		if err != nil {
			s.count.malformed.Add(1)
			continue
		}
		select {
		case out <- heard{s, a}:
		default: // the loop has enough of them
		}
	}
}

// atEnd calls f when ctx ends, unless it is stopped before. When stop returns,
// f doesn't run any more.
func atEnd(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	call := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !call() {
			<-done
		}
	}
}

func sameHost(a, b netip.Addr) bool { return a.Unmap().WithZone("") == b.Unmap().WithZone("") }

// interfaceOf returns the interface that has an address, or nil.
func interfaceOf(a netip.Addr) *net.Interface {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			continue
		}
		for _, x := range addrs {
			if p, err := netip.ParsePrefix(x.String()); err == nil && sameHost(p.Addr(), a) {
				return &all[i]
			}
		}
	}
	return nil
}
