// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// Nothing phones home: a node with everything on (LAN, port mapping, a peer to
// join) talks to its peers and its LAN, from its start to its end, and sends no
// packet to anything else, name servers included.
func TestKernelNothingPhonesHome(t *testing.T) {
	t.Parallel()
	natlab.Need(t)
	l := natlab.New(t)
	peer := l.Public("peer")
	host := l.Build("a", natlab.Spec{Kernel: &natlab.Kernel{}, IPv6: natlab.FirewalledIPv6})
	beside := host.Site().Host("b")
	p, b := startChild(t, peer, "tcp=:443"), startChild(t, beside, "lan")
	p.wait("ready")
	b.wait("ready")

	// Its LAN, and its peers by every address that they have.
	lan := []netip.Prefix{
		netip.PrefixFrom(host.Addr(), 24).Masked(), netip.PrefixFrom(host.Addr6(), 64).Masked(),
		netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
		// Groups that no router passes on: mDNS, IGMP and MLD, UPnP's.
		netip.MustParsePrefix("224.0.0.0/24"), netip.MustParsePrefix("239.255.255.250/32"), netip.MustParsePrefix("ff02::/16"),
	}
	peers := []netip.Addr{peer.Addr(), peer.Addr6(), host.Site().Addr()}
	strays := func(c *natlab.Capture) (list []string, packets int) {
		for s, n := range c.Stop() {
			to := s.To.Addr()
			packets += n
			if !slices.Contains(peers, to) && !slices.ContainsFunc(lan, func(p netip.Prefix) bool { return p.Contains(to) }) {
				list = append(list, fmt.Sprintf("%d packets of protocol %d to %v", n, s.Protocol, s.To))
			}
		}
		slices.Sort(list)
		return list, packets
	}

	seen := host.Capture()
	join := "join=" + netip.AddrPortFrom(peer.Addr(), 4000).String()
	a := startChild(t, host, "lan", "portmap", join)
	a.wait("joined ")
	a.say("links 2")
	a.wait("linked ")
	for _, callee := range []*child{b, p} {
		a.say("call %s", callee.ticket())
		t.Log("call to", callee.name, a.wait("answered "))
		a.wait("heard ")
	}
	a.say("status")
	a.wait("status ")
	if os.Getenv("P2POS_LONG") != "" {
		<-time.After(12 * time.Minute) // records, port mappings and memories are renewed meanwhile
	}
	a.quit()
	list, packets := strays(seen)
	if len(list) > 0 {
		t.Errorf("a node with one configured peer sent\n%s", strings.Join(list, "\n"))
	}
	if packets < 100 {
		t.Errorf("the capture has %d packets: it saw nothing", packets)
	}
	t.Logf("%d packets, all to peers and the LAN", packets)

	// And a node that does call somewhere is caught.
	seen = host.Capture()
	a = startChild(t, host, join, "stun=45.250.10.9:3478")
	a.wait("joined ")
	a.quit()
	if list, _ := strays(seen); len(list) == 0 || !strings.Contains(list[0], "45.250.10.9") {
		t.Errorf("packets to a stranger were not noticed: %q", list)
	}
}

// quit ends the node and waits for its process.
func (c *child) quit() {
	c.in.Close()
	for range c.lines {
	}
}
