// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/overlay"
)

// Routers are asked for real sockets on other interfaces than loopback only, and
// once where both families share a port.
func TestMappable(t *testing.T) {
	listen := func(network, addr string) net.PacketConn {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Skipf("%s %s: %v", network, addr, err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	port := func(c net.PacketConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }
	any4 := listen("udp4", ":0")
	for name, c := range map[string]struct {
		conns []net.PacketConn
		want  []netip.AddrPort
	}{
		"loopback":   {[]net.PacketConn{listen("udp4", "127.0.0.1:0"), listen("udp6", "[::1]:0")}, nil},
		"not a UDP":  {[]net.PacketConn{struct{ net.PacketConn }{any4}}, nil},
		"IPv4 alone": {[]net.PacketConn{any4}, []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port(any4))}},
		"both":       {withV6(any4), []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port(any4))}},
	} {
		if got := mappable(c.conns); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		for _, u := range c.conns {
			u.Close()
		}
	}
}

// A node with a socket of the app's, or on loopback, leaves the router alone.
func TestNoPortMap(t *testing.T) {
	conn, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{{PacketConn: conn}, {Listen: "127.0.0.1:0"}, {Listen: ":0", NoPortMap: true, NoLAN: true}} {
		if n := testNode(t, "a", cfg); n.ports != nil || n.NAT().PortMap != "none" {
			t.Errorf("%+v: ports are being mapped", cfg)
		}
	}
}

// A router's port that strangers don't get in by, though all looks well, delays
// a punch and doesn't prevent it.
func TestMappedInVain(t *testing.T) {
	for _, who := range []string{"caller", "callee"} {
		t.Run(who, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				join := s.publics(4)
				ha := s.behind("a", simnet.NATConfig{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random})
				hb := s.behind("b", simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random})
				a := s.start("a", Config{Join: join}, s.opener(ha), s.listen(ha, 4000))
				b := s.start("b", Config{Join: join}, s.opener(hb), s.listen(hb, 4000))
				for _, n := range []*Node{a, b} {
					if err := n.Join(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Second)
				at := a.NAT().Behaviour.Public
				if len(at) != 1 {
					t.Fatalf("public addresses %v", at)
				}
				a.ov.SetMappings([]overlay.Mapping{{Method: "upnp", Outside: netip.AddrPortFrom(at[0], 999), Port: 4000}})
				if v := a.NAT(); v.PortMap != "upnp" {
					t.Errorf("port map %q", v.PortMap)
				}
				caller, callee := a, b
				if who == "callee" {
					caller, callee = b, a
				}
				ears := s.callee(callee)
				call, err := caller.Call(t.Context(), s.ticket(callee), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.converse(call, ears, time.Second)
			})
		})
	}
}

// Addresses come best first: what a router keeps open, what peers see, what lies
// between two NATs, the interfaces.
func TestMappedAddresses(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		join := s.publics(3)
		h := s.behind("a", simnet.NATConfig{Ports: simnet.Random})
		a := s.start("a", Config{Join: join}, s.opener(h), s.listen(h, 4000))
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		addresses := func(m ...overlay.Mapping) []netip.AddrPort {
			t.Helper()
			a.ov.SetMappings(m)
			own, _, err := a.ov.Addresses(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			return own
		}
		without := addresses()
		if len(without) != 2 {
			t.Fatalf("without: %v", without)
		}
		seen, host := without[0], without[1]
		mapped := netip.AddrPortFrom(seen.Addr(), 4000)
		middle := netip.MustParseAddrPort("100.64.3.4:4000")
		elsewhere := netip.MustParseAddrPort("45.77.0.1:4000")
		for name, c := range map[string]struct {
			m    overlay.Mapping
			want []netip.AddrPort
		}{
			"open":               {overlay.Mapping{Outside: mapped, Port: 4000}, []netip.AddrPort{mapped, seen, host}},
			"as seen anyway":     {overlay.Mapping{Outside: seen, Port: 4000}, []netip.AddrPort{seen, host}},
			"between two":        {overlay.Mapping{Outside: middle, Port: 4000, Middle: true}, []netip.AddrPort{seen, middle, host}},
			"not what peers see": {overlay.Mapping{Outside: elsewhere, Port: 4000}, []netip.AddrPort{seen, elsewhere, host}},
			"another socket's":   {overlay.Mapping{Outside: mapped, Port: 4001}, []netip.AddrPort{seen, host}},
		} {
			if got := addresses(c.m); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	})
}
