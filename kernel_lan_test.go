// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/media"
)

// Two nodes on one LAN, with nothing to join, find each other and talk.
func TestKernelLAN(t *testing.T) {
	natlab.Need(t)
	for name, ipv4 := range map[string]bool{"both families": true, "IPv6 alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := natlab.New(t)
			ha := l.Build("a", natlab.Spec{Kernel: &natlab.Kernel{}, IPv6: natlab.FirewalledIPv6})
			hb := ha.Site().Host("b")
			if !ipv4 {
				for _, h := range []*natlab.Host{ha, hb} {
					if out, err := h.Command(t.Context(), "ip", "-4", "addr", "flush", "dev", "eth0").CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
			}
			start := time.Now()
			a := startChild(t, ha, "lan")
			b := startChild(t, hb, "lan")
			a.wait("joined ")
			b.wait("joined ")
			t.Logf("linked after %v", time.Since(start).Round(time.Millisecond))
			a.say("call %s", b.ticket())
			if answer := a.wait("answered "); !strings.HasPrefix(answer, "lan ") {
				t.Errorf("the call runs over %s", answer)
			} else {
				t.Log(answer)
			}
			for _, n := range []*child{a, b} {
				var heard, lost int
				if _, err := fmt.Sscanf(n.wait("heard "), "%d lost %d", &heard, &lost); err != nil || heard == 0 {
					t.Errorf("%s heard %d, lost %d: %v", n.name, heard, lost, err)
				}
			}
		})
	}
}

// Two processes on one LAN, each with a node of this network and one of that: all
// four announce themselves, each finds the one of its network, and they talk.
func TestKernelLANTwoNetworks(t *testing.T) {
	natlab.Need(t)
	t.Parallel()
	var networks [2]string
	for i, name := range []string{"this", "that"} {
		n, err := identity.NewNetwork(name)
		if err != nil {
			t.Fatal(err)
		}
		networks[i] = n.Text()
	}
	l := natlab.New(t)
	ha := l.Build("a", natlab.Spec{Kernel: &natlab.Kernel{}})
	hb := ha.Site().Host("b")
	flags := []string{"lan", "beside=" + networks[1], "network=" + networks[0]}
	a, b := startChild(t, ha, flags...), startChild(t, hb, flags...)
	for _, n := range []*child{a, b} {
		n.wait("joined 1")
		n.wait("beside joined 1")
	}
	b.say("beside ticket")
	a.say("beside call %s", b.wait("beside ticket "))
	a.say("call %s", b.ticket())
	for _, prefix := range []string{"", "beside "} {
		if answer := a.wait(prefix + "answered "); !strings.HasPrefix(answer, "lan ") {
			t.Errorf("the call runs over %s", answer)
		}
		for _, n := range []*child{a, b} {
			n.wait(prefix + "heard ")
		}
	}
	for _, n := range []*child{a, b} {
		n.say("beside links")
		if s := n.wait("beside links "); s != "1" {
			t.Errorf("%s: the second node has %s links", n.name, s)
		}
		n.say("links 1")
		if s := n.wait("linked "); s != "1" {
			t.Errorf("%s: the first node has %s links", n.name, s)
		}
	}
}

// childBeside starts a second node in the process of a child, of another network
// if one is named, with a directory and a port of its own. What is returned takes
// its commands: those that begin with "beside".
func childBeside(t *testing.T, cfg Config, network string) func(command string) {
	if network == "" {
		return func(string) {}
	}
	cfg.Dir, cfg.Listen = t.TempDir(), ":4001"
	var err error
	if cfg.Network, err = identity.ParseNetwork(network); err != nil {
		t.Fatal(err)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	events, calls := n.Events(t.Context()), n.Incoming(t.Context())
	hear := func(c *Call) {
		_, out := c.Tracks()
		go func() {
			for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
				<-time.After(20 * time.Millisecond)
			}
		}()
		in, _ := c.Tracks()
		for f := (media.Frame{}); len(f.Payload) == 0; {
			if in.ReadFrame(t.Context(), &f) != nil {
				return
			}
		}
		fmt.Println("beside heard", c.Peer())
	}
	go func() {
		for e := range events {
			if j, ok := e.(Joined); ok {
				fmt.Println("beside joined", j.Links)
			}
		}
	}()
	go func() {
		for c := range calls {
			if c.Answer() == nil {
				go hear(c)
			}
		}
	}()
	go n.Join(t.Context())
	return func(command string) {
		switch verb, arg, _ := strings.Cut(command, " "); verb {
		case "ticket":
			text, err := n.Ticket(time.Hour)
			fmt.Println("beside ticket", text, err)
		case "call":
			go func() {
				ticket, _, _ := strings.Cut(arg, " ")
				c, err := n.Call(t.Context(), ticket, nil)
				if err == nil {
					err = c.Answered(t.Context())
				}
				if err != nil {
					fmt.Println("beside failed", err)
					return
				}
				fmt.Println("beside answered", c.Path().Kind, c.Path().Remote)
				hear(c)
			}()
		case "links":
			fmt.Println("beside links", n.Status().Links)
		}
	}
}

// Only real sockets that a LAN can reach are announced, and not when the app
// says no.
func TestAnnounceable(t *testing.T) {
	listen := func(network, addr string) net.PacketConn {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Skipf("%s %s: %v", network, addr, err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	port := func(c net.PacketConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }
	any4, loopback := listen("udp4", ":0"), listen("udp4", "127.0.0.1:0")
	both := withV6(any4)
	unspecified := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	for name, c := range map[string]struct {
		conns []net.PacketConn
		port  uint16
		addrs []netip.Addr
	}{
		"loopback":         {[]net.PacketConn{loopback, listen("udp6", "[::1]:0")}, 0, nil},
		"not a UDP socket": {[]net.PacketConn{struct{ net.PacketConn }{any4}}, 0, nil},
		"beside loopback":  {[]net.PacketConn{loopback, any4}, port(any4), unspecified[:1]},
		"both":             {both, port(any4), unspecified[:1+btoi(port(both[1]) == port(any4))]},
		"two ports":        {[]net.PacketConn{any4, listen("udp6", "[::]:0")}, port(any4), unspecified[:1]},
	} {
		if p, addrs := announceable(c.conns); p != c.port || !slices.Equal(addrs, c.addrs) {
			t.Errorf("%s: port %d, %v", name, p, addrs)
		}
	}
	both[1].Close()
	for _, cfg := range []Config{{PacketConn: listen("udp4", ":0"), NoPortMap: true}, {Listen: "127.0.0.1:0"}, {Listen: ":0", NoPortMap: true, NoLAN: true}} {
		if n := testNode(t, "a", cfg); n.near != nil {
			t.Errorf("%+v: is on the LAN", cfg)
		}
	}
}

// An address is dialled when its node isn't linked, after a failure ever more
// rarely, and in a large LAN a few are.
func TestNearbyDue(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4000)
	}
	linked := make(map[identity.NodeID]bool)
	l := &nearby{seen: make(map[netip.AddrPort]*near)}
	s := l.due(now, addr(1), linked)
	if s == nil || l.due(now, addr(1), linked) != nil {
		t.Fatal("a new address is to be dialled once")
	}
	s.dialing, s.next = false, now.Add(nearAgain)
	if l.due(now.Add(nearAgain-1), addr(1), linked) != nil {
		t.Error("dialled again too soon")
	}
	if l.due(now.Add(nearAgain), addr(1), linked) != s {
		t.Error("not dialled again")
	}
	s.dialing, s.node = false, identity.NodeID{1}
	linked[s.node] = true
	if l.due(now.Add(nearAgain), addr(1), linked) != nil {
		t.Error("dialled though a link to its node stands")
	}
	if delete(linked, s.node); l.due(now.Add(nearAgain), addr(1), linked) != s {
		t.Error("not dialled after its link was lost")
	}
	s.dialing, s.self = false, true
	if l.due(now.Add(nearMost), addr(1), linked) != nil {
		t.Error("dials itself")
	}
	dials := 0
	for i := range 1000 {
		if l.due(now, addr(2+i), linked) != nil {
			dials++
		}
	}
	if dials != maxNear || len(l.seen) != maxNearby {
		t.Errorf("%d dials, %d addresses remembered", dials, len(l.seen))
	}
}
