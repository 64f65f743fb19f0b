// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/nat"
)

// stunServer is an RFC 5780 server with two addresses and two ports.
type stunServer struct {
	conns [2][2]net.PacketConn // by address and port
	asked atomic.Int64
}

// stunServer starts one in the simulated world.
func (s *sim) stunServer() (*stunServer, string) {
	var srv stunServer
	for i := range 2 {
		var h *simnet.Host
		s.net.Do(func(w *simnet.World) { h = w.Host("stun", access, netip.AddrFrom4([4]byte{47, 0, 0, byte(1 + i)})) })
		for j := range 2 {
			srv.conns[i][j] = s.listen(h, uint16(3478+j))
		}
	}
	for i := range 2 {
		for j := range 2 {
			s.wg.Go(func() { srv.serve(i, j) })
		}
	}
	return &srv, srv.conns[0][0].LocalAddr().String()
}

func (srv *stunServer) serve(i, j int) {
	const cookie = 0x2112a442
	b := make([]byte, 1500)
	for {
		n, from, err := srv.conns[i][j].ReadFrom(b)
		if err != nil {
			return
		}
		q := b[:n]
		if n < 20 || binary.BigEndian.Uint16(q) != 1 {
			continue
		}
		srv.asked.Add(1)
		oi, oj := i, j
		if n == 28 && binary.BigEndian.Uint16(q[20:]) == 3 { // CHANGE-REQUEST
			oi, oj = i^int(q[27]>>2&1), j^int(q[27]>>1&1)
		}
		a := binary.BigEndian.AppendUint16(nil, 0x0101)
		a = append(binary.BigEndian.AppendUint16(a, 36), q[4:20]...)
		attr := func(typ uint16, at netip.AddrPort, mask uint32) {
			ip := at.Addr().As4()
			a = append(binary.BigEndian.AppendUint16(a, typ), 0, 8, 0, 1)
			a = binary.BigEndian.AppendUint16(a, at.Port()^uint16(mask>>16))
			a = binary.BigEndian.AppendUint32(a, binary.BigEndian.Uint32(ip[:])^mask)
		}
		at := func(i, j int) netip.AddrPort { return srv.conns[i][j].LocalAddr().(*net.UDPAddr).AddrPort() }
		attr(0x0020, from.(*net.UDPAddr).AddrPort(), cookie)
		attr(0x802b, at(oi, oj), 0)   // RESPONSE-ORIGIN
		attr(0x802c, at(i^1, j^1), 0) // OTHER-ADDRESS
		srv.conns[oi][oj].WriteTo(a, from)
	}
}

// outsideOf returns the first address in a node's ticket.
func (s *sim) outsideOf(n *Node) netip.AddrPort {
	s.t.Helper()
	t, err := identity.ParseTicket(s.ticket(n), time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return t.Addrs[0]
}

// A node without any neighbour learns its outside address, and what NAT this is,
// from a server; the address stays true for as long as it is alone, and when
// there are neighbours the server is left in peace.
func TestSTUNLone(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		srv, at := s.stunServer()
		h := s.behind("a", simnet.NATConfig{Ports: simnet.Random})
		silent := "47.0.9.9:3478" // is tried first, in vain
		a := s.start("a", Config{STUN: []string{silent, at}}, s.opener(h), s.listen(h, 4000))
		time.Sleep(15 * time.Second) // seven of them are tries in vain
		first := s.outsideOf(a)
		if first.Addr() != netip.MustParseAddr("46.0.0.1") {
			t.Errorf("the ticket names %v", first)
		}
		if b := a.NAT().Behaviour; b.Mapping != nat.EndpointIndependent || b.Filtering != nat.EndpointIndependent || b.Confidence > 0.6 {
			t.Errorf("%v, %v at %.2f", b.Mapping, b.Filtering, b.Confidence)
		}
		time.Sleep(10 * time.Minute) // a mapping lasts two minutes
		if again := s.outsideOf(a); again != first {
			t.Errorf("the address became %v, was %v", again, first)
		}
		public := s.public("b")
		b := s.start("b", Config{Join: []string{first.String()}, STUN: []string{at}}, s.opener(public), s.listen(public, 4000))
		if err := b.Join(t.Context()); err != nil {
			t.Fatalf("by the address in the ticket: %v", err)
		}
		time.Sleep(10 * time.Second)
		if b := b.NAT().Behaviour; b.Mapping != nat.NoNAT {
			t.Errorf("public node: %v", b.Mapping)
		}
		time.Sleep(20 * time.Second)
		before := srv.asked.Load()
		time.Sleep(10 * time.Minute)
		if n := srv.asked.Load() - before; n > 0 {
			t.Errorf("asked %d times though there are neighbours", n)
		}
		for _, row := range srv.conns {
			for _, c := range row {
				c.Close()
			}
		}
	})
}

// Two nodes that are alone, each behind a strict NAT, meet by two tickets pasted
// both ways (design §6).
func TestSTUNTwoTickets(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		srv, at := s.stunServer()
		defer func() {
			for _, c := range slices.Concat(srv.conns[0][:], srv.conns[1][:]) {
				c.Close()
			}
		}()
		box := simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random}
		ha, hb := s.behind("a", box), s.behind("b", box)
		a := s.start("a", Config{STUN: []string{at}}, s.opener(ha), s.listen(ha, 4000))
		time.Sleep(10 * time.Second)
		ticket := s.ticket(a)
		b := s.start("b", Config{STUN: []string{at}, Join: []string{ticket}}, s.opener(hb), s.listen(hb, 4000))
		time.Sleep(5 * time.Second)
		go b.Join(t.Context()) // tries again and again
		ears := s.callee(b)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.converse(call, ears, 2*time.Second)
	})
}

func TestSTUNConfig(t *testing.T) {
	if _, err := New(Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", STUN: []string{"stun.invalid"}}); err == nil {
		t.Error("a server without a port is taken")
	}
}
