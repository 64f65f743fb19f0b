// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// What the kernel says when it refuses to send is put into the puncher's words: a
// firewall stops it, a network that is gone ends it, and both are over one day.
func TestKernelRefusals(t *testing.T) {
	l := natlab.New(t)
	h, far := l.Site("a", natlab.EIMAPDF), l.Public("far")
	conn, err := h.Listen("udp4", ":4000")
	if err != nil {
		t.Fatal(err)
	}
	there, err := far.Listen("udp4", ":9")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	down := make(chan int, 1)
	s := sock.Open(sock.Config{Conns: []net.PacketConn{conn}, Down: func(i int, _ error) { down <- i }})
	defer s.Close()
	path := sock.Path{Remote: netip.AddrPortFrom(far.Addr(), 9)}
	send := func() error { return s.WriteTo(path, []byte("x")) }
	nft := func(args ...string) {
		t.Helper()
		if out, err := h.Command(t.Context(), "nft", args...).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}

	nft("add table ip wall; add chain ip wall out { type filter hook output priority 0; }; add rule ip wall out udp dport 9 drop")
	if err := send(); err == nil || sendError(err) != nat.SendRefused {
		t.Errorf("behind a firewall: %v", err)
	}
	if s.CanTTL(0) {
		if err := s.WriteTTL(path, []byte("x"), 5); err == nil || sendError(err) != nat.SendRefused {
			t.Errorf("behind a firewall, with a TTL: %v", err)
		}
	}
	nft("delete table ip wall")

	h.Unplug(true)
	if err := send(); err == nil || sendError(err) != nat.SendNoRoute {
		t.Errorf("without an interface: %v", err)
	}
	h.Unplug(false)
	if err := send(); err != nil {
		t.Errorf("after all that: %v", err)
	}
	there.SetReadDeadline(time.Now().Add(20 * time.Second))
	for range 2 {
		if _, _, err := there.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case i := <-down:
		t.Errorf("socket %d was given up", i)
	default:
	}
}

// A punch whose packets the kernel refuses ends at once, and says so.
func TestRefusedPunch(t *testing.T) {
	apd := nat.Behaviour{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent}
	eim := nat.Behaviour{Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent}
	plan := nat.MakePlan(eim, apd, nat.PlanOptions{Friendly: true})
	k := punching{tried: true, plan: plan, end: nat.Refused}
	if got := k.reason(); got != "ports were searched in vain: the system refuses to send" {
		t.Error(got)
	}
}
