// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// defaultDelay is one way between two sites; half of it is on each one's link.
// The project's numbers are given for it.
const defaultDelay = 20 * time.Millisecond

// Lab is an Internet with sites, for the time of one test.
type Lab struct {
	t      testing.TB
	router *router
	sites  []*Site
	spaces []*netns
	names  map[string]bool
	delay  time.Duration
}

// Need skips the test, with the reason, where there can be no lab: not Linux,
// not root, or something missing.
func Need(t testing.TB) {
	t.Helper()
	if why := obstacle(); why != "" {
		t.Skip("natlab: " + why)
	}
}

// New makes an empty lab whose sites are 20 ms apart, one way, and skips as
// Need does. It ends with the test.
func New(t testing.TB) *Lab {
	t.Helper()
	Need(t)
	l := &Lab{t: t, router: newRouter(), names: map[string]bool{}, delay: defaultDelay}
	t.Cleanup(l.close)
	return l
}

func (l *Lab) close() {
	if l.t.Failed() {
		drops := l.Drops()
		for _, why := range slices.Sorted(maps.Keys(drops)) {
			l.t.Logf("natlab: dropped %d packets: %s", drops[why], why)
		}
	}
	for _, s := range l.sites {
		s.stopDaemon()
	}
	l.router.close()
	for _, n := range l.spaces {
		n.close()
	}
}

// Public places a host with a public IPv4 and IPv6 address of its own.
func (l *Lab) Public(name string) *Host {
	l.t.Helper()
	return l.Site(name, Open)
}

// Site places a host at a site of its own, of a kind. More hosts get there by
// [Site.Host].
func (l *Lab) Site(name string, k Kind) *Host {
	l.t.Helper()
	e, ok := k.find()
	if !ok {
		l.t.Fatalf("natlab: no kind %q", k)
	}
	return l.Build(name, e.Spec)
}

// Build is Site for what no kind describes.
func (l *Lab) Build(name string, s Spec) *Host {
	l.t.Helper()
	if err := s.check(); err != nil {
		l.t.Fatal(err)
	}
	if len(l.sites) == maxSites {
		l.t.Fatalf("natlab: more than %d sites", maxSites)
	}
	site := &Site{lab: l, n: len(l.sites) + 1, spec: s, next: firstOutside}
	l.sites = append(l.sites, site)
	var h *Host
	if s.public() {
		h = site.buildPublic(name)
	} else {
		site.buildGateway()
		h = site.Host(name)
	}
	site.attach()
	if s.PortMap != NoPortMap {
		site.startDaemon()
	}
	return h
}

// SetDelay puts all sites, present and later ones, at a distance, one way;
// what else their links do stays.
func (l *Lab) SetDelay(d time.Duration) {
	l.delay = d
	for _, s := range l.sites {
		p := s.Profile()
		p.Delay = d / 2
		s.SetProfile(p)
	}
}

// SetHops puts n routers between any two sites, 1 at first: so many are taken off
// the hop limit of a packet on its way.
func (l *Lab) SetHops(n int) {
	l.router.net.Do(func(*simnet.World) { l.router.hops = max(n, 1) })
}

// Drops returns how many packets the Internet, its links and boxes have
// dropped so far, by reason. What kernels dropped is not in it.
func (l *Lab) Drops() map[string]uint64 {
	var all map[string]uint64
	l.router.net.Do(func(w *simnet.World) {
		all = maps.Clone(l.router.drops)
		for why, n := range w.Stats().Dropped {
			if n > 0 {
				all["link: "+simnet.Reason(why).String()] = n
			}
		}
	})
	return all
}

// space makes a namespace that ends with the lab.
func (l *Lab) space(sysctl ...string) *netns {
	l.t.Helper()
	n, err := newNetns()
	l.must(err)
	l.spaces = append(l.spaces, n)
	l.must(n.sysctl(append([]string{
		// Addresses are usable at once, and nobody hands out others.
		"ipv6/conf/all/accept_dad", "0", "ipv6/conf/default/accept_dad", "0",
		"ipv6/conf/all/accept_ra", "0", "ipv6/conf/default/accept_ra", "0",
		// New namespaces take these from the machine's.
		"ipv4/conf/all/rp_filter", "0", "ipv4/conf/default/rp_filter", "0",
	}, sysctl...)...))
	return n
}

func (l *Lab) forwarder() *netns {
	l.t.Helper()
	return l.space(
		"ipv4/ip_forward", "1", "ipv6/conf/all/forwarding", "1",
		"ipv4/conf/all/send_redirects", "0", "ipv4/conf/default/send_redirects", "0",
	)
}

func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}
