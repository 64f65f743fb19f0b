// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/sock"
)

// coturn starts a real server with two addresses and two ports.
func coturn(t *testing.T) netip.AddrPort {
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("no turnserver here (Debian package coturn)")
	}
	for _, a := range []string{"127.0.0.2", "127.0.0.3"} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(a)})
		if err != nil {
			t.Skipf("this system has no loopback address %s: %v", a, err)
		}
		c.Close()
	}
	port := 20000 + rand.IntN(20000)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-n", "-z", "-L", "127.0.0.1", "-L", "127.0.0.2",
		"--listening-port", fmt.Sprint(port), "--alt-listening-port", fmt.Sprint(port+1),
		"--no-tcp", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed
	})
	server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))

	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1500)
	for range 100 {
		_, _ = c.WriteToUDPAddrPort(appendHeader(nil, typeRequest, 0, [12]byte{1}), server)
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(buf); err == nil {
			return server
		}
	}
	t.Fatal("turnserver does not answer")
	return server
}

// realBox is a simulated NAT between the check and real sockets: one on
// 127.0.0.3 for each of its outside ports.
type realBox struct {
	t    *testing.T
	box  *simnet.Box
	in   chan realPacket // capacity 64: a check has few packets under way
	wg   sync.WaitGroup
	mu   sync.Mutex // also of box
	outs map[netip.AddrPort]*net.UDPConn
}

type realPacket struct {
	local int
	from  netip.AddrPort
	b     []byte
}

func (r *realBox) send(local int, to netip.AddrPort, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.box.Outbound(time.Now(), netip.AddrPortFrom(insideAddr, uint16(5000+local)), to)
	if v.Drop != 0 {
		return
	}
	c := r.outs[v.From]
	if c == nil {
		var err error
		if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(v.From)); err != nil {
			r.t.Errorf("binding the box's port: %v", err)
			return
		}
		r.outs[v.From] = c
		r.wg.Go(func() { r.read(c, v.From) })
	}
	_, _ = c.WriteToUDPAddrPort(b, to)
}

func (r *realBox) read(c *net.UDPConn, out netip.AddrPort) {
	for {
		b := make([]byte, 1500)
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		v := r.box.Inbound(time.Now(), from, out)
		r.mu.Unlock()
		if v.Drop == 0 {
			r.in <- realPacket{int(v.To.Port()) - 5000, from, b[:n]}
		}
	}
}

func (r *realBox) close() {
	r.mu.Lock()
	for _, c := range r.outs {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// TestServerCheckCoturn checks all kinds of boxes with a real server.
func TestServerCheckCoturn(t *testing.T) {
	server := coturn(t)
	t.Run("boxes", func(t *testing.T) { // the server lives until all are done
		for m := simnet.EndpointIndependent; m <= simnet.AddressAndPortDependent; m++ {
			for f := simnet.EndpointIndependent; f <= simnet.AddressAndPortDependent; f++ {
				t.Run(fmt.Sprintf("%v/%v", m, f), func(t *testing.T) {
					t.Parallel()
					low := 41000 + 2000*int(m) + 600*int(f) // the kernel's own ports are elsewhere, mostly
					r := &realBox{t: t, in: make(chan realPacket, 64), outs: map[netip.AddrPort]*net.UDPConn{}}
					r.box = simnet.NewBox(simnet.NATConfig{
						Pool: []netip.Addr{netip.MustParseAddr("127.0.0.3")}, Mapping: m, Filtering: f,
						Ports: simnet.Random, Block: [2]uint16{uint16(low), uint16(low + 500)},
					}, rand.New(rand.NewPCG(1, 2)), time.Now())
					defer r.close()
					got := checkThrough(r, server)
					want := ServerResult{Mapping: EndpointIndependent + Dependence(m), Filtering: EndpointIndependent + Dependence(f)}
					if got.Mapping != want.Mapping || got.Filtering != want.Filtering || got.Seen.Addr() != netip.MustParseAddr("127.0.0.3") {
						t.Errorf("found %+v, want %+v", got, want)
					}
				})
			}
		}
	})
}

// checkThrough runs a check whose clock stands still while packets are under
// way, and jumps when nothing comes for a while.
func checkThrough(r *realBox, server netip.AddrPort) ServerResult {
	const quiet = 300 * time.Millisecond
	now := epoch
	s := NewServerCheck(now, server)
	for {
		for {
			d, ok := s.Poll()
			if !ok {
				break
			}
			r.send(d.Path.Local, d.Path.Remote, d.B)
		}
		got, done := s.Result()
		if done {
			return got
		}
		select {
		case p := <-r.in:
			s.Receive(now, sock.Path{Local: p.local, Remote: p.from}, p.b)
		case <-time.After(quiet):
			now = s.Deadline()
			s.Advance(now)
		}
	}
}
