// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// world is one socket under test at 192.0.2.9:1 and peers' conns beside it.
func world(addrs ...string) (s *Socket, conn *memConn, peers []*memConn, network *memNet) {
	network = newMemNet()
	conn = network.listen("192.0.2.9:1")
	s = Open(Config{Conns: []net.PacketConn{conn}, Media: func(_ Path, b []byte) MediaKind { return MediaKind(b[1]) }})
	for _, a := range addrs {
		peers = append(peers, network.listen(a))
	}
	return s, conn, peers, network
}

func TestVirtualAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _, _ := world()
		defer s.Close()
		other, _, _, _ := world()
		defer other.Close()
		seen := map[netip.AddrPort]bool{addrPort(s.QUIC().LocalAddr()): true}
		for range 100 {
			p := s.NewPeer()
			a := addrPort(p.Addr())
			if a.Addr().As16()[0] != 0xfd || seen[a] {
				t.Fatalf("address %v", a)
			}
			seen[a] = true
			if s.PeerAt(p.Addr()) != p || s.PeerAt(net.UDPAddrFromAddrPort(a)) != p {
				t.Error("not found at its address")
			}
			if other.PeerAt(p.Addr()) != nil {
				t.Error("another socket knows the address")
			}
		}
		if s.PeerAt(nil) != nil || s.PeerAt(&net.TCPAddr{}) != nil || s.PeerAt(s.QUIC().LocalAddr()) != nil {
			t.Error("found a peer where none is")
		}
	})
}

func TestMaxPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		var last *Peer
		for range MaxPeers {
			last = s.NewPeer()
		}
		if last == nil || s.NewPeer() != nil {
			t.Fatal("the bound on peers doesn't hold")
		}
		conn.feed("192.0.2.1:9", initial(version1), nil)
		synctest.Wait()
		dropped(t, s, map[reason]uint64{peersFull: 1})
		last.Close()
		last.Close()
		if s.NewPeer() == nil || s.NewPeer() != nil {
			t.Error("closing one peer must make room for one")
		}
	})
}

// Send goes to the primary path and the duplicates, and fails only when all do.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addrs := []string{"192.0.2.1:9", "192.0.2.2:9", "192.0.2.3:9", "192.0.2.4:9", "192.0.2.5:9"}
		s, conn, peers, _ := world(addrs...)
		defer s.Close()
		p := s.NewPeer()
		if err := p.Send([]byte{128}); !errors.Is(err, ErrNoPath) {
			t.Errorf("Send without a path: %v", err)
		}
		arrived := func() (n []int) {
			for _, c := range peers {
				n = append(n, len(c.in))
				for range len(c.in) {
					<-c.in
				}
			}
			return n
		}
		for _, c := range []struct {
			primary Path
			also    []Path
			want    []int
			err     error
		}{
			{to(addrs[0]), nil, []int{1, 0, 0, 0, 0}, nil},
			{to(addrs[1]), []Path{to(addrs[0])}, []int{1, 1, 0, 0, 0}, nil},
			{to(addrs[0]), []Path{to(addrs[0]), to(addrs[2]), to(addrs[2])}, []int{1, 0, 1, 0, 0}, nil},
			{to(addrs[0]), []Path{to(addrs[1]), to(addrs[2]), to(addrs[3]), to(addrs[4])}, []int{1, 1, 1, 1, 0}, nil},
			{to("[::ffff:192.0.2.1]:9"), []Path{to(addrs[0])}, []int{1, 0, 0, 0, 0}, nil},
			{Path{7, addrPort(peers[0].addr)}, []Path{to(addrs[1])}, []int{0, 1, 0, 0, 0}, nil},
			{Path{7, addrPort(peers[0].addr)}, nil, []int{0, 0, 0, 0, 0}, ErrLocal},
			{Path{-1, addrPort(peers[0].addr)}, nil, []int{0, 0, 0, 0, 0}, ErrLocal},
		} {
			p.Use(c.primary, c.also...)
			err := p.Send([]byte{128})
			if got := arrived(); !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
				t.Errorf("%v and %v: arrived %v, %v; want %v, %v", c.primary, c.also, got, err, c.want, c.err)
			}
			if n, err := s.QUIC().WriteTo([]byte{0x40}, p.Addr()); n != 1 || err != nil {
				t.Errorf("QUIC learned of %v", err)
			}
			if got := arrived(); !slices.Equal(got, c.want) {
				t.Errorf("QUIC packet arrived %v, want %v", got, c.want)
			}
		}
		dropped(t, s, map[reason]uint64{writeFailed: 2})
		p.Use(to(addrs[0]))
		conn.Close()
		if err := p.Send([]byte{128}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send on a closed connection: %v", err)
		}
		p.Close()
		p.Use(to(addrs[0]))
		p.Bind(to(addrs[0]))
		if err := p.Send([]byte{128}); !errors.Is(err, net.ErrClosed) || len(s.bound) != 0 {
			t.Errorf("Send after Close: %v, %d bindings", err, len(s.bound))
		}
	})
}

func TestBindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		a, b := s.NewPeer(), s.NewPeer()
		from := func(want *Peer) {
			t.Helper()
			before := s.Dropped()[unknownSource.String()]
			conn.feed("192.0.2.1:9", shortHeader(), nil)
			if want == nil {
				synctest.Wait()
				if s.Dropped()[unknownSource.String()] != before+1 {
					t.Error("a stranger's packet got through")
				}
				return
			}
			if _, addr := readQUIC(t, s); addr != want.Addr() {
				t.Errorf("packet from %v, want %v", addr, want.Addr())
			}
		}
		path := to("192.0.2.1:9")
		from(nil)
		a.Bind(path)
		from(a)
		b.Bind(to("[::ffff:192.0.2.1]:9")) // the same path: it moves
		from(b)
		a.Unbind(path) // not a's any more
		from(b)
		b.Unbind(path)
		from(nil)
		a.Bind(path)
		a.Close()
		from(nil)
		if len(a.Paths())+len(b.Paths()) != 0 {
			t.Errorf("paths left: %v, %v", a.Paths(), b.Paths())
		}

		// Above the bound the oldest goes that is not in use, and one bound
		// again counts as new.
		for i := range MaxBound {
			b.Bind(Path{0, source(i)})
		}
		b.Use(Path{0, source(0)}, Path{0, source(2)})
		b.Bind(Path{0, source(1)})
		for i := range 3 {
			b.Bind(Path{0, source(100 + i)})
		}
		if n := len(b.Paths()); n != MaxBound || len(s.bound) != MaxBound {
			t.Errorf("%d paths, %d bindings", n, len(s.bound))
		}
		for i, want := range []bool{true, true, true, false, false, false, true} {
			if got := slices.Contains(b.Paths(), Path{0, source(i)}); got != want {
				t.Errorf("path %d bound: %v, want %v", i, got, want)
			}
		}
	})
}

// Only authentic media counts as heard, and only for the peer it is bound to.
func TestHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		a, b := s.NewPeer(), s.NewPeer()
		path := to("192.0.2.1:9")
		genuine, forged := []byte{128, 1}, []byte{128, 0}
		conn.feed("192.0.2.1:9", genuine, nil) // from nobody's path
		a.Bind(path)
		if !a.Heard(path).IsZero() {
			t.Error("heard before anything came")
		}
		time.Sleep(time.Minute)
		conn.feed("192.0.2.1:9", genuine, nil)
		synctest.Wait()
		at := time.Now()
		time.Sleep(time.Minute)
		conn.feed("192.0.2.1:9", forged, nil)
		synctest.Wait()
		a.Bind(path) // keeps what it knows
		if got := a.Heard(path); !got.Equal(at) {
			t.Errorf("heard at %v, want %v", got, at)
		}
		if !b.Heard(path).IsZero() || !a.Heard(to("192.0.2.2:9")).IsZero() {
			t.Error("heard on another's path")
		}
		b.Bind(path)
		if !a.Heard(path).IsZero() || !b.Heard(path).IsZero() {
			t.Error("a moved path starts unheard")
		}
	})
}

// Voice is counted for each path, copies too, and for the peer without them.
func TestVoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		p, other := s.NewPeer(), s.NewPeer()
		first, second := to("192.0.2.1:9"), to("192.0.2.2:9")
		p.Bind(first)
		p.Bind(second)
		for range 10 {
			conn.feed("192.0.2.1:9", []byte{128, byte(Voice)}, nil)
			conn.feed("192.0.2.2:9", []byte{128, byte(Copy)}, nil)
			conn.feed("192.0.2.1:9", []byte{128, byte(Genuine)}, nil)
			conn.feed("192.0.2.2:9", []byte{128, byte(Forged)}, nil)
		}
		conn.feed("192.0.2.2:9", []byte{128, byte(Voice)}, nil)
		synctest.Wait()
		for _, c := range []struct {
			p         *Peer
			path      Path
			from, all uint64
		}{{p, first, 10, 11}, {p, second, 11, 11}, {p, to("192.0.2.3:9"), 0, 11}, {other, first, 0, 0}} {
			if from, all := c.p.Voice(c.path); from != c.from || all != c.all {
				t.Errorf("%v: %d of %d, want %d of %d", c.path.Remote, from, all, c.from, c.all)
			}
		}
		other.Bind(second)
		if from, all := other.Voice(second); from+all != 0 {
			t.Errorf("a moved path starts with %d of %d", from, all)
		}
	})
}
