// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"net/netip"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Profile returns what the site's access link does.
func (s *Site) Profile() (p simnet.Profile) {
	s.lab.router.net.Do(func(*simnet.World) { p = s.end.profile })
	return p
}

// SetProfile changes the site's access link, in both directions. A packet
// crosses the link of the site it comes from and that of the one it goes to.
func (s *Site) SetProfile(p simnet.Profile) { s.end.pass(p) }

// Cut pulls the cable between the site and the Internet, with everything on
// it, or plugs it in again. Nobody is told.
func (s *Site) Cut(cut bool) {
	s.lab.router.net.Do(func(*simnet.World) { s.end.link.Cut(cut) })
}

// Flush makes the site's NATs forget all mappings, and nothing else happen.
func (s *Site) Flush() {
	s.lab.t.Helper()
	s.lab.router.net.Do(func(w *simnet.World) { s.end.reset(w, s.addrs()) })
	if s.home == nil {
		return
	}
	s.lab.must(s.home.flush())
	if s.edge != s.home {
		s.lab.must(s.edge.flush())
	}
}

// Reboot is a power cut at the site's gateways: what is under way is lost, all
// mappings are forgotten. Hosts and addresses stay.
func (s *Site) Reboot() {
	s.lab.t.Helper()
	s.Cut(true)
	s.Flush()
	s.Cut(false)
}

// ChangeAddress is a Reboot after which the site has other outside IPv4
// addresses, as many providers do each night. A public host changes its own
// one. It returns what Addr does then.
func (s *Site) ChangeAddress() netip.Addr {
	s.lab.t.Helper()
	s.Cut(true)
	defer s.Cut(false)
	old := s.Addr()
	s.renumber()
	if s.spec.Box == nil {
		s.lab.must(s.edge.ip(
			"addr del "+old.String()+"/24 dev wan0",
			"addr add "+s.Addr().String()+"/24 dev wan0",
			"route replace default dev wan0")) // went with the last address
		s.load()
	}
	s.Flush()
	return s.Addr()
}

// ChangeAddress gives a host behind a NAT another address in its LAN, as a
// computer that joins its network anew may get. Its interface is down meanwhile,
// for as long as that takes. It returns what Addr does then.
func (h *Host) ChangeAddress() netip.Addr {
	l := h.site.lab
	l.t.Helper()
	if !h.addr.IsValid() {
		l.t.Fatalf("natlab: %q has no LAN", h.name)
	}
	if h.site.hosts == maxHosts {
		l.t.Fatalf("natlab: more than %d addresses at a site", maxHosts)
	}
	h.addr = inside(h.site.n, firstHost+h.site.hosts)
	h.site.hosts++
	l.must(h.ns.ip(
		"link set eth0 down", "addr flush dev eth0 scope global", "link set eth0 up",
		"addr add "+h.addr.String()+"/24 dev eth0",
		"route add default via "+inside(h.site.n, 1).String()))
	if h.six.IsValid() {
		l.must(h.ns.ip("addr add "+h.six.String()+"/64 dev eth0 nodad", "route add ::/0 via "+six(h.site.n, 1, 1).String()))
	}
	l.running(h.ns, "eth0")
	return h.addr
}

// Unplug takes a host's interface down, or up again with the routes it had.
func (h *Host) Unplug(out bool) {
	l := h.site.lab
	l.t.Helper()
	if !h.addr.IsValid() {
		l.t.Fatalf("natlab: %q has no LAN", h.name)
	}
	if out {
		l.must(h.ns.ip("link set eth0 down"))
		return
	}
	l.must(h.ns.ip("link set eth0 up", "route replace default via "+inside(h.site.n, 1).String()))
	l.running(h.ns, "eth0")
}

// Mappings returns how many mappings the NAT next to the Internet holds: UDP
// and TCP ones of a box, all conntrack entries of a kernel, refused ones
// excepted. A public host has none.
func (s *Site) Mappings() (n int) {
	s.lab.t.Helper()
	switch {
	case s.spec.Box != nil:
		s.lab.router.net.Do(func(w *simnet.World) {
			udp, _ := s.end.udp.Len(w.Now())
			tcp, _ := s.end.tcp.Len(w.Now())
			n = udp + tcp
		})
	case s.home != nil:
		var err error
		n, err = s.edge.number("netfilter/nf_conntrack_count")
		s.lab.must(err)
	}
	return n
}

// Packets returns how many packets the site has sent into the Internet and
// how many have reached it.
func (s *Site) Packets() (sent, received uint64) {
	s.lab.router.net.Do(func(*simnet.World) { sent, received = s.end.own, s.end.took })
	return sent, received
}
