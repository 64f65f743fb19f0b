// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

type down struct {
	local int
	err   error
	at    time.Duration
}

func TestReadErrors(t *testing.T) {
	strange := errors.New("strange")
	for _, c := range []struct {
		name   string
		err    error
		times  int
		down   bool
		within time.Duration
	}{
		{"refused now and then", syscall.ECONNREFUSED, quickErrors, false, 0},
		{"refused for ever", &net.OpError{Op: "read", Err: syscall.ECONNREFUSED}, 500, false, 30 * time.Second},
		{"somebody's deadline", &net.OpError{Op: "read", Err: timeout{}}, 100, false, 10 * time.Second},
		{"strange for a moment", strange, maxStrange - 1, false, time.Second},
		{"strange for good", strange, maxStrange, true, time.Second},
		{"end of file", io.EOF, 1, true, 0},
		{"closed", &net.OpError{Op: "read", Err: net.ErrClosed}, 1, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var downs []down
				var heard []time.Duration
				network := newMemNet()
				a, b := network.listen("192.0.2.9:1"), network.listen("192.0.2.9:2")
				s := Open(Config{
					Conns: []net.PacketConn{b, a},
					STUN:  func(p Path, _ []byte) { heard = append(heard, time.Since(start)) },
					Down:  func(local int, err error) { downs = append(downs, down{local, err, time.Since(start)}) },
				})
				for range 2 { // what comes between makes good
					for range c.times {
						a.feed("192.0.2.1:9", nil, c.err)
					}
					a.feed("192.0.2.1:9", message(0x0001), nil)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				err := s.WriteTo(Path{1, source(1)}, []byte{128})
				if !c.down {
					if len(downs) != 0 || len(heard) != 2 || heard[0] > c.within || err != nil {
						t.Errorf("down %v, heard %v, write %v", downs, heard, err)
					}
				} else {
					if len(downs) != 1 || downs[0].local != 1 || !errors.Is(downs[0].err, c.err) || downs[0].at > c.within || len(heard) != 0 {
						t.Errorf("down %v, heard %v", downs, heard)
					}
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("write on a dead connection: %v", err)
					}
				}
				before := len(heard)
				b.feed("192.0.2.1:9", message(0x0001), nil) // the other one goes on
				synctest.Wait()
				if len(heard) != before+1 {
					t.Error("the other connection doesn't hear any more")
				}
				before = len(downs)
				s.Close()
				if len(downs) != before {
					t.Error("Down called because of Close")
				}
			})
		})
	}
}

type timeout struct{}

func (timeout) Error() string   { return "timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// Close ends a pause between errors, calls nobody, and may be called twice.
func TestCloseDuringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newMemNet().listen("192.0.2.9:1")
		s := Open(Config{Conns: []net.PacketConn{conn}, Down: func(int, error) { t.Error("Down because of Close") }})
		for range 100 {
			conn.feed("192.0.2.1:9", nil, syscall.ECONNREFUSED)
		}
		time.Sleep(100 * time.Millisecond) // in the middle of one
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if _, _, err := s.QUIC().ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadFrom after Close: %v", err)
		}
		if err := s.WriteTo(to("192.0.2.1:9"), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo after Close: %v", err)
		}
	})
}

// Close waits for a callback that is still running.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newMemNet().listen("192.0.2.9:1")
		release, closed := make(chan struct{}), make(chan struct{})
		s := Open(Config{Conns: []net.PacketConn{conn}, STUN: func(Path, []byte) { <-release }})
		conn.feed("192.0.2.1:9", message(0x0001), nil)
		synctest.Wait()
		go func() { s.Close(); close(closed) }()
		synctest.Wait()
		if isClosed(closed) {
			t.Error("Close did not wait")
		}
		close(release)
		<-closed
	})
}

func TestDestinationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, peers, _ := world("192.0.2.1:9")
		defer s.Close()
		for i := range 2*maxDestinations + 1 {
			if err := s.WriteTo(Path{0, source(i)}, []byte{128}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.local(0).destinations); n > maxDestinations {
			t.Errorf("%d destinations cached", n)
		}
		if err := s.WriteTo(to("192.0.2.1:9"), []byte{128}); err != nil || len(peers[0].in) != 1 {
			t.Errorf("%v, %d arrived", err, len(peers[0].in))
		}
	})
}

// listenUDP returns a socket on loopback, IPv6 too when the test wants it.
func listenUDP(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Skipf("no %s here: %v", network, err)
	}
	return c
}

// A pulled socket is noticed at once, and the others go on; Close leaves no
// goroutine.
func TestPulledSocket(t *testing.T) {
	a, b := listenUDP(t, "udp4", "127.0.0.1:0"), listenUDP(t, "udp4", "127.0.0.1:0")
	downs := make(chan down, 4)
	probes := make(chan Path, 4)
	s := Open(Config{
		Conns: []net.PacketConn{a, b},
		Down:  func(local int, err error) { downs <- down{local, err, 0} },
		STUN:  func(p Path, _ []byte) { probes <- p },
	})
	if s.LocalAddr(0) != addrPort(a.LocalAddr()) || s.LocalAddr(1) != addrPort(b.LocalAddr()) || s.LocalAddr(2).IsValid() || s.LocalAddr(-1).IsValid() {
		t.Errorf("local addresses %v, %v", s.LocalAddr(0), s.LocalAddr(1))
	}
	a.Close()
	if d := <-downs; d.local != 0 || !errors.Is(d.err, net.ErrClosed) {
		t.Errorf("down: %+v", d)
	}
	if err := s.WriteTo(Path{0, s.LocalAddr(1)}, message(0x0001)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write on the pulled socket: %v", err)
	}
	if err := s.WriteTo(Path{1, s.LocalAddr(1)}, message(0x0001)); err != nil {
		t.Error(err)
	}
	if p := <-probes; p != (Path{1, s.LocalAddr(1)}) {
		t.Errorf("probe on %v", p)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(downs) != 0 {
		t.Error("Down called because of Close")
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if strings.Contains(string(stacks), "sock.(*Socket).read(") {
		t.Errorf("a reader is still there:\n%s", stacks)
	}
}

// On a socket for both families an IPv4 peer has its IPv4 address.
func TestDualStack(t *testing.T) {
	dual := listenUDP(t, "udp", "[::]:0")
	four := listenUDP(t, "udp4", "127.0.0.1:0")
	probes := make(chan Path, 4)
	s := Open(Config{Conns: []net.PacketConn{dual, four}, STUN: func(p Path, _ []byte) { probes <- p }})
	defer s.Close()
	port := s.LocalAddr(0).Port()
	loopback := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	if err := s.WriteTo(Path{1, loopback}, message(0x0001)); err != nil {
		t.Fatal(err)
	}
	if p := <-probes; p != (Path{0, s.LocalAddr(1)}) {
		t.Fatalf("probe on %v, want %v", p, Path{0, s.LocalAddr(1)})
	}
	if err := s.WriteTo(Path{0, s.LocalAddr(1)}, message(0x0101)); err != nil {
		t.Fatal(err)
	}
	if p := <-probes; p != (Path{1, loopback}) {
		t.Errorf("answer on %v, want %v", p, Path{1, loopback})
	}
}

// Errors of one datagram don't end a real socket: a port nobody listens on,
// a datagram too long to send, an address of the other family.
func TestRealErrors(t *testing.T) {
	c := listenUDP(t, "udp4", "127.0.0.1:0")
	dead := listenUDP(t, "udp4", "127.0.0.1:0")
	nobody := addrPort(dead.LocalAddr())
	dead.Close()
	probes := make(chan Path, 1)
	s := Open(Config{
		Conns: []net.PacketConn{c},
		STUN:  func(p Path, _ []byte) { probes <- p },
		Down:  func(_ int, err error) { t.Errorf("down: %v", err) },
	})
	defer s.Close()
	p := s.NewPeer()
	for range 40 {
		_ = s.WriteTo(Path{0, nobody}, message(0x0001))
		p.Use(Path{0, nobody})
		_, err := s.QUIC().WriteTo(shortHeader(), p.Addr())
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WriteTo(Path{0, nobody}, make([]byte, 70_000)); err == nil {
		t.Error("70,000 bytes sent in a datagram")
	}
	if err := s.WriteTo(Path{0, netip.MustParseAddrPort("[::1]:9")}, []byte{128}); err == nil {
		t.Error("sent to IPv6 from an IPv4 socket")
	}
	if err := s.WriteTo(Path{0, s.LocalAddr(0)}, message(0x0001)); err != nil {
		t.Fatal(err)
	}
	<-probes
}
