// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// kernelPublics starts four public nodes that know each other, and returns
// where to join.
func kernelPublics(t *testing.T, l *natlab.Lab) (join []string) {
	t.Helper()
	for _, name := range []string{"p1", "p2", "p3", "p4"} {
		n := kernelNode(t, l.Public(name), join)
		for _, to := range join {
			if _, err := n.ov.Dial(t.Context(), netip.MustParseAddrPort(to)); err != nil {
				t.Fatal(err)
			}
		}
		join = append(join, n.Status().Listen[0].String())
	}
	return join
}

func flagsOf(name string, values []string) (flags []string) {
	for _, v := range values {
		flags = append(flags, name+"="+v)
	}
	return flags
}

// Two nodes behind symmetric NATs that take ports at random can't meet by
// themselves. Where one has a router that opens ports they can, whoever calls;
// and at the end the router has closed them again.
func TestKernelPortMap(t *testing.T) {
	natlab.NeedPortMap(t)
	for name, c := range map[string]struct {
		by     natlab.PortMap
		method string
		caller bool // the one with the port calls
	}{
		"UPnP, called": {natlab.UPnP, "upnp", false},
		"PCP, calls":   {natlab.PCP, "pcp", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := natlab.New(t)
			join := flagsOf("join", kernelPublics(t, l))
			spec := natlab.APDM.Spec()
			spec.PortMap = c.by
			ha, hb := l.Build("mapped", spec), l.Site("other", natlab.APDM)
			a, b := startChild(t, ha, append(join, "portmap")...), startChild(t, hb, append(join, "portmap")...)
			for a.wait("verdict ") != "address-and-port-dependent "+c.method {
			}
			if got := b.wait("verdict "); !strings.HasSuffix(got, " none") {
				t.Errorf("other: %s", got)
			}
			caller, callee := b, a
			if c.caller {
				caller, callee = a, b
			}
			caller.say("call %s", callee.ticket())
			t.Log(caller.wait("answered "))
			t.Log("direct", caller.wait("direct "))
			for _, n := range []*child{a, b} {
				t.Log(n.wait("heard "))
			}
			inside := netip.AddrPortFrom(ha.Addr(), 4000)
			if !ha.Site().Mapped(inside) {
				t.Error("no rule in the router")
			}
			a.in.Close()
			t.Log("closed after", a.wait("closed "))
			for end := time.Now().Add(20 * time.Second); ha.Site().Mapped(inside); {
				if time.Now().After(end) {
					t.Fatal("the router's port is left open")
				}
				<-time.After(100 * time.Millisecond)
			}
		})
	}
}

// A router whose promises are void, since its own outside address isn't what
// the Internet sees, costs nothing but the promise: the pair punches.
func TestKernelPortMapVoid(t *testing.T) {
	natlab.NeedPortMap(t)
	t.Parallel()
	l := natlab.New(t)
	join := flagsOf("join", kernelPublics(t, l))
	spec := natlab.APDM.Spec()
	spec.PortMap, spec.Says = natlab.UPnP, netip.MustParseAddr("46.1.2.3")
	a := startChild(t, l.Build("mapped", spec), append(join, "portmap")...)
	b := startChild(t, l.Site("other", natlab.EIMAPDF), join...)
	for a.wait("verdict ") != "address-and-port-dependent upnp" {
	}
	b.wait("verdict ")
	b.say("call %s", a.ticket())
	t.Log("direct", b.wait("direct "))
	b.wait("heard ")
}
