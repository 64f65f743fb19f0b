// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"errors"
	"net"
	"testing"
)

// Connections come and go while others are in use: their numbers, bindings and
// readers with them, and Down is not called for one that was removed.
func TestAddRemove(t *testing.T) {
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	got := make(chan Path, 16)
	s := Open(Config{
		Conns: []net.PacketConn{listen()},
		STUN:  func(p Path, _ []byte) { got <- p },
		Down:  func(local int, err error) { t.Errorf("down: %d %v", local, err) },
	})
	defer s.Close()
	far := listen()
	defer far.Close()
	probe := message(0x0001)
	for range 3 {
		c := listen()
		addr := c.LocalAddr().(*net.UDPAddr).AddrPort()
		i, err := s.Add(c)
		if err != nil || i == 0 || s.LocalAddr(i) != addr {
			t.Fatal(i, err)
		}
		if _, err := far.WriteToUDPAddrPort(probe, addr); err != nil {
			t.Fatal(err)
		}
		path := <-got
		if path.Local != i {
			t.Errorf("came to %d, want %d", path.Local, i)
		}
		if err := s.WriteTo(path, probe); err != nil {
			t.Error(err)
		}
		p := s.NewPeer()
		p.Bind(path)
		s.Remove(i)
		if len(p.Paths()) != 0 || s.binding(path) != nil {
			t.Error("a binding outlived its connection")
		}
		if err := s.WriteTo(path, probe); !errors.Is(err, ErrLocal) {
			t.Errorf("write to a removed connection: %v", err)
		}
		p.Close()
	}
	s.Remove(0) // the node's own stay
	if !s.LocalAddr(0).IsValid() {
		t.Error("the first connection was removed")
	}
	if in, out := s.Traffic(); in != uint64(3*len(probe)) || out != uint64(3*len(probe)) {
		t.Errorf("%d in, %d out", in, out)
	}
	s.Close()
	if _, err := s.Add(listen()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("add after close: %v", err)
	}
}
