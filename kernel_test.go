// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/nat"
)

// kernelNode starts a node on a host of the laboratory of real NATs.
func kernelNode(t *testing.T, h *natlab.Host, join []string) *Node {
	t.Helper()
	open := func(ipv4 bool, port uint16) (net.PacketConn, error) {
		if ipv4 {
			return h.Listen("udp4", netip.AddrPortFrom(h.Addr(), port).String())
		}
		return h.Listen("udp6", netip.AddrPortFrom(h.Addr6(), port).String())
	}
	conn, err := open(true, 4000)
	if err != nil {
		t.Fatal(err)
	}
	conns := []net.PacketConn{conn}
	if h.Addr6().IsValid() {
		if conn, err = open(false, 4000); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	n, err := newNode(Config{Dir: t.TempDir(), Name: h.Name(), Join: join, NoPortMap: true, Logger: testLog(t, h.Name())}, conns, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// kernelPairs are sites between which a direct path is promised (design §5).
// The first few run always, one for each method; all with P2POS_LONG.
var kernelPairs = [...]struct {
	a, b natlab.Kind
	long bool
}{
	{natlab.EIMAPDF, natlab.EIMAPDF, false},  // simultaneous
	{natlab.EIMEIF, natlab.APDM, false},      // just send
	{natlab.EIMAPDF, natlab.APDM, false},     // search, full range
	{natlab.CGN, natlab.EIMAPDF, false},      // search in a block, two layers
	{natlab.ADMBlock, natlab.ADMBlock, true}, // sweep
	{natlab.APDM, natlab.EIMAPDF, true},
	{natlab.APDMBlock, natlab.EIMAPDF, true},
	{natlab.EIMAPDF, natlab.APDMBlock, true},
	{natlab.APDM, natlab.EIMEIF, true},
	{natlab.EIMADF, natlab.APDM, true},
	{natlab.EIMRandom, natlab.EIMRandom, true},
	{natlab.EIMAPDF, natlab.CGN, true},
	{natlab.CGNBox, natlab.APDM, true},
	{natlab.Open, natlab.APDM, true},
	{natlab.APDM, natlab.Open, true},
	{natlab.IPv6Firewalled, natlab.IPv6Firewalled, true}, // both send first
}

// Whole nodes call each other through the kernel's own NATs, 20 ms one way.
func TestKernelNATs(t *testing.T) {
	natlab.Need(t)
	for _, p := range kernelPairs {
		if p.long && os.Getenv("P2POS_LONG") == "" {
			continue
		}
		t.Run(string(p.a)+" calls "+string(p.b), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			l := natlab.New(t)
			var join []string
			for _, name := range []string{"p1", "p2", "p3", "p4"} {
				n := kernelNode(t, l.Public(name), join)
				for _, to := range join {
					if _, err := n.ov.Dial(ctx, netip.MustParseAddrPort(to)); err != nil {
						t.Fatal(err)
					}
				}
				join = append(join, n.Status().Listen[0].String())
			}
			a, b := kernelNode(t, l.Site("a", p.a), join), kernelNode(t, l.Site("b", p.b), join)
			for _, n := range []*Node{a, b} {
				await(ctx, t, n)
			}
			callDirect(ctx, t, a, b)
		})
	}
}

// callDirect has one node call another by ticket, hear it, and get a direct path.
func callDirect(ctx context.Context, t *testing.T, a, b *Node) {
	t.Helper()
	incoming := b.Incoming(ctx)
	go func() {
		for c := range incoming {
			c.Answer()
			_, out := c.Tracks()
			for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	start := time.Now()
	call, err := a.Call(ctx, mustTicket(t, b), nil)
	if err != nil {
		t.Fatalf("%v (%v calls %v)", err, a.NAT().Behaviour.Mapping, b.NAT().Behaviour.Mapping)
	}
	if err := call.Answered(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("answered after %v, %s, %v", time.Since(start).Round(time.Millisecond), call.Path().Kind, call.Path().Remote)
	in, _ := call.Tracks()
	var f media.Frame
	for heard := 0; heard < 10; {
		if err := in.ReadFrame(ctx, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Payload) > 0 {
			heard++
		}
	}
	for call.Path().Kind != "direct" {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("path is %+v", call.Path())
		}
	}
	t.Logf("direct after %v", time.Since(start).Round(time.Millisecond))
	call.HangUp()
}

// A router that takes what comes from outside for itself moves the port that the
// peer aims at, when a packet of the peer's is early (internal/natlab, Kernel). A
// call by ticket must not be that packet.
func TestKernelEarlyPacket(t *testing.T) {
	natlab.Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := natlab.New(t)
	l.SetHops(10) // as far as the Internet is wide: low TTLs end on the way
	var join []string
	for _, name := range []string{"p1", "p2", "p3", "p4"} {
		n := kernelNode(t, l.Public(name), join)
		for _, to := range join {
			if _, err := n.ov.Dial(ctx, netip.MustParseAddrPort(to)); err != nil {
				t.Fatal(err)
			}
		}
		join = append(join, n.Status().Listen[0].String())
	}
	spec := natlab.Spec{Kernel: &natlab.Kernel{AcceptInput: true}}
	a, b := kernelNode(t, l.Build("a", spec), join), kernelNode(t, l.Build("b", spec), join)
	for _, n := range []*Node{a, b} {
		await(ctx, t, n)
	}
	callDirect(ctx, t, a, b)
}

// await waits until a node knows what NAT it is behind.
func await(ctx context.Context, t *testing.T, n *Node) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if b := n.NAT().Behaviour; b.Mapping != nat.UnknownDependence && b.Filtering != nat.UnknownDependence {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no verdict: %+v", n.NAT())
		}
	}
}
