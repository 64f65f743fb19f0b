// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/p2pos/p2pos/internal/simnet"
)

// TestPoison: a peer that is early spoils the mapping it aims at, for every
// destination, where the gateway's input filter lets its packet make a
// conntrack entry, and does no harm where the packet is dropped.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		t.Run(map[bool]string{false: "input drop", true: "input accept"}[accept], func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			h := r.Build("host", Spec{Kernel: &Kernel{AcceptInput: accept}})
			c, other := r.open(h, 20010), r.open(h, 0)
			aim := netip.AddrPortFrom(h.Site().Addr(), 20010)
			m := r.observe(other, r.x1)
			r.send(r.x1, aim)
			r.wait(other, r.send(r.x1, m)) // by the same way, so the early one has been there

			first := r.observe(c, r.x1)
			if moved := first != aim; moved != accept {
				t.Errorf("the mapping is %v, inside %v", first, c.at)
			}
			if second := r.observe(c, r.y1); second != first {
				t.Errorf("the mapping is %v to another host, %v to the early one", second, first)
			}
		})
	}
}

// TestInRange: a source port that lies in the range of a NAT is kept; so who knows the
// range chooses the outside port. Not so with fully-random.
func TestInRange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, random := r.Site("plain", EIMRange), r.Site("random", APDMBlock)
	kept := 0
	for port := 20100; port < 20104; port++ {
		c := r.open(plain, port)
		for _, s := range []*sock{r.x1, r.x2, r.y1} {
			if m := r.observe(c, s); m.Port() != uint16(port) {
				t.Errorf("port %d is %v at %v", port, m, s.at)
			}
		}
		if r.observe(r.open(random, port), r.x1).Port() == uint16(port) {
			kept++
		}
	}
	if kept == 4 { // by chance once in 512⁴
		t.Error("fully-random keeps ports")
	}
}

// TestTaken: a preserved port is one of many wishes; the second host that
// wants it gets another.
func TestTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, k := range []Kind{EIMAPDF, EIMAPDFBox} {
		h := r.Site(string(k), k)
		c1, c2 := r.open(h, 5000), r.open(h.Site().Host(string(k)+" too"), 5000)
		// The kernel compares whole flows, the box ports (RFC 4787 REQ-3).
		if m1, m2 := r.observe(c1, r.x1), r.observe(c2, r.x1); m1.Port() != 5000 || m2.Port() == 5000 {
			t.Errorf("%s: port 5000 of two hosts is %v and %v", k, m1, m2)
		}
	}
}

// TestLives: a mapping without answers lives for the shorter time; with
// answers, for the longer one. The kernel gives that only to an entry that is still in use
// 2 s after it was made: one quick exchange doesn't count.
func TestLives(t *testing.T) {
	t.Parallel()
	const unreplied, replied = 2 * time.Second, 2 * time.Minute
	for name, s := range map[string]Spec{
		"kernel": {Kernel: &Kernel{Unreplied: unreplied, Replied: replied}},
		"box": {Box: &simnet.NATConfig{
			Filtering: simnet.AddressAndPortDependent, Unreplied: unreplied, Replied: replied,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			h := r.Build("host", s)
			silent, once, busy := r.open(h, 0), r.open(h, 0), r.open(h, 0)
			out := map[*sock]netip.AddrPort{}
			for _, c := range []*sock{silent, once, busy} {
				out[c] = r.observe(c, r.x1)
			}
			for _, c := range []*sock{once, busy} {
				r.wait(c, r.send(r.x1, out[c]))
			}
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for range 18 { // beyond 2 s, by less than 2 s a step
				<-tick.C
				r.observe(busy, r.x1)
			}
			<-time.After(unreplied + time.Second)
			for _, c := range []struct {
				name  string
				s     *sock
				alive bool
			}{
				{"without an answer", silent, false},
				{"with one quick answer", once, name == "box"},
				{"in use for a while", busy, true},
			} {
				if got := r.reaches(r.x1, out[c.s], c.s, r.x2); got != c.alive {
					t.Errorf("the mapping %s is alive %v, want %v", c.name, got, c.alive)
				}
			}
		})
	}
}

// TestHopLimit: a packet that dies on its way opens the NATs it has passed.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		Kind
		hops int
	}{
		{EIMAPDF, 2}, {EIMAPDFBox, 2}, {CGNBox, 2},
	} {
		s := r.open(r.Site(string(c.Kind), c.Kind), 0)
		m := r.observe(s, r.y1)
		p := ipv4.NewConn(s.UDPConn)
		if err := p.SetTTL(c.hops); err != nil {
			t.Fatal(err)
		}
		tag := r.send(s, r.x1.at)
		if err := p.SetTTL(64); err != nil {
			t.Fatal(err)
		}
		r.observe(s, r.x2)
		if _, came := r.wait(r.x1, r.send(r.y1, r.x1.at), tag); came[0] {
			t.Errorf("%s: a packet with %d hops arrived", c.Kind, c.hops)
		}
		if !r.reaches(r.x1, m, s, r.y1) {
			t.Errorf("%s: a packet with %d hops did not open the NAT", c.Kind, c.hops)
		}
	}
}
