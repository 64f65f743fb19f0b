// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// TestKinds holds every kind, the kernel's and the box's, to its traits, by
// what plain sockets see.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			r, want := newRig(t), k.Traits()
			h := r.Site("host", k)
			r.tcp(h)
			if want.IPv6 != NoIPv6 {
				r.ipv6(h, want)
			} else if h.Addr6().IsValid() {
				t.Error("there is IPv6")
			}
			if want.NoUDP {
				r.noUDP(h)
				return
			}
			r.mapping(h, want)
			r.filtering(h, want)
			if want.Layers > 0 && want.Mapping == simnet.EndpointIndependent {
				r.hairpin(h, want)
			}
		})
	}
}

// mapping looks at six sockets from three places outside.
func (r *rig) mapping(h *Host, want Traits) {
	r.Helper()
	var inside, first, all []netip.AddrPort
	samePort, sameHost := true, true // of the remote, mean the same mapping
	for range 6 {
		c := r.open(h, 0)
		a, b, d := r.observe(c, r.x1), r.observe(c, r.x2), r.observe(c, r.y1)
		if r.observe(c, r.x1) != a {
			r.Errorf("the mapping %v does not stay", a)
		}
		inside, first, all = append(inside, c.at), append(first, a), append(all, a, b, d)
		samePort = samePort && a == b
		sameHost = sameHost && a == d
	}
	got := simnet.AddressAndPortDependent
	switch {
	case samePort && sameHost:
		got = simnet.EndpointIndependent
	case samePort:
		got = simnet.AddressDependent
	}
	if got != want.Mapping {
		r.Errorf("%v mapping, want %v: %v", got, want.Mapping, all)
	}

	var addresses []netip.Addr
	for i, m := range all {
		addresses = append(addresses, m.Addr())
		if want.Range != [2]uint16{} && (m.Port() < want.Range[0] || m.Port() > want.Range[1]) {
			r.Errorf("port %d, want one of %v", m.Port(), want.Range)
		}
		if want.Layers == 0 && m != inside[i/3] {
			r.Errorf("%v outside is %v", inside[i/3], m)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	for _, a := range addresses {
		if !slices.Contains(h.Site().addrs(), a) {
			r.Errorf("address %v is not the site's", a)
		}
	}
	if (len(addresses) > 1) != (want.Addresses > 1) { // by chance once in 4⁵
		r.Errorf("seen from %v, want %d addresses", addresses, want.Addresses)
	}
	if want.Layers > 0 {
		r.ports(inside, first, all, want)
	}
}

// ports looks at how outside ports follow from inside ones and from each other.
func (r *rig) ports(inside, first, all []netip.AddrPort, want Traits) {
	r.Helper()
	preserved, sequential, low, high := 0, 0, uint16(65535), uint16(0)
	for i, m := range first {
		if m.Port() == inside[i].Port() {
			preserved++
		}
		low, high = min(low, m.Port()), max(high, m.Port())
	}
	for i := 1; i < len(all); i++ {
		if all[i].Port() == all[i-1].Port()+1 {
			sequential++
		}
	}
	var got simnet.PortRule
	switch {
	case preserved == len(first):
		got = simnet.Preserve
	case sequential >= len(all)-2: // it may have wrapped
		got = simnet.Sequential
	case high-low < 1024 && want.Range == [2]uint16{}: // by chance once in 50⁵
		got = simnet.Block
	default:
		got = simnet.Random
	}
	if got != want.Ports {
		r.Errorf("ports are %v, want %v: %v as %v", got, want.Ports, inside, all)
	}
}

// filtering looks at who may answer a socket that has sent to x1 alone.
func (r *rig) filtering(h *Host, want Traits) {
	r.Helper()
	c := r.open(h, 0)
	m := r.observe(c, r.x1)
	if !r.reaches(r.x1, m, c, r.x1) {
		r.Error("an answer did not come in")
	}
	for _, from := range []struct {
		name string
		s    *sock
		ok   bool
	}{
		{"another port of the same host", r.x2, want.Filtering != simnet.AddressAndPortDependent},
		{"another host", r.y1, want.Filtering == simnet.EndpointIndependent},
	} {
		if got := r.reaches(from.s, m, c, r.x1); got != from.ok {
			r.Errorf("%s reaches in: %v, want %v", from.name, got, from.ok)
		}
	}
}

// hairpin lets two hosts of the site try each other's outside address, both
// ways, so that filters are open.
func (r *rig) hairpin(h *Host, want Traits) {
	r.Helper()
	c1, c2 := r.open(h, 0), r.open(h.Site().Host("neighbour"), 0)
	m1, m2 := r.observe(c1, r.x1), r.observe(c2, r.x1)
	r.send(c2, m1)
	r.settled(c2, r.x1, "")
	tag := r.send(c1, m2)
	if !want.Hairpin {
		if r.settled(c2, r.x1, tag) {
			r.Error("a hairpin")
		}
		return
	}
	// RFC 4787 REQ-9a: the source is the outside one.
	if from, _ := r.wait(c2, tag); from != m1 {
		r.Errorf("a hairpin from %v, want %v", from, m1)
	}
}

// ipv6 looks at the site's IPv6: no translation, and the filter.
func (r *rig) ipv6(h *Host, want Traits) {
	r.Helper()
	x, y, c := r.listen(r.x, "udp6", 0), r.listen(r.y, "udp6", 0), r.listen(h, "udp6", 0)
	if m := r.observe(c, x); m != c.at {
		r.Errorf("%v outside is %v", c.at, m)
	}
	if !r.reaches(x, c.at, c, x) {
		r.Error("an IPv6 answer did not come in")
	}
	if got := r.reaches(y, c.at, c, x); got != (want.IPv6 == OpenIPv6) {
		r.Errorf("another host reaches in by IPv6: %v", got)
	}
}

// TestRoutedIPv6: IPv6 without a filter, beside a NAT of either sort.
func TestRoutedIPv6(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ipv6(r.Build("kernel", Spec{Kernel: &Kernel{}, IPv6: OpenIPv6}), Traits{IPv6: OpenIPv6})
	r.ipv6(r.Build("box", Spec{Box: EIMRandom.Spec().Box, IPv6: OpenIPv6}), Traits{IPv6: OpenIPv6})
}

// noUDP sends datagrams, then lets TCP through the same gateway and a datagram
// between the public hosts follow.
func (r *rig) noUDP(h *Host) {
	r.Helper()
	c := r.open(h, 0)
	tag := r.send(c, r.x1.at)
	r.tcp(h)
	if _, came := r.wait(r.x1, r.send(r.y1, r.x1.at), tag); came[0] {
		r.Error("UDP got out")
	}
}

// tcp connects to a public host, which tells who it sees.
func (r *rig) tcp(h *Host) {
	r.Helper()
	var l net.Listener
	var err error
	r.x.Run(func() { l, err = net.Listen("tcp4", ":0") })
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	to := netip.AddrPortFrom(r.x.Addr(), uint16(l.Addr().(*net.TCPAddr).Port))
	var c net.Conn
	h.Run(func() { c, err = net.DialTimeout("tcp4", to.String(), patience) })
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		r.Fatal(err)
	}
	seen := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	if !slices.Contains(h.Site().addrs(), seen) {
		r.Errorf("TCP comes from %v, want one of %v", seen, h.Site().addrs())
	}
	const size = 200 << 10 // many full segments
	go func() {
		s.Write(make([]byte, size))
		s.Close()
	}()
	c.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(c); err != nil || len(b) != size {
		r.Errorf("TCP brought %d of %d bytes: %v", len(b), size, err)
	}
}
