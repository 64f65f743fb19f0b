// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/pion/stun"
)

// message builds a STUN message of the given type around raw attributes.
func message(typ uint16, attrs ...[]byte) []byte {
	body := bytes.Join(attrs, nil)
	b := binary.BigEndian.AppendUint16(nil, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	b = append(b, "transaction!"...)
	return append(b, body...)
}

// attr builds one padded attribute.
func attr(typ uint16, v []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func zeros(n int) []byte { return make([]byte, n) }

// address returns an address attribute's value of n bytes.
func address(n int, family byte) []byte {
	v := zeros(max(n, 2))
	v[1] = family
	return v[:n]
}

// addressTypes are the attributes that hold an address and nothing else.
var addressTypes = []uint16{
	0x0001, 0x0002, 0x0004, 0x0005, 0x000b, 0x000e, 0x0011,
	0x0012, 0x0016, 0x0020, 0x8020, 0x8023, 0x802b, 0x802c,
}

// killer is the datagram of CVE-2026-54909: a Send indication whose last
// attribute is an empty XOR-PEER-ADDRESS. Its 32 bytes fill an allocation
// class of the runtime exactly, so a copy made with append has no spare byte.
var killer = message(0x0016, attr(0x0013, []byte("data")), attr(0x0012, nil))

func TestKillerDatagram(t *testing.T) {
	if len(killer) != 32 {
		t.Fatalf("killer is %d bytes", len(killer))
	}
	if ValidSTUN(killer) {
		t.Error("the filter accepts the killer datagram")
	}
	// GetFromAs does v[0:2] before it checks len(v). Slicing may reach into
	// the capacity, so it panics only where the buffer ends with the message.
	// Should this stop panicking, pion/stun has been repaired and the filter
	// is a second line of defence.
	m := &stun.Message{Raw: exact(killer)}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	panicked := func() (p bool) {
		defer func() { p = recover() != nil }()
		var a stun.XORMappedAddress
		_ = a.GetFromAs(m, stun.AttrXORPeerAddress)
		return false
	}()
	if !panicked {
		t.Error("pion/stun survives the killer datagram: the reason for the filter has gone, update its comment")
	}
}

func TestValidSTUN(t *testing.T) {
	key := stun.NewShortTermIntegrity("password")
	build := func(s ...stun.Setter) []byte {
		m, err := stun.Build(s...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	ok := map[string][]byte{
		"bare request": message(0x0001),
		"probe": build(stun.BindingRequest, stun.TransactionID, stun.NewUsername("a:b"),
			stun.RawAttribute{Type: stun.AttrPriority, Value: zeros(4)}, stun.RawAttribute{Type: stun.AttrUseCandidate},
			stun.RawAttribute{Type: stun.AttrICEControlling, Value: zeros(8)}, key, stun.Fingerprint),
		"answer": build(stun.BindingSuccess, stun.TransactionID,
			&stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 1), Port: 5}, key, stun.Fingerprint),
		"answer v6": build(stun.BindingSuccess, stun.TransactionID,
			&stun.XORMappedAddress{IP: net.ParseIP("2001:db8::1"), Port: 5}, stun.NewSoftware("server")),
		"error": build(stun.BindingError, stun.TransactionID, stun.CodeUnknownAttribute,
			stun.UnknownAttributes{stun.AttrData}),
		"unknown attribute":  message(0x0001, attr(0x7777, zeros(5)), attr(0xc0de, nil)),
		"both integrities":   message(0x0001, attr(0x0008, zeros(20)), attr(0x001c, zeros(32)), attr(0x8028, zeros(4))),
		"most attributes":    message(0x0001, bytes.Repeat(attr(0xc0de, nil), maxSTUNAttrs)),
		"truncated SHA-256":  message(0x0001, attr(0x001c, zeros(16))),
		"nonzero padding":    append(message(0x0001, []byte{0x00, 0x06, 0, 1})[:stunHeader], message(0x0001, []byte{0x00, 0x06, 0, 1, 'a', 9, 9, 9})[stunHeader:]...),
		"longest error text": message(0x0111, attr(0x0009, zeros(maxError))),
	}
	binary.BigEndian.PutUint16(ok["nonzero padding"][2:], 8)
	for name, b := range ok {
		if !ValidSTUN(b) {
			t.Errorf("%s: refused %x", name, b)
		}
	}

	change := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	req := message(0x0001, attr(0x0024, zeros(4)))
	bad := map[string][]byte{
		"nothing":                      nil,
		"short header":                 req[:stunHeader-1],
		"first byte":                   change(req, 0, 4),
		"cookie":                       change(req, 7, 0),
		"length too small":             change(req, 3, 4),
		"length too large":             change(req, 3, 12),
		"length not a multiple":        append(change(req, 3, 9), 0),
		"trailing byte":                append(bytes.Clone(req), 0),
		"cut":                          req[:len(req)-4],
		"value beyond the end":         message(0x0001, []byte{0x00, 0x06, 0, 5, 1, 2, 3, 4}),
		"padding beyond the end":       change(message(0x0001, attr(0x0006, zeros(4))), 23, 5),
		"too many attributes":          message(0x0001, bytes.Repeat(attr(0xc0de, nil), maxSTUNAttrs+1)),
		"fingerprint not last":         message(0x0001, attr(0x8028, zeros(4)), attr(0x8022, zeros(4))),
		"address behind integrity":     message(0x0101, attr(0x0008, zeros(20)), attr(0x0020, address(8, 1))),
		"address behind SHA-256":       message(0x0101, attr(0x001c, zeros(32)), attr(0x0020, address(8, 1))),
		"integrity behind SHA-256":     message(0x0101, attr(0x001c, zeros(32)), attr(0x0008, zeros(20))),
		"odd list of unknown attrs":    message(0x0111, attr(0x000a, zeros(3))),
		"error code without a code":    message(0x0111, attr(0x0009, zeros(3))),
		"error text too long":          message(0x0111, attr(0x0009, zeros(maxError+1))),
		"username too long":            message(0x0001, attr(0x0006, zeros(maxUsername+1))),
		"realm too long":               message(0x0001, attr(0x0014, zeros(maxText+1))),
		"truncated SHA-256, too short": message(0x0001, attr(0x001c, zeros(12))),
	}
	for name, b := range bad {
		if ValidSTUN(b) {
			t.Errorf("%s: accepted %x", name, b)
		}
	}
}

// Every fixed-size attribute is accepted with its size and no other.
func TestAttributeSizes(t *testing.T) {
	for typ, sizes := range map[uint16][]int{
		0x0003: {4}, 0x0008: {20}, 0x000c: {4}, 0x000d: {4}, 0x0017: {4}, 0x0018: {1}, 0x0019: {4}, 0x001a: {0},
		0x001e: {32}, 0x0022: {8}, 0x0024: {4}, 0x0025: {0}, 0x0027: {2, 4}, 0x002a: {4}, 0x8000: {4}, 0x8004: {8},
		0x8027: {4}, 0x8028: {4}, 0x8029: {8}, 0x802a: {8}, 0xc057: {4}, 0x001c: {16, 20, 24, 28, 32},
	} {
		want := make(map[int]bool)
		for _, n := range sizes {
			want[n] = true
		}
		for n := range 40 {
			if got := ValidSTUN(message(0x0001, attr(typ, zeros(n)))); got != want[n] {
				t.Errorf("attribute %#04x of %d bytes: accepted %v, want %v", typ, n, got, want[n])
			}
		}
	}
	for _, typ := range addressTypes {
		for n := range 40 {
			for family := range byte(4) {
				want := n == 8 && family == 1 || n == 20 && family == 2
				if got := ValidSTUN(message(0x0101, attr(typ, address(n, family)))); got != want {
					t.Errorf("address %#04x of %d bytes, family %d: accepted %v, want %v", typ, n, family, got, want)
				}
			}
		}
	}
}

// exact returns a copy of b without a byte of spare capacity, the worst case
// for a parser that slices before it checks.
func exact(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c[:len(b):len(b)]
}

// parse runs every getter of pion/stun on b; what has passed the filter must
// survive them all.
func parse(b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	m := &stun.Message{Raw: exact(b)}
	if m.Decode() != nil {
		return nil
	}
	for _, typ := range addressTypes {
		var x stun.XORMappedAddress
		_ = x.GetFromAs(m, stun.AttrType(typ))
		var a stun.MappedAddress
		_ = a.GetFromAs(m, stun.AttrType(typ))
	}
	for _, g := range []stun.Getter{
		new(stun.XORMappedAddress), new(stun.MappedAddress), new(stun.AlternateServer), new(stun.ResponseOrigin),
		new(stun.OtherAddress), new(stun.ErrorCodeAttribute), new(stun.UnknownAttributes),
		new(stun.Username), new(stun.Realm), new(stun.Nonce), new(stun.Software),
	} {
		_ = g.GetFrom(m)
	}
	_ = stun.Fingerprint.Check(m)
	_ = stun.NewShortTermIntegrity("key").Check(m)
	_ = m.String()
	return nil
}

// The sweep is the evidence: 25 s of fuzzing without the filter did not find
// the panic, every length at every offset does.
func TestSweep(t *testing.T) {
	types := append([]uint16{
		0x0003, 0x0006, 0x0008, 0x0009, 0x000a, 0x000c, 0x000d, 0x0013, 0x0014, 0x0015, 0x0017, 0x0018, 0x0019,
		0x001a, 0x001c, 0x001d, 0x001e, 0x0022, 0x0024, 0x0025, 0x0026, 0x0027, 0x002a, 0x8022, 0x8027, 0x8028,
		0x8029, 0x802a,
	}, addressTypes...)
	passed, unsafe := 0, 0
	for _, typ := range types {
		for n := range 25 {
			for family := range byte(3) {
				for before := 0; before <= 64; before += 4 {
					b := message(0x0101, attr(0x8022, zeros(before)), attr(typ, address(n, family)))
					err := parse(b)
					switch {
					case ValidSTUN(b):
						passed++
						if err != nil {
							t.Fatalf("the filter accepts %x: %v", b, err)
						}
					case err != nil:
						unsafe++
					}
				}
			}
		}
	}
	if passed == 0 || unsafe == 0 {
		t.Errorf("%d messages passed, %d would have panicked: the sweep proves nothing", passed, unsafe)
	}
}

func FuzzValidSTUN(f *testing.F) {
	f.Add(killer)
	f.Add(message(0x0001))
	f.Add(message(0x0101, attr(0x0020, address(8, 1)), attr(0x0008, zeros(20)), attr(0x8028, zeros(4))))
	f.Add(message(0x0101, attr(0x8020, address(20, 2)), attr(0x802c, address(8, 1))))
	f.Add(message(0x0111, attr(0x0009, []byte{0, 0, 4, 20}), attr(0x000a, zeros(2)), attr(0x001c, zeros(16))))
	f.Add(message(0x0016, attr(0x0013, []byte("data")), attr(0x0012, address(8, 1)), attr(0x0006, []byte("user"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if ValidSTUN(b) {
			if err := parse(b); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the filter wrote to its input")
		}
	})
}

func BenchmarkValidSTUN(b *testing.B) {
	b.ReportAllocs()
	m := message(0x0101, attr(0x0020, address(8, 1)), attr(0x0008, zeros(20)), attr(0x8028, zeros(4)))
	for b.Loop() {
		if !ValidSTUN(m) {
			b.Fatal("refused")
		}
	}
}
