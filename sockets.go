// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/p2pos/p2pos/internal/order"
)

// sockets opens the node's sockets: the one given, the one address asked for,
// or one for each address family on the same port where that is free.
func (c *Config) sockets(last uint16) ([]net.PacketConn, error) {
	if c.PacketConn != nil {
		return []net.PacketConn{c.PacketConn}, nil
	}
	if c.Listen != "" {
		conn, err := net.ListenPacket("udp", c.Listen)
		if err != nil {
			return nil, wrong("Listen", fmt.Sprintf("cannot listen on %q", c.Listen), `give an address of this computer and a free port, or "" for any`, err)
		}
		return split(conn)
	}
	if len(c.Interfaces) > 0 {
		return c.onInterface(last)
	}
	if c.Ports != [2]uint16{} {
		v4, err := c.inPorts("udp4", netip.IPv4Unspecified(), last)
		if err != nil {
			return nil, err
		}
		port := v4.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		v6, err := c.inPorts("udp6", netip.IPv6Unspecified(), port)
		if err != nil {
			return []net.PacketConn{v4}, nil
		}
		return []net.PacketConn{v4, v6}, nil
	}
	// The port of the last start, where it is free: a NAT may still know it,
	// and so may others.
	v4, err4 := net.ListenPacket("udp4", fmt.Sprintf(":%d", last))
	if err4 != nil && last != 0 {
		v4, err4 = net.ListenPacket("udp4", ":0")
	}
	if err4 != nil {
		v6, err6 := net.ListenPacket("udp6", "[::]:0")
		if err6 != nil {
			return nil, fmt.Errorf("p2pos: cannot listen: %w", err4)
		}
		return []net.PacketConn{v6}, nil
	}
	return withV6(v4), nil
}

// opener opens one more socket, for tests of the NAT and for punching.
type opener func(ipv4 bool, port uint16) (net.PacketConn, error)

// opener returns nil when the app gave the socket itself, and no way to others.
func (c *Config) opener(conns []net.PacketConn) opener {
	if c.PacketConn != nil {
		if o, ok := c.PacketConn.(interface {
			Open(port uint16) (net.PacketConn, error)
		}); ok {
			return func(_ bool, port uint16) (net.PacketConn, error) { return o.Open(port) }
		}
		return nil
	}
	bound := map[bool]netip.Addr{true: netip.IPv4Unspecified(), false: netip.IPv6Unspecified()}
	for _, conn := range conns {
		if a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !a.IsUnspecified() {
			bound[a.Is4()] = a
		}
	}
	return func(ipv4 bool, port uint16) (net.PacketConn, error) {
		network := "udp6"
		if ipv4 {
			network = "udp4"
		}
		switch inside := c.Ports == [2]uint16{} || port >= c.Ports[0] && port <= c.Ports[1]; {
		case port == 0 && c.Ports != [2]uint16{}:
			return c.inPorts(network, bound[ipv4], 0)
		case port != 0 && !inside:
			return nil, fmt.Errorf("p2pos: port %d: %w", port, errOutside)
		}
		return net.ListenPacket(network, netip.AddrPortFrom(bound[ipv4], port).String())
	}
}

// split turns a socket that receives both families on one wildcard address
// into one for each, so that each has its own paths.
func split(conn net.PacketConn) ([]net.PacketConn, error) {
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if !a.Addr().Is6() || !a.Addr().IsUnspecified() {
		return []net.PacketConn{conn}, nil
	}
	conn.Close()
	v4, err := net.ListenPacket("udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()).String())
	if err != nil {
		return nil, fmt.Errorf("p2pos: cannot listen: %w", err)
	}
	return withV6(v4), nil
}

func withV6(v4 net.PacketConn) []net.PacketConn {
	port := v4.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	v6, err := net.ListenPacket("udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
	if err != nil {
		v6, err = net.ListenPacket("udp6", "[::]:0")
	}
	if err != nil {
		return []net.PacketConn{v4}
	}
	return []net.PacketConn{v4, v6}
}

var errOutside = errors.New("outside of Config.Ports")

// inPorts opens a socket on a port of Config.Ports: on wish if that is one of
// them and free, else on the first free one from a random one on.
func (c *Config) inPorts(network string, addr netip.Addr, wish uint16) (net.PacketConn, error) {
	lo, n := int(c.Ports[0]), int(c.Ports[1])-int(c.Ports[0])+1
	from := rand.IntN(n)
	if wish >= c.Ports[0] && wish <= c.Ports[1] {
		from = int(wish) - lo
	}
	var err error
	for i := range n {
		var conn net.PacketConn
		port := uint16(lo + (from+i)%n)
		if conn, err = net.ListenPacket(network, netip.AddrPortFrom(addr, port).String()); err == nil {
			return conn, nil
		}
	}
	return nil, wrong("Ports", fmt.Sprintf("none of %d to %d is free", c.Ports[0], c.Ports[1]), "give a larger range", err)
}

// mayUse tells whether an interface is among Config.Interfaces.
func (c *Config) mayUse(name string) bool {
	avoid := 0
	for _, s := range c.Interfaces {
		not, avoided := strings.CutPrefix(s, "-")
		switch {
		case s == name:
			return true
		case avoided && not == name:
			return false
		case avoided:
			avoid++
		}
	}
	return avoid == len(c.Interfaces)
}

// onInterface opens sockets on the addresses of the first interface that may be
// used and has any.
func (c *Config) onInterface(last uint16) (conns []net.PacketConn, err error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("p2pos: listing interfaces: %w", err)
	}
	list = slices.DeleteFunc(list, func(i net.Interface) bool { return i.Flags&net.FlagUp == 0 || !c.mayUse(i.Name) })
	rank := func(i net.Interface) int {
		if at := slices.Index(c.Interfaces, i.Name); at >= 0 {
			return at
		}
		if i.Flags&net.FlagLoopback != 0 {
			return len(list) + len(c.Interfaces) // only if there is nothing else
		}
		return i.Index
	}
	order.Stable(list, func(a, b net.Interface) int { return rank(a) - rank(b) })
	for _, i := range list {
		v4, v6 := addrsOf(i)
		port := last
		for _, addr := range []netip.Addr{v4, v6} { // the first socket's port is the one kept
			network := "udp4"
			switch {
			case !addr.IsValid():
				continue
			case addr.Is6():
				network = "udp6"
			}
			conn, err := c.bind(network, addr, port)
			if err != nil {
				for _, c := range conns {
					c.Close()
				}
				return nil, err
			}
			port = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			conns = append(conns, conn)
		}
		if len(conns) > 0 {
			return conns, nil
		}
	}
	return nil, wrong("Interfaces", "none of them is up and has an address", "name one that has, or leave it nil", nil)
}

// bind opens a socket on an address, on the port wished for if it can be had.
func (c *Config) bind(network string, addr netip.Addr, wish uint16) (net.PacketConn, error) {
	if c.Ports != [2]uint16{} {
		return c.inPorts(network, addr, wish)
	}
	conn, err := net.ListenPacket(network, netip.AddrPortFrom(addr, wish).String())
	if err != nil && wish != 0 {
		conn, err = net.ListenPacket(network, netip.AddrPortFrom(addr, 0).String())
	}
	if err != nil {
		return nil, wrong("Interfaces", fmt.Sprintf("cannot listen on %v", addr), "name another interface", err)
	}
	return conn, nil
}

// addrsOf returns the addresses of an interface that are good for more than its
// own cable.
func addrsOf(i net.Interface) (v4, v6 netip.Addr) {
	list, err := i.Addrs()
	if err != nil {
		return v4, v6
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		switch addr := p.Addr().Unmap(); {
		case addr.Is4() && !v4.IsValid():
			v4 = addr
		case addr.Is6() && !v6.IsValid():
			v6 = addr
		}
	}
	return v4, v6
}
