// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
)

// view is an interface as the system shows it.
type view struct {
	index    int
	name     string
	prefixes []netip.Prefix // its addresses, with the length of the subnet
}

const (
	// maxLinks bounds the interfaces: a computer with containers and virtual
	// machines has a dozen.
	maxLinks = 16
	// maxAddrs of an interface are announced. Ten keep the message in one
	// Ethernet frame by far.
	maxAddrs = 10
)

// link is one interface to speak on.
type link struct {
	view
	addrs  []netip.Addr // announced there, IPv4 first
	v4, v6 bool

	announces int       // still to come
	answerAt  time.Time // zero = nothing to say
	said      time.Time // the last answer to all
	spoke     bool      // somebody may hold records of ours
	enumerate bool      // with the name of the service's kind
	legacyAt  time.Time // when the next answer to one may go

	queryAt time.Time
	gap     time.Duration // after that query
	asked   time.Time
}

// linkOf returns what of an interface may be announced; false if nothing.
func linkOf(v view, bound []netip.Addr) (link, bool) {
	l := link{view: v}
	all4, all6 := slices.Contains(bound, netip.IPv4Unspecified()), slices.Contains(bound, netip.IPv6Unspecified())
	for _, p := range v.prefixes {
		a := p.Addr()
		if !usable(a) || slices.Contains(l.addrs, a) || !(all4 && a.Is4() || all6 && a.Is6() || slices.Contains(bound, a)) {
			continue
		}
		l.addrs = append(l.addrs, a)
		l.v4, l.v6 = l.v4 || a.Is4(), l.v6 || a.Is6()
	}
	order.Stable(l.addrs, rank)
	l.addrs = l.addrs[:min(len(l.addrs), maxAddrs)]
	return l, len(l.addrs) > 0
}

// rank orders addresses: IPv4, then link-local ones, since what goes by IPv6
// comes from these, then the rest.
func rank(a, b netip.Addr) int {
	class := func(a netip.Addr) int {
		switch {
		case a.Is4():
			return 0
		case a.IsLinkLocalUnicast():
			return 1
		}
		return 2
	}
	return class(a) - class(b)
}

// usable says whether an address can be one computer's in a LAN.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// holds says whether an address is on-link for the interface.
func (l *link) holds(a netip.Addr) bool {
	if a = a.WithZone(""); !usable(a) {
		return false
	}
	if a.IsLinkLocalUnicast() && a.Is6() {
		return true
	}
	for _, p := range l.prefixes {
		if p.Contains(a) && a != last(p) {
			return true
		}
	}
	return a.IsLinkLocalUnicast() // 169.254/16 beside other addresses (RFC 3927)
}

// last returns the broadcast address of an IPv4 subnet; none of those with one
// or two addresses (RFC 3021).
func last(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() >= 31 || p.Bits() < 0 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// same says whether an interface is still as it was.
func (l *link) same(o *link) bool {
	return l.index == o.index && l.name == o.name && slices.Equal(l.prefixes, o.prefixes) && slices.Equal(l.addrs, o.addrs)
}
