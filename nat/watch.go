// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// pollEvery is how often the interfaces are looked at where the system
	// doesn't tell of changes.
	pollEvery = 5 * time.Second
	// settleFor gathers the news of one change: an address goes, another
	// comes, then a route.
	settleFor = 50 * time.Millisecond
)

// Watch calls changed each time this machine's addresses, or its way to the
// rest of the world, have become other ones, until ctx ends. On Linux it hears of that at
// once, elsewhere within 5 s. One change may be told more than once.
func Watch(ctx context.Context, changed func()) {
	hints, err := listenNetwork(ctx)
	if err != nil { // Android refuses it to programs
		hints = nil
	}
	defer func() {
		for hints != nil {
			if _, ok := <-hints; !ok {
				return
			}
		}
	}()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	if hints != nil {
		poll.Stop() // the system tells
	}
	last := look()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case h, ok := <-hints:
			if !ok {
				hints = nil
				poll.Reset(pollEvery)
				break
			}
			forced = h.concerns(last)
			for settle := time.After(settleFor); settle != nil; {
				select {
				case h, ok := <-hints:
					forced = forced || h.concerns(last)
					if !ok {
						settle = nil
					}
				case <-settle:
					settle = nil
				}
			}
		}
		now := look()
		if forced || !now.equal(last) {
			last = now
			changed()
		}
	}
}

// netNews is a piece of news: an address or a default route went away, or the zero
// value for anything else. What came instead is looked up.
type netNews struct {
	gone  netip.Addr
	route bool
}

// concerns reports whether the news is a change even if all looks as before: a
// network left and another one entered may well give the same address.
func (h netNews) concerns(v situation) bool { return h.route || slices.Contains(v.addrs, h.gone) }

// situation is what a change is judged by.
type situation struct {
	addrs []netip.Addr  // at which a socket on all addresses may be reached
	ways  [2]netip.Addr // from which packets to the rest of the world leave
}

func (v situation) equal(o situation) bool { return slices.Equal(v.addrs, o.addrs) && v.ways == o.ways }

func look() (v situation) {
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		list, err := Hosts(netip.AddrPortFrom(any, 1))
		if err != nil {
			continue // what the system can't tell hasn't changed
		}
		for _, c := range list {
			v.addrs = append(v.addrs, c.Addr.Addr())
		}
	}
	// Connecting a datagram socket sends nothing, but chooses the source.
	for i, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // documentation, so nobody's
		c, err := net.Dial("udp", to)
		if err != nil {
			continue // no way there now
		}
		v.ways[i] = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
	}
	return v
}
