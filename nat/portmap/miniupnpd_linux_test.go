// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// dnat and pinhole are how the router's rules show the two mappings.
const (
	dnat    = "dnat ip to 192.168.77.5:24321"
	pinhole = "0x20010db8007700000000000000000005"
)

func (h *home) wants(parts ...string) {
	h.t.Helper()
	for _, p := range []string{dnat, pinhole} {
		want := slices.Contains(parts, p)
		if got := strings.Contains(h.rules(), p); got != want {
			h.t.Errorf("rule %s: %v, want %v\n%s", p, got, want, h.rules())
		}
	}
}

func TestRealRouterMapsRenewsAndForgets(t *testing.T) {
	h := newHome(t, wanAddr)
	out4, out6 := fmt.Sprintf("%s:%d", wanAddr, hostPort), fmt.Sprintf("[%s]:%d", hostIPv6, hostPort)
	for _, c := range []struct {
		name, methods string
		flags         []string
		v6            bool
		added         string // in the daemon's log, once for each request
	}{
		{"PCP", "pcp", nil, true, "PCP MAP: added mapping UDP 24321->192.168.77.5"},
		{"NAT-PMP", "nat-pmp", nil, false, "NAT-PMP port mapping request : 24321->192.168.77.5"},
		{"UPnP IGD 2", "upnp", nil, true, "AddPortMapping: ext port 24321 to 192.168.77.5"},
		{"UPnP IGD 1", "upnp", []string{"-1"}, false, "AddPortMapping: ext port 24321 to 192.168.77.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t = t
			h.load(lanRules)
			h.start(c.flags...)
			defer h.stop()
			h.wants()
			n := h.run(c.methods)
			want := []string{dnat}
			if got := n.says("mapped4 "); got != fmt.Sprintf("%s %s from 192.168.77.5:%d layer2=false", c.methods, out4, hostPort) {
				t.Errorf("mapped %s", got)
			}
			if c.v6 {
				want = append(want, pinhole)
				if got := n.says("mapped6 "); got != fmt.Sprintf("%s %s from %s layer2=false", c.methods, out6, out6) {
					t.Errorf("mapped %s", got)
				}
			}
			h.wants(want...)
			if !h.reaches(out4) {
				t.Error("no datagram comes in over IPv4")
			}
			if c.v6 && !h.reaches(out6) {
				t.Error("no datagram comes in over IPv6")
			}
			before := h.logged(c.added)
			n.tell("refresh")
			h.until("the mapping is renewed", func() bool { return h.logged(c.added) > before })
			h.wants(want...)

			shortened := h.logged("updating pinhole")
			n.tell("close")
			n.says("lost4 ")
			if got := n.says("closed "); !strings.HasPrefix(got, fmt.Sprintf("%+v", Stats{})) {
				t.Errorf("bad input from a real router: %s", got)
			}
			if h.logged("Unauthorized to remove PCP mapping") > 0 {
				// miniupnpd 2.3.1 doesn't close a PCP pinhole that was renewed, but
				// shortens its life.
				if h.logged("updating pinhole") == shortened {
					t.Error("the pinhole was left as it was")
				}
				h.wants(pinhole)
				return
			}
			h.wants()
			if h.reaches(out4) || c.v6 && h.reaches(out6) {
				t.Error("the way in stays open after Close")
			}
		})
	}
}

func TestRealRouterThatLostPowerIsMappedAgain(t *testing.T) {
	h := newHome(t, wanAddr)
	h.start()
	n := h.run("pcp,nat-pmp,upnp")
	if got := n.says("mapped4 "); !strings.HasPrefix(got, "pcp ") {
		t.Errorf("mapped %s", got)
	}
	n.says("mapped6 ")
	h.wants(dnat, pinhole)
	h.stop()
	h.load(lanRules)
	h.wants()
	h.start() // and announces itself
	h.until("mapped again", func() bool { r := h.rules(); return strings.Contains(r, dnat) && strings.Contains(r, pinhole) })
	n.tell("close")
	n.says("closed ")
}

// TestRealRouterBehindAnotherNAT: miniupnpd maps nothing when its own outside
// address is private, and each protocol has its own way to say so.
func TestRealRouterBehindAnotherNAT(t *testing.T) {
	h := newHome(t, "10.11.12.7")
	h.start()
	n := h.run("pcp,nat-pmp,upnp")
	why := n.says("failed4 ")
	for _, part := range []string{"pcp refused with code", "nat-pmp refused with code 3", "upnp: portmap: unusable answer"} {
		if !strings.Contains(why, part) {
			t.Errorf("failed: %s", why)
		}
	}
	n.tell("close")
	n.says("closed ")
	if strings.Contains(h.rules(), dnat) {
		t.Errorf("mapped all the same:\n%s", h.rules())
	}
}
