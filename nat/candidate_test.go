// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestHostsChoice(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast
	nic := func(name string, flags net.Flags, addrs ...string) iface {
		i := iface{name: name, flags: flags}
		for _, a := range addrs {
			i.addrs = append(i.addrs, netip.MustParseAddr(a))
		}
		return i
	}
	lo := nic("lo", up|net.FlagLoopback, "127.0.0.1", "::1")
	many := iface{name: "eth0", flags: up}
	for n := range 20 {
		many.addrs = append(many.addrs, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 20-n)), netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", 20-n)))
	}
	tests := []struct {
		name  string
		bound string
		list  []iface
		want  string
	}{
		{"ordinary PC", "0.0.0.0:7", []iface{lo, nic("eth0", up, "192.168.1.20", "fe80::1", "2001:db8::1")}, "192.168.1.20:7"},
		{"v6 socket takes both, v4 first", "[::]:7", []iface{nic("eth0", up, "2001:db8::1", "fe80::1%eth0", "192.168.1.20")}, "192.168.1.20:7 [2001:db8::1]:7"},
		{"public before private", "[::]:7", []iface{nic("a", up, "10.0.0.1", "fd00::1"), nic("b", up, "198.51.100.1", "2001:db8::1")}, "198.51.100.1:7 10.0.0.1:7 [2001:db8::1]:7 [fd00::1]:7"},
		{"down", "0.0.0.0:7", []iface{nic("eth0", 0, "192.168.1.20")}, ""},
		{"containers and virtual machines", "0.0.0.0:7", []iface{
			nic("docker0", up, "172.17.0.1"), nic("br-12ab", up, "172.18.0.1"), nic("veth12", up|net.FlagPointToPoint, "172.19.0.1"),
			nic("virbr0", up, "192.168.122.1"), nic("cni0", up, "10.42.0.1"), nic("flannel.1", up, "10.42.0.0"),
			nic("cali123", up, "10.1.1.1"), nic("vEthernet (WSL)", up, "172.20.0.1"), nic("wlan0", up, "192.168.0.3"),
		}, "192.168.0.3:7"},
		{"a VPN may lead to the peer", "0.0.0.0:7", []iface{nic("wg0", up|net.FlagPointToPoint, "10.9.0.2")}, "10.9.0.2:7"},
		{"a bridge of the admin's own", "0.0.0.0:7", []iface{nic("br0", up, "192.168.0.4")}, "192.168.0.4:7"},
		{"link-local", "[::]:7", []iface{nic("eth0", up, "169.254.1.1", "fe80::1", "fec0::1")}, ""},
		{"the same address twice", "0.0.0.0:7", []iface{nic("a", up, "10.0.0.1"), nic("b", up, "::ffff:10.0.0.1")}, "10.0.0.1:7"},
		{"bound to loopback", "127.0.0.1:7", []iface{lo, nic("eth0", up, "10.0.0.1")}, "127.0.0.1:7"},
		{"bound to one address", "10.0.0.1:7", []iface{nic("eth0", up, "10.0.0.1", "10.0.0.2")}, "10.0.0.1:7"},
		{"bound to link-local", "[fe80::1%eth0]:7", nil, ""},
		{"not bound", "0.0.0.0:0", []iface{nic("eth0", up, "10.0.0.1")}, ""},
		{"no address", "", nil, ""},
		{"bounded, with room for both families", "[::]:7", []iface{many},
			"10.0.0.1:7 10.0.0.2:7 10.0.0.3:7 10.0.0.4:7 10.0.0.5:7 10.0.0.6:7 [2001:db8::1]:7 [2001:db8::2]:7"},
	}
	for _, tt := range tests {
		var bound netip.AddrPort
		if tt.bound != "" {
			bound = netip.MustParseAddrPort(tt.bound)
		}
		var got []string
		for _, c := range hosts(bound, tt.list) {
			got = append(got, c.Addr.String())
			if c.Kind != HostCandidate {
				t.Errorf("%s: %v is %v", tt.name, c.Addr, c.Kind)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, s, tt.want)
		}
	}
}

// The driver on this very machine: whatever it has, the rules above hold.
// Neighbours on a LAN are told by the prefix of its IPv6 addresses.
func TestOnLinkChoice(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast
	nic := func(name string, flags net.Flags, prefixes ...string) iface {
		i := iface{name: name, flags: flags}
		for _, s := range prefixes {
			p := netip.MustParsePrefix(s)
			i.addrs, i.bits = append(i.addrs, p.Addr()), append(i.bits, p.Bits())
		}
		return i
	}
	many := iface{name: "eth0", flags: up}
	for n := range 20 {
		many.addrs = append(many.addrs, netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", n)))
		many.bits = append(many.bits, 64)
	}
	for _, c := range []struct {
		name, bound string
		list        []iface
		want        int
		prefix      string // the first
	}{
		{"ordinary PC", "[::]:7", []iface{nic("eth0", up, "192.168.1.20/24", "fe80::1/64", "2001:db8:1:2::3/64")}, 1, "2001:db8:1:2::/64"},
		{"two addresses of one LAN", "[::]:7", []iface{nic("eth0", up, "2001:db8:1:2::3/64", "2001:db8:1:2::4/64")}, 1, "2001:db8:1:2::/64"},
		{"bound to one address", "[2001:db8:1:3::3]:7", []iface{nic("eth0", up, "2001:db8:1:2::3/64"), nic("eth1", up, "2001:db8:1:3::3/64")}, 1, "2001:db8:1:3::/64"},
		{"an IPv4 socket", "0.0.0.0:7", []iface{nic("eth0", up, "2001:db8:1:2::3/64")}, 0, ""},
		{"a simulated address", "[2001:db8::9]:7", []iface{nic("eth0", up, "2001:db8:1:2::3/64")}, 0, ""},
		{"a tunnel", "[::]:7", []iface{nic("tun0", up|net.FlagPointToPoint, "2001:db8:1:2::3/64")}, 0, ""},
		{"a host route", "[::]:7", []iface{nic("eth0", up, "2001:db8:1:2::3/128")}, 0, ""},
		{"a carrier's prefix", "[::]:7", []iface{nic("eth0", up, "2001:db8::3/32")}, 0, ""},
		{"down, loopback, containers", "[::]:7", []iface{nic("eth0", 0, "2001:db8::3/64"), nic("lo", up|net.FlagLoopback, "2001:db8::3/64"), nic("docker0", up, "2001:db8::3/64")}, 0, ""},
		{"bounded", "[::]:7", []iface{many}, MaxCandidates, "2001:db8::/64"},
	} {
		got := onLink(netip.MustParseAddrPort(c.bound), c.list)
		if len(got) != c.want || c.want > 0 && got[0].String() != c.prefix {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestHosts(t *testing.T) {
	list, err := Hosts(netip.MustParseAddrPort("[::]:4242"))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := Hosts(netip.MustParseAddrPort("[::]:4242"))
	if len(list) > MaxCandidates || !slices.Equal(list, again) {
		t.Errorf("%v, then %v", list, again)
	}
	for _, c := range list {
		if c.Addr.Port() != 4242 || c.Addr.Addr().IsLoopback() || c.Addr.Addr().IsLinkLocalUnicast() {
			t.Errorf("useless candidate %v", c.Addr)
		}
	}
}
