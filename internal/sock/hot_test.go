// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"net"
	"sync"
	"testing"
)

// hot is a socket on loopback with a peer that is the socket itself, and the
// steps of the packet path, each for one packet.
type hot struct {
	s     *Socket
	peer  *Peer
	path  Path
	media chan struct{}
	b     []byte
}

func newHot(t testing.TB) *hot {
	h := &hot{media: make(chan struct{}, 1), b: make([]byte, 2048)}
	h.s = Open(Config{
		Conns: []net.PacketConn{listenUDP(t, "udp4", "127.0.0.1:0")},
		Media: func(Path, []byte) MediaKind { h.media <- struct{}{}; return Genuine },
		STUN:  func(Path, []byte) {},
	})
	t.Cleanup(func() { h.s.Close() })
	h.path = Path{0, h.s.LocalAddr(0)}
	h.peer = h.s.NewPeer()
	h.peer.Bind(h.path)
	h.peer.Use(h.path)
	return h
}

// receive puts a datagram in as the reader does.
func (h *hot) receive(b []byte) {
	buf := h.s.pool.get()
	buf.n = copy(buf.b[:], b)
	if !h.s.receive(h.path, buf) {
		h.s.pool.put(buf)
	}
}

func (h *hot) quicIn(b []byte) {
	h.receive(b)
	if _, _, err := h.s.quic.ReadFrom(h.b); err != nil {
		panic(err)
	}
}

func (h *hot) mediaIn(b []byte) {
	h.receive(b)
	<-h.media
}

// mediaLoop sends media over the kernel and waits for it.
func (h *hot) mediaLoop(b []byte) {
	if err := h.peer.Send(b); err != nil {
		panic(err)
	}
	<-h.media
}

// quicLoop does the same for QUIC, the copy for a replay included.
func (h *hot) quicLoop(b []byte) {
	if _, err := h.s.quic.WriteTo(b, h.peer.Addr()); err != nil {
		panic(err)
	}
	if _, _, err := h.s.quic.ReadFrom(h.b); err != nil {
		panic(err)
	}
}

var hotSteps = []struct {
	name   string
	packet func() []byte
	step   func(h *hot, b []byte)
}{
	{"quic in", func() []byte { return append([]byte{0x40}, make([]byte, 1199)...) }, (*hot).quicIn},
	{"media in", func() []byte { return append([]byte{128}, make([]byte, 107)...) }, (*hot).mediaIn},
	{"probe in", func() []byte { return message(0x0101, attr(0x0020, address(8, 1)), attr(0x0008, zeros(20))) }, (*hot).receive},
	{"media out and in", func() []byte { return append([]byte{128}, make([]byte, 107)...) }, (*hot).mediaLoop},
	{"quic out and in", func() []byte { return append([]byte{0x40}, make([]byte, 1199)...) }, (*hot).quicLoop},
}

func TestNoAllocationPerPacket(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	h := newHot(t)
	for _, c := range hotSteps {
		b := c.packet()
		if n := testing.AllocsPerRun(500, func() { c.step(h, b) }); n >= 1 {
			t.Errorf("%s: %.2f allocations a packet", c.name, n)
		}
	}
	// A stranger's packet costs none either.
	h.peer.Unbind(h.path)
	b := shortHeader()
	if n := testing.AllocsPerRun(500, func() { h.receive(b) }); n >= 1 {
		t.Errorf("stranger: %.2f allocations a packet", n)
	}
	// Nor does a connection that isn't a *net.UDPConn.
	s, _, peers, _ := world("192.0.2.1:9")
	defer s.Close()
	p := s.NewPeer()
	p.Use(to("192.0.2.1:9"))
	peers[0].Close() // memNet copies what it delivers
	delete(peers[0].net.conns, addrPort(peers[0].addr))
	if n := testing.AllocsPerRun(500, func() { _ = p.Send(b) }); n >= 1 {
		t.Errorf("other connection: %.2f allocations a packet", n)
	}
}

func BenchmarkSock(b *testing.B) {
	h := newHot(b)
	for _, c := range hotSteps {
		b.Run(c.name, func(b *testing.B) {
			p := c.packet()
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				c.step(h, p)
			}
		})
	}
}

// BenchmarkUDP is what the kernel alone takes for the last two.
func BenchmarkUDP(b *testing.B) {
	c := listenUDP(b, "udp4", "127.0.0.1:0")
	defer c.Close()
	to := addrPort(c.LocalAddr())
	p := make([]byte, 1200)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := c.WriteToUDPAddrPort(p, to); err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.ReadFromUDPAddrPort(p); err != nil {
			b.Fatal(err)
		}
	}
}

// Everything at once, for the race detector; at the end nothing is left.
func TestEverythingAtOnce(t *testing.T) {
	a, b := listenUDP(t, "udp4", "127.0.0.1:0"), listenUDP(t, "udp4", "127.0.0.1:0")
	s := Open(Config{
		Conns: []net.PacketConn{a, b},
		STUN:  func(Path, []byte) {},
		Media: func(Path, []byte) MediaKind { return Voice },
		Down:  func(int, error) {},
	})
	paths := []Path{{0, s.LocalAddr(1)}, {1, s.LocalAddr(0)}, {0, s.LocalAddr(0)}}
	var wg, reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := s.QUIC().ReadFrom(buf)
			if err != nil {
				return
			}
			if p := s.PeerAt(from); p != nil {
				p.Confirm(nil)
			}
		}
	})
	known := s.NewPeer()
	for g := range 6 {
		wg.Go(func() {
			for i := range 300 {
				path := paths[(g+i)%len(paths)]
				p := s.NewPeer()
				p.Use(path, paths...)
				p.Bind(path)
				for _, d := range [][]byte{{128, 0}, message(0x0001), initial(version1), killer} {
					_ = s.WriteTo(path, d)
				}
				_ = p.Send([]byte{129, 1})
				_, _ = s.QUIC().WriteTo(shortHeader(), p.Addr())
				p.Replay(path, 4)
				p.Trim(s.at(s.now()))
				_, _, _ = p.Route()
				_, _, _, _ = p.Heard(path), p.Paths(), s.Provisional(), s.Dropped()
				if i%3 == 0 {
					p.Confirm(known)
				}
				p.Unbind(path)
				p.Close()
			}
		})
	}
	wg.Wait()
	a.Close()
	known.Close()
	s.Close()
	reader.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.bound { // strangers that were confirmed
		if at.peer.Closed() {
			t.Error("a closed peer has a binding")
		}
	}
	if s.provisional.Len()+s.known != len(s.virtual) {
		t.Errorf("%d provisional and %d known peers at %d addresses", s.provisional.Len(), s.known, len(s.virtual))
	}
}
