// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// hops is the hop limit of mDNS (RFC 6762 §11).
const hops = 255

// socket speaks mDNS over one address family, on all interfaces.
type socket interface {
	join(*net.Interface) error
	// read returns the index of the interface as well, 0 where the system
	// doesn't tell (Windows).
	read(b []byte) (n, index int, from netip.AddrPort, err error)
	// write sends to an address, or with a zero one to the group. Only one
	// goroutine may write.
	write(b []byte, via *net.Interface, to netip.AddrPort) error
	Close() error
}

var (
	_ socket = socket4{}
	_ socket = socket6{}
)

// group4 and group6 are mDNS's groups (RFC 6762 §3).
func group4() *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port} }
func group6() *net.UDPAddr { return &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: port} }

// target is where a message goes.
func target(group *net.UDPAddr, to netip.AddrPort) net.Addr {
	if !to.IsValid() {
		return group
	}
	return net.UDPAddrFromAddrPort(to)
}

type socket4 struct{ *ipv4.PacketConn }

// open4 listens beside whoever else does: for a group Go opens a wildcard
// address that may be shared.
func open4() (socket, error) {
	c, err := net.ListenUDP("udp4", group4())
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(c)
	p.SetControlMessage(ipv4.FlagInterface, true) // else the source tells
	p.SetMulticastTTL(hops)
	p.SetTTL(hops)
	p.SetMulticastLoopback(true) // for other nodes on this computer
	return socket4{p}, nil
}

func (s socket4) join(i *net.Interface) error {
	return s.JoinGroup(i, &net.UDPAddr{IP: group4().IP})
}

func (s socket4) read(b []byte) (n, index int, from netip.AddrPort, err error) {
	n, cm, src, err := s.ReadFrom(b)
	if u, ok := src.(*net.UDPAddr); ok {
		from = u.AddrPort()
	}
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, from, err
}

func (s socket4) write(b []byte, via *net.Interface, to netip.AddrPort) error {
	if err := s.SetMulticastInterface(via); err != nil {
		return err
	}
	_, err := s.WriteTo(b, nil, target(group4(), to))
	return err
}

type socket6 struct{ *ipv6.PacketConn }

func open6() (socket, error) {
	c, err := net.ListenUDP("udp6", group6())
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(c)
	p.SetControlMessage(ipv6.FlagInterface, true)
	p.SetMulticastHopLimit(hops)
	p.SetHopLimit(hops)
	p.SetMulticastLoopback(true)
	return socket6{p}, nil
}

func (s socket6) join(i *net.Interface) error {
	return s.JoinGroup(i, &net.UDPAddr{IP: group6().IP})
}

func (s socket6) read(b []byte) (n, index int, from netip.AddrPort, err error) {
	n, cm, src, err := s.ReadFrom(b)
	if u, ok := src.(*net.UDPAddr); ok {
		from = u.AddrPort()
	}
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, from, err
}

func (s socket6) write(b []byte, via *net.Interface, to netip.AddrPort) error {
	if err := s.SetMulticastInterface(via); err != nil {
		return err
	}
	_, err := s.WriteTo(b, nil, target(group6(), to))
	return err
}
