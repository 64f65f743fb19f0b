// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"net/netip"
	"testing"
	"time"
)

// home is a probe behind a box of its own. The box at 45.0.0.n has the inside
// host 192.168.1.2.
func home(w *World, n byte, c NATConfig) (*probe, *NAT) {
	if c.Pool == nil {
		c.Pool = []netip.Addr{netip.AddrFrom4([4]byte{45, 0, 0, n})}
	}
	box := w.NAT("box"+string('0'+n), Profile{Delay: ms(5)}, c)
	p := &probe{}
	box.Host("host"+string('0'+n), Profile{Delay: ms(1)}, addr("192.168.1.2")).Attach(4000, p)
	return p, box
}

// mirror is a public probe that tells each sender the address it sees.
type mirror struct{ probe }

func (m *mirror) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
	m.out = append(m.out, outgoing{local, from, from.String()})
}

// outside asks two mirrors what p's address is outside and returns the first one's.
func outside(t *testing.T, w *World, p *probe, servers ...netip.AddrPort) netip.AddrPort {
	t.Helper()
	p.got = nil
	for _, s := range servers {
		p.say(w, 0, s, "who am I")
	}
	w.forward(200)
	if len(p.got) != len(servers) {
		t.Fatalf("%d of %d mirrors answered", len(p.got), len(servers))
	}
	a := at(p.got[0].text)
	p.got = nil
	return a
}

// punched tells both sides the other's address and has them write to each
// other at the same time, three times. It returns who heard whom.
func punched(t *testing.T, a, b NATConfig) (aHears, bHears bool) {
	t.Helper()
	w := NewWorld(7, epoch)
	server := w.Host("server", Profile{Delay: ms(10)}, addr("50.0.0.1")).Attach(3478, &mirror{})
	pa, _ := home(w, 1, a)
	pb, _ := home(w, 2, b)
	atA, atB := outside(t, w, pa, server), outside(t, w, pb, server)
	for range 3 {
		pa.say(w, 0, atB, "from a")
		pb.say(w, 0, atA, "from b")
		w.forward(100)
	}
	// Whoever heard the other answers to where it came from.
	for _, p := range []*probe{pa, pb} {
		for _, g := range p.got {
			p.say(w, 0, g.from, "answer")
		}
	}
	w.forward(100)
	return len(pa.got) > 0, len(pb.got) > 0
}

func TestPunch(t *testing.T) {
	nat := func(m, f Behaviour) NATConfig { return NATConfig{Mapping: m, Filtering: f, Ports: Random} }
	const ei, ad, apd = EndpointIndependent, AddressDependent, AddressAndPortDependent
	for _, c := range []struct {
		name string
		a, b NATConfig
		want bool
	}{
		{"two port-restricted boxes", nat(ei, apd), nat(ei, apd), true},
		{"full cone, port-restricted", nat(ei, ei), nat(ei, apd), true},
		{"full cone, symmetric", nat(ei, ei), nat(apd, apd), true},
		{"address-restricted, symmetric", nat(ei, ad), nat(apd, apd), true},
		{"port-restricted, symmetric", nat(ei, apd), nat(apd, apd), false},
		{"port-restricted, address-dependent mapping", nat(ei, apd), nat(ad, apd), false},
		{"two symmetric boxes", nat(apd, apd), nat(apd, apd), false},
	} {
		for _, swap := range []bool{false, true} {
			a, b := c.a, c.b
			if swap {
				a, b = b, a
			}
			aHears, bHears := punched(t, a, b)
			if aHears != c.want || bHears != c.want {
				t.Errorf("%s: a hears %v, b hears %v; want %v", c.name, aHears, bHears, c.want)
			}
		}
	}
}

// The first datagrams cross: each opens its own box before the other's comes.
func TestPunchTakesOneTripWhenBothSend(t *testing.T) {
	w := NewWorld(7, epoch)
	server := w.Host("server", Profile{Delay: ms(10)}, addr("50.0.0.1")).Attach(3478, &mirror{})
	c := NATConfig{Filtering: AddressAndPortDependent}
	pa, _ := home(w, 1, c)
	pb, _ := home(w, 2, c)
	atA, atB := outside(t, w, pa, server), outside(t, w, pb, server)
	pa.say(w, 0, atB, "first") // 1 ms in the house, 5 ms up, 5 down, 1 in the house
	w.forward(9.9)             // reaches b's box at 11 ms, and b's own gets there at 10.9
	pb.say(w, 0, atA, "second")
	w.forward(100)
	wantTexts(t, pa, "second")
	wantTexts(t, pb, "first")
	pa.got, pb.got = nil, nil
	w.forward(130_000) // both holes are over, and ports are preserved

	pa.say(w, 0, atB, "first")
	w.forward(20) // too late for it
	pb.say(w, 0, atA, "second")
	w.forward(100)
	wantTexts(t, pa, "second")
	wantTexts(t, pb)
}

func TestTwoLayers(t *testing.T) {
	w := NewWorld(1, epoch)
	s1 := w.Host("s1", Profile{}, addr("50.0.0.1")).Attach(3478, &mirror{})
	s2 := w.Host("s2", Profile{}, addr("60.0.0.1")).Attach(3478, &mirror{})
	carrier := w.NAT("carrier", Profile{}, NATConfig{
		Pool: []netip.Addr{addr("45.0.0.1")}, Ports: Random, Hairpin: true,
		Filtering: AddressAndPortDependent,
	})
	var homes []*probe
	for _, a := range []string{"100.64.0.2", "100.64.0.3"} {
		box := carrier.NAT("home "+a, Profile{}, NATConfig{
			Pool: []netip.Addr{addr(a)}, Filtering: AddressAndPortDependent,
		})
		p := &probe{}
		box.Host("host "+a, Profile{}, addr("192.168.1.2")).Attach(4000, p)
		homes = append(homes, p)
	}
	a, b := homes[0], homes[1]
	atA, atB := outside(t, w, a, s1, s2), outside(t, w, b, s1, s2)
	if atA.Addr() != addr("45.0.0.1") || atB.Addr() != addr("45.0.0.1") || atA == atB {
		t.Fatalf("outside they are %v and %v", atA, atB)
	}
	// Both behind the carrier: its hairpin is the way, and punching works there.
	for range 2 {
		a.say(w, 0, atB, "a")
		b.say(w, 0, atA, "b")
		w.forward(10)
	}
	if len(a.got) == 0 || len(b.got) == 0 || a.got[0].from != atB || b.got[0].from != atA {
		t.Fatalf("a got %v, b got %v", a.got, b.got)
	}
	// The address between the layers works as well.
	a.got, b.got = nil, nil
	for range 2 {
		a.say(w, 0, at("100.64.0.3:4000"), "a")
		b.say(w, 0, at("100.64.0.2:4000"), "b")
		w.forward(10)
	}
	if len(a.got) == 0 || len(b.got) == 0 || a.got[0].from != at("100.64.0.3:4000") {
		t.Fatalf("a got %v, b got %v", a.got, b.got)
	}
}

func TestInsideAndHairpin(t *testing.T) {
	for _, hairpin := range []bool{false, true} {
		w := NewWorld(1, epoch)
		server := w.Host("s", Profile{}, addr("50.0.0.1")).Attach(3478, &mirror{})
		a, box := home(w, 1, NATConfig{Hairpin: hairpin})
		b := &probe{}
		box.Host("second", Profile{Delay: ms(1)}, addr("192.168.1.3")).Attach(4001, b)
		atB := outside(t, w, b, server)
		a.say(w, 0, at("192.168.1.3:4001"), "direct")
		w.forward(100)
		wantTexts(t, b, "direct")
		if d := b.got[0].from; d != at("192.168.1.2:4000") {
			t.Fatalf("translated on the LAN to %v", d)
		}
		a.say(w, 0, atB, "hairpin")
		w.forward(100)
		if hairpin {
			wantTexts(t, b, "direct", "hairpin")
			if b.got[1].from.Addr() != addr("45.0.0.1") {
				t.Fatalf("hairpin from %v", b.got[1].from)
			}
		} else {
			wantTexts(t, b, "direct")
		}
	}
}

func TestDualStackHome(t *testing.T) {
	w := NewWorld(1, epoch)
	s := w.Host("s", Profile{}, addr("50.0.0.1"), addr("2001:db8:f::1"))
	far := &probe{}
	s.Attach(9, far)
	near, box := home(w, 1, NATConfig{Filtering: AddressAndPortDependent})
	host := w.machines[near].sockets[0].host
	host.AddAddr(addr("2001:db8:1::2"))
	far.say(w, 0, at("[2001:db8:1::2]:4000"), "unasked")
	w.forward(10)
	wantTexts(t, near)
	near.say(w, 0, at("50.0.0.1:9"), "ping")
	near.say(w, 0, at("[2001:db8:f::1]:9"), "ping")
	w.forward(100)
	wantTexts(t, near, "pong", "pong")
	if far.got[0].from != at("45.0.0.1:4000") || far.got[1].from != at("[2001:db8:1::2]:4000") {
		t.Fatalf("far got %v", far.got)
	}
	// An inside host that roams takes its address out of the public network.
	host.RemoveAddr(addr("2001:db8:1::2"))
	w.Host("heir", Profile{}, addr("2001:db8:1::2"))
	// Two homes without any IPv4 outside may have the same private addresses.
	for _, name := range []string{"v6 only", "also v6 only"} {
		w.NAT(name, Profile{}, NATConfig{}).Host(name, Profile{}, addr("192.168.1.2"))
	}
	if got := w.public.table[addr("192.168.1.2")]; got != nil {
		t.Fatal("a private address is known in public")
	}
	if m, _ := box.Len(); m != 2 {
		t.Fatalf("%d mappings", m)
	}
}

func TestReboot(t *testing.T) {
	w := NewWorld(1, epoch)
	server := w.Host("s", Profile{}, addr("50.0.0.1")).Attach(3478, &mirror{})
	far := &probe{}
	w.Host("far", Profile{}, addr("60.0.0.1")).Attach(9, far)
	p, box := home(w, 1, NATConfig{})
	before := outside(t, w, p, server)
	box.Reboot()
	far.say(w, 0, before, "to the old mapping")
	w.forward(100)
	wantTexts(t, p)
	box.Reboot(addr("46.0.0.1"))
	if now := outside(t, w, p, server); now.Addr() != addr("46.0.0.1") {
		t.Fatalf("still at %v", now)
	}
	w.Host("heir", Profile{}, addr("45.0.0.1")) // the old address is free
	box.Cut(true)
	p.say(w, 0, server, "without a line")
	w.forward(100)
	wantTexts(t, p)
}

// What a mapping does is in the trace.
func TestMappingsAreTraced(t *testing.T) {
	w := NewWorld(1, epoch)
	server := w.Host("s", Profile{}, addr("50.0.0.1")).Attach(3478, &mirror{})
	p, box := home(w, 1, NATConfig{})
	var got []string
	w.Trace(func(e TraceEvent) {
		if e.Action == Mapped || e.Action == Unmapped || e.Action == Changed {
			got = append(got, e.String())
		}
	})
	outside(t, w, p, server)
	w.forward(300_000)
	box.Len()
	box.Cut(true)
	want := []string{
		"00:00:00.001000000 box1 mapped 192.168.1.2:4000 as 45.0.0.1:4000",
		"00:05:00.200000000 box1 unmapped 192.168.1.2:4000 as 45.0.0.1:4000",
		"00:05:00.200000000 box1 changed cut",
	}
	if len(got) != len(want) {
		t.Fatalf("trace %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("trace line %d is %q, want %q", i, got[i], want[i])
		}
	}
}
