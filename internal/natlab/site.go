// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Site is a place in the lab: a public host, or a LAN behind its gateway.
type Site struct {
	lab  *Lab
	n    int
	spec Spec

	edge *netns // has the TUN
	home *netns // has the LAN; the same where there is one layer, nil of a public host
	tun  *os.File
	end  *end

	hosts int

	daemon *exec.Cmd // miniupnpd

	mu   sync.Mutex
	pool []netip.Addr // outside addresses now
	next int          // the first one not used yet
}

// Addr returns the site's outside IPv4 address, the first one where it has
// several.
func (s *Site) Addr() netip.Addr { return s.addrs()[0] }

func (s *Site) addrs() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pool
}

// renumber draws fresh outside addresses.
func (s *Site) renumber() {
	s.lab.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(s.spec.Addresses, 1)
	if s.next+n-1 > lastOutside {
		s.lab.t.Fatalf("natlab: site %d has used up its addresses", s.n)
	}
	s.pool = nil
	for range n {
		s.pool = append(s.pool, outside(s.n, s.next))
		s.next++
	}
}

// tunQueue is how many packets may wait for the router in a TUN: a burst of a
// port search while the process is busy elsewhere.
const tunQueue = 4096

// openTUN gives a namespace its way into the Internet, with addresses.
func (s *Site) openTUN(n *netns, addrs ...string) {
	s.lab.t.Helper()
	f, err := n.tun("wan0")
	s.lab.must(err)
	s.tun, s.edge = f, n
	lines := []string{fmt.Sprintf("link set wan0 up mtu %d txqueuelen %d", mtu, tunQueue)}
	for _, a := range addrs {
		lines = append(lines, "addr add "+a+" dev wan0 nodad")
	}
	s.lab.must(n.ip(append(lines, "route add 0.0.0.0/0 dev wan0", "route add ::/0 dev wan0")...))
}

func (s *Site) buildPublic(name string) *Host {
	s.lab.t.Helper()
	s.renumber()
	h := s.host(name)
	addrs := []string{s.Addr().String() + "/24"}
	if s.spec.IPv6 != NoIPv6 {
		h.six = six(s.n, 0, firstOutside)
		addrs = append(addrs, h.six.String()+"/64")
	}
	s.openTUN(h.ns, addrs...)
	if h.six.IsValid() {
		s.lab.owns(h.ns, h.six)
	}
	return h
}

func (s *Site) buildGateway() {
	s.lab.t.Helper()
	s.renumber()
	l := s.lab
	s.home = l.forwarder()
	lan := []string{"link add lan0 type bridge", "link set lan0 up", "addr add " + inside(s.n, 1).String() + "/24 dev lan0"}
	if s.spec.IPv6 != NoIPv6 {
		lan = append(lan, "addr add "+six(s.n, 1, 1).String()+"/64 dev lan0 nodad")
	}
	l.must(s.home.ip(lan...))
	l.must(s.home.unfiltered())
	l.eager(s.home, "lan0")

	public := s.Addr().String() + "/24"
	switch {
	case s.spec.Home != nil && s.spec.Kernel != nil:
		edge := l.forwarder()
		s.openTUN(edge, public)
		l.must(edge.ip(
			"link add lan0 type veth peer name wan0 netns "+s.home.path(),
			"link set lan0 up", "addr add "+carrier(s.n, 1).String()+"/24 dev lan0"))
		l.must(s.home.ip(
			"link set wan0 up", "addr add "+carrier(s.n, 2).String()+"/24 dev wan0",
			"route add default via "+carrier(s.n, 1).String()))
		l.eager(edge, "lan0")
		l.eager(s.home, "wan0")
		l.running(edge, "lan0")
		l.running(s.home, "wan0")
	case s.spec.Home != nil:
		s.openTUN(s.home, carrier(s.n, 2).String()+"/24")
	case s.spec.Box != nil:
		s.openTUN(s.home)
	case s.spec.IPv6 != NoIPv6:
		s.openTUN(s.home, public, six(s.n, 0, firstOutside).String()+"/64")
	default:
		s.openTUN(s.home, public)
	}
	s.load()
	for k, n := range map[*Kernel]*netns{s.spec.Kernel: s.edge, s.spec.Home: s.home} {
		if k == nil {
			continue
		}
		for path, d := range map[string]time.Duration{"udp_timeout": k.Unreplied, "udp_timeout_stream": k.Replied} {
			if d != 0 {
				l.must(n.sysctl("netfilter/nf_conntrack_"+path, strconv.Itoa(int(d/time.Second))))
			}
		}
	}
}

// load puts the gateways' rules in place.
func (s *Site) load() {
	s.lab.t.Helper()
	put := func(n *netns, k *Kernel, out netip.Addr, noUDP bool) {
		s.lab.t.Helper()
		maps := n == s.home && s.spec.PortMap != NoPortMap
		s.lab.must(n.run(rules(k, out, s.spec.IPv6, noUDP, maps), "nft", "-f", "-"))
	}
	switch {
	case s.home == nil:
	case s.spec.Home == nil:
		put(s.home, s.spec.Kernel, s.Addr(), s.spec.NoUDP)
	default:
		put(s.home, s.spec.Home, carrier(s.n, 2), s.spec.NoUDP)
		if s.edge != s.home {
			put(s.edge, s.spec.Kernel, s.Addr(), false)
		}
	}
}

// attach connects the site to the Internet.
func (s *Site) attach() {
	conf := s.spec.Box
	if conf != nil && s.spec.IPv6 == OpenIPv6 {
		c := *conf
		c.Open = true
		conf = &c
	}
	s.end = s.lab.router.attach(s.n, s.tun, s.Addr(), simnet.Profile{Delay: s.lab.delay / 2}, conf, s.addrs())
}

func (s *Site) host(name string) *Host {
	s.lab.t.Helper()
	if s.lab.names[name] {
		s.lab.t.Fatalf("natlab: two hosts named %q", name)
	}
	s.lab.names[name] = true
	return &Host{name: name, site: s, ns: s.lab.space()}
}

// Host places one more host in the site's LAN.
func (s *Site) Host(name string) *Host {
	s.lab.t.Helper()
	if s.home == nil {
		s.lab.t.Fatalf("natlab: %q can't live at a public host", name)
	}
	if s.hosts == maxHosts {
		s.lab.t.Fatalf("natlab: more than %d hosts at a site", maxHosts)
	}
	h := s.host(name)
	id := firstHost + s.hosts
	s.hosts++
	h.addr = inside(s.n, id)
	port := fmt.Sprintf("port%d", s.hosts)
	s.lab.must(s.home.ip(
		"link add "+port+" type veth peer name eth0 netns "+h.ns.path(),
		"link set "+port+" master lan0 up"))
	lines := []string{
		"link set eth0 up", "addr add " + h.addr.String() + "/24 dev eth0",
		"route add default via " + inside(s.n, 1).String(),
	}
	if s.spec.IPv6 != NoIPv6 {
		h.six = six(s.n, 1, id)
		lines = append(lines, "addr add "+h.six.String()+"/64 dev eth0 nodad", "route add ::/0 via "+six(s.n, 1, 1).String())
	}
	s.lab.must(h.ns.ip(lines...))
	s.lab.eager(h.ns, "eth0")
	s.lab.running(h.ns, "eth0")
	s.lab.running(s.home, port, "lan0")
	if h.six.IsValid() {
		s.lab.owns(h.ns, h.six)
		s.lab.owns(s.home, six(s.n, 1, 1))
	}
	return h
}
