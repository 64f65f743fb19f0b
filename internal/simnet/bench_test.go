// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"net/netip"
	"testing"
	"time"
)

// spray sends 160-byte datagrams to a peer as fast as one a microsecond.
type spray struct {
	to   netip.AddrPort
	next time.Time
	b    [160]byte
	left int
	got  int
	send bool
}

func (s *spray) Receive(time.Time, int, netip.AddrPort, []byte) { s.got++ }
func (s *spray) Deadline() time.Time                            { return s.next }

func (s *spray) Advance(now time.Time) {
	if s.left--; s.left < 0 {
		s.next = time.Time{}
		return
	}
	s.send, s.next = true, now.Add(time.Microsecond)
}

func (s *spray) Poll() (int, netip.AddrPort, []byte, bool) {
	ok := s.send
	s.send = false
	return 0, s.to, s.b[:], ok
}

// One op is one datagram from socket to socket, timers included.
func BenchmarkWorld(b *testing.B) {
	for _, boxes := range []bool{false, true} {
		b.Run(map[bool]string{false: "public", true: "two NATs"}[boxes], func(b *testing.B) {
			w := NewWorld(1, epoch)
			p := Profile{Delay: ms(10), Jitter: ms(1), Loss: 0.01}
			nodes := [2]*spray{{}, {}}
			for i, ip := range []string{"45.0.0.1", "45.0.0.2"} {
				var h *Host
				if boxes {
					h = w.NAT(ip, p, NATConfig{
						Pool: []netip.Addr{addr(ip)}, Filtering: AddressAndPortDependent,
					}).Host(ip, Profile{}, addr("192.168.1.2"))
				} else {
					h = w.Host(ip, p, addr(ip))
				}
				h.Attach(4000, nodes[i])
				nodes[1-i].to = netip.AddrPortFrom(addr(ip), 4000)
			}
			b.ReportAllocs()
			for i := range nodes {
				nodes[i].next, nodes[i].left = epoch, b.N/2
				w.Wake(nodes[i])
			}
			b.ResetTimer()
			for w.Step() {
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// One op is one datagram written, carried on the real clock and read.
func BenchmarkConn(b *testing.B) {
	w := NewWorld(1, time.Now())
	n := Start(w)
	defer n.Close()
	x, err := n.Listen(w.Host("x", Profile{}, addr("45.0.0.1")), 1)
	if err != nil {
		b.Fatal(err)
	}
	y, err := n.Listen(w.Host("y", Profile{}, addr("45.0.0.2")), 1)
	if err != nil {
		b.Fatal(err)
	}
	to := at("45.0.0.2:1")
	buf := make([]byte, 1200)
	b.ReportAllocs()
	for b.Loop() {
		x.WriteToUDPAddrPort(buf, to)
		if _, _, err := y.ReadFromUDPAddrPort(buf); err != nil {
			b.Fatal(err)
		}
	}
}
