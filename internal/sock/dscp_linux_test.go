// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Media has the mark, relayed media too, and nothing else has: as the receiver's
// kernel sees it.
func TestDSCP(t *testing.T) {
	for _, c := range []struct {
		network, addr string
		level, option int
	}{
		{"udp4", "127.0.0.1:0", unix.IPPROTO_IP, unix.IP_RECVTOS},
		{"udp6", "[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS},
	} {
		to, err := net.ListenPacket(c.network, c.addr)
		if err != nil {
			t.Logf("%s: %v", c.network, err)
			continue
		}
		defer to.Close()
		raw, err := to.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), c.level, c.option, 1) })
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket(c.network, c.addr)
		if err != nil {
			t.Fatal(err)
		}
		s := Open(Config{Conns: []net.PacketConn{conn}, DSCP: 46})
		defer s.Close()
		to.SetReadDeadline(time.Now().Add(20 * time.Second))
		for _, p := range []struct {
			what string
			b    []byte
			want byte
		}{
			{"media", []byte{0x80, 1, 2}, 46 << 2},
			{"QUIC", []byte{0x40, 1, 2}, 0},
			{"relayed media", []byte{4, 0, 0, 0, 1, 0x90, 3}, 46 << 2},
			{"media over two relays", []byte{4, 0, 0, 0, 1, 4, 0, 0, 0, 2, 0x90, 3}, 46 << 2},
			{"a relayed probe", []byte{4, 0, 0, 0, 1, 0, 1}, 0},
			{"STUN", make([]byte, 20), 0},
			{"nothing", nil, 0},
		} {
			if err := s.WriteTo(Path{Remote: addrPort(to.LocalAddr())}, p.b); err != nil {
				t.Fatal(err)
			}
			b, oob := make([]byte, 100), make([]byte, 100)
			_, n, _, _, err := to.(*net.UDPConn).ReadMsgUDP(b, oob)
			if err != nil {
				t.Fatal(err)
			}
			list, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			if got := list[0].Data[0]; got != p.want {
				t.Errorf("%s, %s: mark %d, want %d", c.network, p.what, got, p.want)
			}
		}
	}
}
