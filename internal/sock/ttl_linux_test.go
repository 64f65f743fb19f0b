// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// One datagram has the TTL that was asked for, the next one the socket's own.
func TestWriteTTL(t *testing.T) {
	for _, c := range []struct{ network, addr string }{{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}} {
		to, err := net.ListenPacket(c.network, c.addr)
		if err != nil {
			t.Logf("%s: %v", c.network, err)
			continue
		}
		defer to.Close()
		conn, err := net.ListenPacket(c.network, c.addr)
		if err != nil {
			t.Fatal(err)
		}
		s := Open(Config{Conns: []net.PacketConn{conn}})
		defer s.Close()
		to.SetReadDeadline(time.Now().Add(20 * time.Second))
		read := ttlReader(t, to, c.network == "udp4")
		path := Path{Remote: addrPort(to.LocalAddr())}
		if !s.CanTTL(0) {
			t.Fatal("can't")
		}
		if err := s.WriteTTL(path, []byte("low"), 5); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteTo(path, []byte("usual")); err != nil {
			t.Fatal(err)
		}
		if low, usual := read(), read(); low != 5 || usual <= 5 {
			t.Errorf("%s: TTL %d, then %d", c.network, low, usual)
		}
		if _, sent := s.Traffic(); sent != 8 {
			t.Errorf("%d bytes counted", sent)
		}
	}
}

// ttlReader returns a function that reads a datagram and returns its TTL.
func ttlReader(t *testing.T, c net.PacketConn, v4 bool) func() int {
	t.Helper()
	b := make([]byte, 100)
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	if v4 {
		p := ipv4.NewPacketConn(c)
		check(p.SetControlMessage(ipv4.FlagTTL, true))
		return func() int {
			_, cm, _, err := p.ReadFrom(b)
			check(err)
			return cm.TTL
		}
	}
	p := ipv6.NewPacketConn(c)
	check(p.SetControlMessage(ipv6.FlagHopLimit, true))
	return func() int {
		_, cm, _, err := p.ReadFrom(b)
		check(err)
		return cm.HopLimit
	}
}

// What is no socket of the system's can't, and sends nothing.
func TestWriteTTLUnsupported(t *testing.T) {
	n := newMemNet()
	a, b := n.listen("192.0.2.1:1"), n.listen("192.0.2.2:2")
	s := Open(Config{Conns: []net.PacketConn{a}})
	defer s.Close()
	if s.CanTTL(0) || s.CanTTL(7) {
		t.Error("says that it can")
	}
	if err := s.WriteTTL(Path{Remote: addrPort(b.LocalAddr())}, []byte("x"), 5); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
	if err := s.WriteTTL(Path{Local: 7}, []byte("x"), 5); !errors.Is(err, ErrLocal) {
		t.Errorf("error %v", err)
	}
	if len(b.in) > 0 {
		t.Error("something was sent")
	}
}
