// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// build makes a packet with right checksums, written independently of the
// code it tests: everything is summed anew.
func build(proto byte, src, dst netip.AddrPort, payload string) []byte {
	var l4 []byte
	l4 = binary.BigEndian.AppendUint16(l4, src.Port())
	l4 = binary.BigEndian.AppendUint16(l4, dst.Port())
	if proto == protoUDP {
		l4 = binary.BigEndian.AppendUint16(l4, uint16(8+len(payload)))
		l4 = append(l4, 0, 0)
	} else {
		l4 = append(l4, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0)
	}
	l4 = append(l4, payload...)
	var b []byte
	if src.Addr().Is4() {
		b = []byte{0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, proto, 0, 0}
		b = append(append(b, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(l4)))
	} else {
		b = []byte{0x60, 0, 0, 0, 0, 0, proto, 64}
		b = append(append(b, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(l4)))
	}
	b = append(b, l4...)
	seal(b)
	return b
}

// checksumAt returns where the transport checksum of build's packets is.
func checksumAt(b []byte) (head, at int) {
	head = 20
	if b[0]>>4 == 6 {
		head = 40
	}
	if b[0]>>4 == 4 && b[9] == protoTCP || b[0]>>4 == 6 && b[6] == protoTCP {
		return head, head + 16
	}
	return head, head + 6
}

// seal computes all checksums.
func seal(b []byte) {
	head, at := checksumAt(b)
	if head == 20 {
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^sum16(b[:20]))
	}
	b[at], b[at+1] = 0, 0
	sum := ^pseudo(b, head)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}

// sealed reports whether all checksums are right.
func sealed(b []byte) bool {
	head, _ := checksumAt(b)
	return (head == 40 || sum16(b[:20]) == 0xffff) && pseudo(b, head) == 0xffff
}

func pseudo(b []byte, head int) uint16 {
	var x []byte
	if head == 20 {
		x = append(x, b[12:20]...)
		x = append(x, 0, b[9])
	} else {
		x = append(x, b[8:40]...)
		x = append(x, 0, b[6])
	}
	x = binary.BigEndian.AppendUint16(x, uint16(len(b)-head))
	return sum16(append(x, b[head:]...))
}

func sum16(b []byte) uint16 {
	var acc uint64
	for i := 0; i < len(b); i += 2 {
		w := uint64(b[i]) << 8
		if i+1 < len(b) {
			w |= uint64(b[i+1])
		}
		acc += w
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ from, to, src, dst string }{
		{"192.168.1.10:4000", "45.2.10.2:3478", "45.1.10.2:20000", "45.3.10.2:1"},
		{"192.168.1.10:4000", "45.2.10.2:3478", "192.168.1.10:4000", "45.2.10.2:3478"},
		{"255.255.255.255:65535", "0.0.0.0:0", "0.0.0.0:0", "255.255.255.255:65535"},
		{"[2a10:1::2]:4000", "[2a10:2::2]:3478", "[2a10:ffff:ffff::2]:20000", "[2a10:3::ffff]:1"},
	} {
		for _, proto := range []byte{protoUDP, protoTCP} {
			for _, payload := range []string{"", "odd", "even"} {
				b := build(proto, at(c.from), at(c.to), payload)
				if !sealed(b) {
					t.Fatal("the test's own packet is wrong")
				}
				p, ok := parse(append(bytes.Clone(b), "trailing"...))
				if !ok || p.src != at(c.from) || p.dst != at(c.to) || len(p.b) != len(b) {
					t.Fatalf("parsed %v → %v, %d of %d bytes, %v", p.src, p.dst, len(p.b), len(b), ok)
				}
				p.b = slices.Clip(p.b)
				p.setSource(at(c.src))
				p.setDestination(at(c.dst))
				if !p.hop() || !sealed(p.b) {
					t.Errorf("%v → %v, protocol %d, %q: wrong checksum after rewriting", c.from, c.to, proto, payload)
				}
				want := build(proto, at(c.src), at(c.dst), payload)
				want[map[bool]int{true: 8, false: 7}[p.src.Addr().Is4()]]-- // hop limit
				seal(want)
				if !bytes.Equal(p.b, want) {
					t.Errorf("%v → %v became\n%x, want\n%x", c.from, c.to, p.b, want)
				}
			}
		}
	}
}

func TestRewriteKeepsErrors(t *testing.T) {
	t.Run("broken checksum", func(t *testing.T) {
		b := build(protoUDP, at("192.168.1.10:4000"), at("45.2.10.2:3478"), "text")
		b[len(b)-1] ^= 1
		p, _ := parse(b)
		p.setSource(at("45.1.10.2:20000"))
		if sealed(p.b) {
			t.Error("a damaged packet was made good")
		}
	})
	t.Run("no checksum", func(t *testing.T) { // RFC 768: allowed over IPv4
		b := build(protoUDP, at("192.168.1.10:4000"), at("45.2.10.2:3478"), "text")
		b[26], b[27] = 0, 0
		p, _ := parse(b)
		p.setSource(at("45.1.10.2:20000"))
		if b[26] != 0 || b[27] != 0 {
			t.Errorf("a checksum %x appeared", b[26:28])
		}
	})
}

func TestParse(t *testing.T) {
	good := build(protoUDP, at("192.168.1.10:4000"), at("45.2.10.2:3478"), "text")
	six := build(protoTCP, at("[2a10:1::2]:4000"), at("[2a10:2::2]:3478"), "text")
	change := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	for _, c := range []struct {
		name      string
		b         []byte
		ok, ports bool
	}{
		{"whole", good, true, true},
		{"whole IPv6", six, true, true},
		{"nothing", nil, false, false},
		{"neither 4 nor 6", change(good, 0, 0x55), false, false},
		{"short header", change(good, 0, 0x44), false, false},
		{"options beyond the end", change(change(good, 0, 0x4f), 3, 33), false, false},
		{"longer than it is", change(good, 3, 200), false, false},
		{"shorter than its header", change(good, 3, 19), false, false},
		{"cut", good[:19], false, false},
		{"cut IPv6", six[:39], false, false},
		{"longer than it is, IPv6", change(six, 5, 200), false, false},
		{"cut UDP header", change(good, 3, 27)[:27], true, false},
		{"cut TCP header", change(six, 5, 19), true, false},
		{"ICMP", change(good, 9, 1), true, false},
		{"first fragment", change(good, 6, 0x20), true, false},
		{"later fragment", change(good, 7, 1), true, false},
		{"mapped source", func() []byte {
			b := bytes.Clone(six)
			copy(b[8:], netip.MustParseAddr("::ffff:1.2.3.4").AsSlice())
			return b
		}(), false, false},
	} {
		p, ok := parse(c.b)
		if ok != c.ok || ok && (p.l4 != 0) != c.ports {
			t.Errorf("%s: %v, transport header at %d", c.name, ok, p.l4)
		}
	}
	for _, b := range [][]byte{change(good, 8, 1), change(good, 8, 0), change(six, 7, 1), change(six, 7, 0)} {
		if p, ok := parse(b); !ok || p.hop() {
			t.Errorf("passed a router with its last hop: %x", b)
		}
	}
}

func FuzzParse(f *testing.F) {
	good := build(protoUDP, at("192.168.1.10:4000"), at("45.2.10.2:3478"), "text")
	f.Add(good)
	f.Add(good[:27])
	f.Add(build(protoTCP, at("[2a10:1::2]:4000"), at("[2a10:2::2]:3478"), "text"))
	f.Add([]byte{0x4f, 0, 0, 60})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b)
		if !ok {
			return
		}
		p.hop()
		if p.l4 == 0 {
			return
		}
		was, src, dst := bytes.Clone(p.b), p.src, p.dst
		a := netip.AddrPortFrom(p.dst.Addr(), 1)
		p.setSource(a)
		p.setDestination(a)
		if q, ok := parse(p.b); !ok || q.src != a || q.dst != a {
			t.Fatalf("reads back as %v → %v, want %v twice", q.src, q.dst, a)
		}
		// There and back is the same, but that 0 and ffff are one sum.
		p.setSource(src)
		p.setDestination(dst)
		for _, x := range [][]byte{was, p.b} {
			if x[0]>>4 == 4 {
				x[10], x[11] = 0, 0
			}
			at := p.l4 + 6
			if p.proto == protoTCP {
				at += 10
			}
			x[at], x[at+1] = 0, 0
		}
		if !bytes.Equal(was, p.b) {
			t.Fatalf("%x became %x", was, p.b)
		}
	})
}
