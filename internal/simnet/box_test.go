// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// The cast of the box tests: an inside socket, and four sockets outside on two
// hosts with two ports each.
var (
	in1, in2 = at("192.168.1.2:4000"), at("192.168.1.3:4000")
	out      = addr("45.0.0.1")
	out2     = addr("45.0.0.2")

	x1, x2 = at("50.0.0.1:1"), at("50.0.0.1:2")
	y1, y2 = at("60.0.0.1:1"), at("60.0.0.1:2")
)

// tester holds a box and its time.
type tester struct {
	*testing.T
	*Box
	now time.Time
}

func newTester(t *testing.T, c NATConfig) *tester {
	if c.Pool == nil {
		c.Pool = []netip.Addr{out}
	}
	return &tester{t, NewBox(c, rand.New(rand.NewPCG(5, 6)), epoch), epoch}
}

func (b *tester) wait(d time.Duration) { b.now = b.now.Add(d) }

// send lets a datagram out and returns its outside source.
func (b *tester) send(from, to netip.AddrPort) netip.AddrPort {
	b.Helper()
	v := b.Outbound(b.now, from, to)
	if v.Drop != 0 || v.Inside || v.To != to {
		b.Fatalf("%v to %v: %+v (%v)", from, to, v, v.Drop)
	}
	return v.From
}

// refuse wants a datagram from inside dropped.
func (b *tester) refuse(from, to netip.AddrPort, why Reason) {
	b.Helper()
	if v := b.Outbound(b.now, from, to); v.Drop != why {
		b.Fatalf("%v to %v: %+v, want %q", from, to, v, why)
	}
}

// hear wants a datagram from outside to reach in (or to be dropped for why).
func (b *tester) hear(from, to, in netip.AddrPort, why Reason) {
	b.Helper()
	v := b.Inbound(b.now, from, to)
	if v.Drop != why || why == 0 && (v.To != in || v.From != from) {
		b.Fatalf("%v to %v: %+v (%v), want %v %q", from, to, v, v.Drop, in, why)
	}
}

func TestMappingAndFiltering(t *testing.T) {
	all := []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	for _, rule := range []PortRule{Sequential, Random, Block} {
		for _, m := range all {
			for _, f := range all {
				t.Run(fmt.Sprintf("%v mapping, %v filter, %v", m, f, rule), func(t *testing.T) {
					c := NATConfig{Mapping: m, Filtering: f, Ports: rule}
					b := newTester(t, c)
					first := b.send(in1, x1)
					if first.Addr() != out || b.send(in1, x1) != first {
						t.Fatalf("mapping %v does not stay", first)
					}
					if b.send(in2, x1) == first {
						t.Fatal("two inside sockets share an outside one (RFC 4787 REQ-3)")
					}
					if same := b.send(in1, x2) == first; same != (m != AddressAndPortDependent) {
						t.Fatalf("another port of the same host: same mapping %v", same)
					}
					if same := b.send(in1, y1) == first; same != (m == EndpointIndependent) {
						t.Fatalf("another host: same mapping %v", same)
					}

					b = newTester(t, c)
					first = b.send(in1, x1)
					allow := func(ok bool) Reason {
						if ok {
							return 0
						}
						return Filtered
					}
					b.hear(x1, first, in1, 0)
					b.hear(x2, first, in1, allow(f != AddressAndPortDependent))
					b.hear(y1, first, in1, allow(f == EndpointIndependent))
					b.hear(x1, netip.AddrPortFrom(out, first.Port()^1), in1, NoMapping)
				})
			}
		}
	}
}

func TestLives(t *testing.T) {
	full := NATConfig{Filtering: AddressAndPortDependent}
	t.Run("unreplied 30 s", func(t *testing.T) {
		b := newTester(t, full)
		m := b.send(in1, x1)
		b.wait(29 * time.Second)
		b.send(in1, x1) // outbound prolongs (RFC 4787 REQ-6)
		b.wait(30*time.Second - 1)
		b.hear(x1, m, in1, 0)
	})
	t.Run("unreplied is over at 30 s", func(t *testing.T) {
		b := newTester(t, full)
		m := b.send(in1, x1)
		b.wait(30 * time.Second)
		b.hear(x1, m, in1, NoMapping)
	})
	t.Run("replied 120 s, both ways", func(t *testing.T) {
		b := newTester(t, full)
		m := b.send(in1, x1)
		b.hear(x1, m, in1, 0)
		b.wait(119 * time.Second)
		b.hear(x1, m, in1, 0)
		b.wait(119 * time.Second)
		b.hear(x1, m, in1, 0)
		b.wait(120 * time.Second)
		b.hear(x1, m, in1, NoMapping)
	})
	t.Run("outbound only", func(t *testing.T) {
		c := full
		c.OutboundRefresh = true
		b := newTester(t, c)
		m := b.send(in1, x1)
		b.wait(20 * time.Second)
		b.hear(x1, m, in1, 0)
		b.wait(10 * time.Second)
		b.hear(x1, m, in1, NoMapping)
		m = b.send(in1, x1)
		b.hear(x1, m, in1, 0)
		b.send(in1, x1) // it is a replied one now
		b.wait(119 * time.Second)
		b.hear(x1, m, in1, 0)
	})
	t.Run("absolute", func(t *testing.T) {
		c := full
		c.Absolute = 50 * time.Second
		b := newTester(t, c)
		m := b.send(in1, x1)
		for range 9 {
			b.wait(5 * time.Second)
			if b.send(in1, x1) != m {
				t.Fatal("mapping changed early")
			}
			b.hear(x1, m, in1, 0)
		}
		b.wait(5 * time.Second)
		b.hear(x1, m, in1, NoMapping)
	})
	t.Run("a hole ends before its mapping", func(t *testing.T) {
		b := newTester(t, full)
		m := b.send(in1, x1)
		b.hear(x1, m, in1, 0)
		b.wait(100 * time.Second)
		b.send(in1, y1)
		b.hear(y1, m, in1, 0)
		b.wait(20 * time.Second)
		b.hear(x1, m, in1, Filtered)
		b.hear(y1, m, in1, 0)
		if m, h := b.Len(b.now); m != 1 || h != 1 {
			t.Fatalf("%d mappings, %d holes", m, h)
		}
	})
	t.Run("ports rest", func(t *testing.T) {
		c := full
		c.Hold, c.Block, c.Ports = 120*time.Second, [2]uint16{3000, 3000}, Random
		b := newTester(t, c)
		b.send(in1, x1)
		b.wait(30 * time.Second)
		b.refuse(in1, x1, NoPorts)
		b.wait(120*time.Second - 1)
		b.refuse(in1, x1, NoPorts)
		b.wait(1)
		b.send(in1, x1)
	})
}

func TestHairpin(t *testing.T) {
	for _, c := range []struct {
		hairpin bool
		filter  Behaviour
	}{{false, EndpointIndependent}, {true, EndpointIndependent}, {true, AddressAndPortDependent}} {
		b := newTester(t, NATConfig{Hairpin: c.hairpin, Filtering: c.filter})
		m1, m2 := b.send(in1, x1), b.send(in2, x1)
		if !c.hairpin {
			b.refuse(in1, m2, NoHairpin)
			continue
		}
		v := b.Outbound(b.now, in1, m2)
		if c.filter == AddressAndPortDependent {
			if v.Drop != Filtered {
				t.Fatalf("through a filter that knows nothing of it: %+v", v)
			}
			// Both sides send, as they do to punch.
			v = b.Outbound(b.now, in2, m1)
			if v != (Verdict{From: m2, To: in1, Inside: true}) {
				t.Fatalf("second try: %+v", v)
			}
			v = b.Outbound(b.now, in1, m2)
		}
		if v != (Verdict{From: m1, To: in2, Inside: true}) { // REQ-9a: the outside source
			t.Fatalf("hairpin: %+v", v)
		}
		b.refuse(in1, netip.AddrPortFrom(out, 9), NoMapping)
	}
}

func TestQuotaAndTable(t *testing.T) {
	b := newTester(t, NATConfig{Mapping: AddressAndPortDependent, Quota: 3})
	for i := range 3 {
		b.send(in1, netip.AddrPortFrom(x1.Addr(), uint16(1+i)))
	}
	b.refuse(in1, y1, OverQuota)
	b.send(in1, x1) // what it has goes on
	b.send(in2, y1) // and so do others
	b.wait(30 * time.Second)
	b.send(in1, y1)

	b = newTester(t, NATConfig{Filtering: AddressAndPortDependent, Sessions: 4})
	m := b.send(in1, x1)
	b.send(in1, x2)
	b.send(in1, y1) // one mapping and three holes
	b.refuse(in1, y2, TableFull)
	b.refuse(in2, x1, TableFull)
	b.hear(y1, m, in1, 0)
	if m, h := b.Len(b.now); m != 1 || h != 3 {
		t.Fatalf("%d mappings, %d holes", m, h)
	}
	b.wait(30 * time.Second)
	b.send(in1, y2)
}

func TestFirewall(t *testing.T) {
	in, remote, other := at("[2001:db8:1::2]:4000"), at("[2001:db8:2::2]:1"), at("[2001:db8:2::2]:2")
	b := newTester(t, NATConfig{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent})
	b.hear(remote, in, in, NoMapping) // default deny (RFC 6092 REC-11)
	if got := b.send(in, remote); got != in {
		t.Fatalf("translated to %v", got)
	}
	b.hear(remote, in, in, 0)
	b.hear(other, in, in, Filtered)
	b.send(in, other)
	b.hear(other, in, in, 0)
	b.wait(120 * time.Second)
	b.hear(remote, in, in, NoMapping)

	b = newTester(t, NATConfig{Open: true})
	b.hear(remote, in, in, 0)
	b.send(in, remote)
	if m, h := b.Len(b.now); m != 0 || h != 0 {
		t.Fatal("an open box remembers flows")
	}
	b.hear(x1, netip.AddrPortFrom(out, 5), in1, NoMapping) // but the translated family is as closed as ever
}

// Whatever happens to a box, its tables agree and empty themselves.
func TestBoxStaysConsistent(t *testing.T) {
	for seed := range uint64(48) {
		rng := rand.New(rand.NewPCG(seed, 7))
		c := NATConfig{
			Mapping:   Behaviour(rng.IntN(3)),
			Filtering: Behaviour(rng.IntN(3)),
			Ports:     PortRule(rng.IntN(4)),
			Block:     [2]uint16{1000, 1063},
			BlockSize: rng.IntN(2) * 16,
			Unreplied: time.Second,
			Replied:   3 * time.Second,
			Absolute:  time.Duration(rng.IntN(2)) * 5 * time.Second,
			Hold:      time.Duration(rng.IntN(2)) * time.Second,
			Hairpin:   true,
			Arbitrary: rng.IntN(2) == 0,
			Quota:     rng.IntN(2) * 20,
			Sessions:  100,
			Pool:      []netip.Addr{out, out2},
		}
		b := newTester(t, c)
		pick := func(first byte) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{first, 0, 0, byte(rng.IntN(5))}), uint16(1000+rng.IntN(64)))
		}
		for range 1000 {
			b.wait(time.Duration(rng.IntN(int(50 * time.Millisecond))))
			switch rng.IntN(4) {
			case 0:
				b.Inbound(b.now, pick(50), pick(45))
			case 1:
				b.Outbound(b.now, pick(192), pick(45))
			default:
				v := b.Outbound(b.now, pick(192), pick(50))
				if v.Drop == 0 {
					b.Inbound(b.now, v.To, v.From)
				}
			}
			m, h := b.Len(b.now)
			taken := b.ports.pool[0].taken + b.ports.pool[1].taken
			if m+h > 100 || len(b.outer) != taken || b.ends.len() != h+taken {
				t.Fatalf("seed %d: %d mappings, %d holes, %d outside, %d ports, %d endings",
					seed, m, h, len(b.outer), taken, b.ends.len())
			}
			active := 0
			for out, m := range b.outer {
				if m == nil {
					continue // the port rests
				}
				active++
				if m.out != out || b.flows[m.flow] != m || out.Port() < 1000 || out.Port() > 1063 {
					t.Fatalf("seed %d: mapping %+v at %v", seed, m, out)
				}
			}
			if active != m || c.Hold == 0 && taken != m {
				t.Fatalf("seed %d: %d mappings, %d outside, %d ports", seed, m, active, taken)
			}
			for _, s := range b.sessions {
				if b.flows[s.m.flow] != s.m || s.until > s.m.until {
					t.Fatalf("seed %d: hole %+v outlives its mapping", seed, s)
				}
			}
		}
		b.wait(time.Minute)
		if m, h := b.Len(b.now); m+h+len(b.outer)+len(b.hosts)+len(b.ports.blocks)+b.ends.len()+b.ports.pool[0].taken+b.ports.pool[1].taken != 0 {
			t.Fatalf("seed %d: something is left after a minute of silence", seed)
		}
	}
}
