// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"net/netip"
	"testing"
	"time"
)

func TestPortRules(t *testing.T) {
	edm := NATConfig{Mapping: AddressAndPortDependent}
	remote := func(i int) netip.AddrPort { return netip.AddrPortFrom(x1.Addr(), uint16(1+i)) }

	t.Run("preserve", func(t *testing.T) {
		b := newTester(t, NATConfig{})
		if p := b.send(in1, x1); p.Port() != 4000 {
			t.Fatalf("not preserved: %v", p)
		}
		if p := b.send(in2, x1); p.Port() == 4000 {
			t.Fatal("overloaded")
		}
		b = newTester(t, NATConfig{Block: [2]uint16{5000, 5511}})
		if p := b.send(in1, x1).Port(); p < 5000 || p > 5511 {
			t.Fatalf("outside of the range: %d", p)
		}
		// A Linux box with a port range keeps a source port inside of it.
		if p := b.send(at("192.168.1.2:5100"), x1).Port(); p != 5100 {
			t.Fatalf("not preserved in range: %d", p)
		}
	})
	t.Run("sequential, wraps", func(t *testing.T) {
		c := edm
		c.Ports, c.Block, c.Unreplied = Sequential, [2]uint16{65000, 65535}, time.Second
		b := newTester(t, c)
		last := b.send(in1, remote(0)).Port()
		wrapped := 0
		for i := range 60_000 {
			b.wait(ms(2)) // 500 live at once in a range of 536
			p := b.send(in1, remote(1+i%65000)).Port()
			if p != last+1 && !(last == 65535 && p == 65000) {
				t.Fatalf("port %d after %d", p, last)
			}
			if p < last {
				wrapped++
			}
			last = p
		}
		if wrapped < 100 {
			t.Fatalf("wrapped %d times", wrapped)
		}
	})
	t.Run("sequential by step", func(t *testing.T) {
		c := edm
		c.Ports, c.Step, c.Block = Sequential, 4, [2]uint16{1000, 1099}
		b := newTester(t, c)
		last := b.send(in1, remote(0)).Port()
		for i := range 99 { // 100 ports, 25 steps a round: later rounds must step aside
			p := b.send(in1, remote(1+i)).Port()
			if i < 24 && (p-1000)%100 != (last-1000+4)%100 {
				t.Fatalf("port %d after %d", p, last)
			}
			last = p
		}
		b.refuse(in1, y1, NoPorts)
	})
	t.Run("random fills the range", func(t *testing.T) {
		c := edm
		c.Ports, c.Block = Random, [2]uint16{2000, 2511}
		b := newTester(t, c)
		sum := 0
		for i := range 512 {
			p := int(b.send(in1, remote(i)).Port())
			if p < 2000 || p > 2511 {
				t.Fatalf("port %d", p)
			}
			if i < 100 {
				sum += p
			}
		}
		near(t, "mean port", float64(sum)/100, 2255.5, 60)
		b.refuse(in1, y1, NoPorts)
		b.wait(30 * time.Second)
		b.send(in1, y1)
	})
	t.Run("blocks of a subscriber", func(t *testing.T) {
		c := edm
		c.Ports, c.BlockSize, c.Blocks, c.Block = Block, 128, 2, [2]uint16{1024, 65535}
		b := newTester(t, c)
		blocks := map[netip.Addr]map[int]bool{}
		for _, in := range []netip.AddrPort{in1, in2} {
			blocks[in.Addr()] = map[int]bool{}
			for i := range 256 {
				blocks[in.Addr()][(int(b.send(in, remote(i)).Port())-1024)/128] = true
			}
			b.refuse(in, y1, NoPorts)
			if len(blocks[in.Addr()]) != 2 {
				t.Fatalf("%v has blocks %v", in, blocks[in.Addr()])
			}
		}
		for k := range blocks[in1.Addr()] {
			if blocks[in2.Addr()][k] {
				t.Fatalf("block %d belongs to both", k)
			}
		}
		if len(b.ports.blocks) != 4 {
			t.Fatalf("%d blocks are out", len(b.ports.blocks))
		}
		b.wait(time.Minute)
		b.Len(b.now)
		if len(b.ports.blocks) != 0 || len(b.outer) != 0 || b.ports.pool[0].taken != 0 {
			t.Fatal("blocks don't come back")
		}
	})
}

func TestPooling(t *testing.T) {
	pool := []netip.Addr{out, out2, addr("45.0.0.3"), addr("45.0.0.4")}
	c := NATConfig{Pool: pool, Mapping: AddressAndPortDependent, Ports: Random}
	use := func(b *tester) (perHost []int, all int) {
		union := map[netip.Addr]bool{}
		for h := range 32 {
			in := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(h)}), 1)
			seen := map[netip.Addr]bool{}
			for i := range 32 {
				a := b.send(in, netip.AddrPortFrom(x1.Addr(), uint16(1+i))).Addr()
				seen[a], union[a] = true, true
			}
			perHost = append(perHost, len(seen))
		}
		return perHost, len(union)
	}
	perHost, all := use(newTester(t, c))
	for _, n := range perHost {
		if n != 1 {
			t.Fatalf("paired, but hosts have %v addresses", perHost)
		}
	}
	if all != 4 {
		t.Fatalf("%d of 4 addresses in use", all)
	}
	c.Arbitrary = true
	perHost, _ = use(newTester(t, c))
	for _, n := range perHost {
		if n < 3 {
			t.Fatalf("arbitrary, but hosts have %v addresses", perHost)
		}
	}
}
