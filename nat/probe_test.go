// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun"
)

var (
	testCred = Cred{Tag: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, Key: [32]byte([]byte("0123456789abcdef0123456789abcdef"))}
	testTx   = [12]byte{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}
	addr4    = netip.MustParseAddrPort("192.0.2.1:32853")
	addr6    = netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853")
)

func key(c Cred) *mac { return newMAC(c.Key) }

// The bytes on the wire; pion builds the same ones below. The addresses are
// those of RFC 5769 §2.2 and §2.3, equal as far as no transaction id is mixed in.
var goldenProbes = []struct {
	name string
	b    []byte
	hex  string
}{
	{"request", appendRequest(nil, testTx, testCred.Tag, false, key(testCred)),
		"000100242112a4420a0b0c0d0e0f10111213141500060008010203040506070800080014385ad8ecf1318844029a33749c95a96cf06fba6d"},
	{"use", appendRequest(nil, testTx, testCred.Tag, true, key(testCred)),
		"000100282112a4420a0b0c0d0e0f10111213141500060008010203040506070800250000000800147fc043a86cf3cb330a4e337dca0c35166353d8dc"},
	{"answer", appendResponse(nil, testTx, addr4, key(testCred)),
		"010100242112a4420a0b0c0d0e0f101112131415002000080001a147e112a64300080014a9134f7f0f4bfcf7d5e567a977fc5f14f72a55fd"},
	{"answer6", appendResponse(nil, testTx, addr6, key(testCred)),
		"010100302112a4420a0b0c0d0e0f101112131415002000140002a1470113a9fa183f5a750e1e32225646726200080014aa19d52d90cf94f9bba7c78001997b3f3f02c14f"},
}

func TestProbeGolden(t *testing.T) {
	for _, g := range goldenProbes {
		if got := hex.EncodeToString(g.b); got != g.hex {
			t.Errorf("%s:\n got %s\nwant %s", g.name, got, g.hex)
		}
	}
	for _, g := range goldenProbes[:2] {
		if len(g.b) > 64 {
			t.Errorf("%s has %d bytes, budget 64", g.name, len(g.b))
		}
	}
}

func TestProbeRoundTrip(t *testing.T) {
	for _, use := range []bool{false, true} {
		b := appendRequest(nil, testTx, testCred.Tag, use, key(testCred))
		m, ok := parse(b)
		if !ok || !m.request || m.use != use || m.tag != testCred.Tag || m.tx != testTx || !key(testCred).verify(b, m) {
			t.Errorf("request use=%v came back as %+v, %v", use, m, ok)
		}
		if tag, request, ok := ProbeTag(b); tag != testCred.Tag || !request || !ok {
			t.Errorf("ProbeTag = %x, %v, %v", tag, request, ok)
		}
	}
	for _, a := range []netip.AddrPort{addr4, addr6, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")} {
		b := appendResponse(nil, testTx, a, key(testCred))
		m, ok := parse(b)
		want := netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if !ok || m.request || m.mapped != want || m.tx != testTx || !key(testCred).verify(b, m) {
			t.Errorf("answer for %v came back as %+v, %v", a, m, ok)
		}
		if tag, request, ok := ProbeTag(b); tag != [8]byte{} || request || !ok {
			t.Errorf("ProbeTag of an answer = %x, %v, %v", tag, request, ok)
		}
		if id, ok := TxID(b); id != testTx || !ok {
			t.Errorf("TxID = %x, %v", id, ok)
		}
	}
}

// Ours must be real STUN: another implementation reads and proves it.
func TestProbePionReads(t *testing.T) {
	for _, g := range goldenProbes {
		m := &stun.Message{Raw: bytes.Clone(g.b)}
		if err := m.Decode(); err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		if err := stun.NewShortTermIntegrity(string(testCred.Key[:])).Check(m); err != nil {
			t.Errorf("%s: integrity: %v", g.name, err)
		}
		if err := stun.NewShortTermIntegrity("another").Check(m); err == nil {
			t.Errorf("%s: another key passes", g.name)
		}
		if m.TransactionID != testTx {
			t.Errorf("%s: transaction %x", g.name, m.TransactionID)
		}
		if strings.HasPrefix(g.name, "answer") {
			var x stun.XORMappedAddress
			if err := x.GetFrom(m); err != nil || m.Type != stun.BindingSuccess {
				t.Fatalf("%s: %v %v", g.name, m.Type, err)
			}
			ip, _ := netip.AddrFromSlice(x.IP)
			want := addr4
			if g.name == "answer6" {
				want = addr6
			}
			if got := netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)); got != want {
				t.Errorf("%s: mapped %v, want %v", g.name, got, want)
			}
			continue
		}
		var u stun.Username
		if err := u.GetFrom(m); err != nil || string(u) != string(testCred.Tag[:]) || m.Type != stun.BindingRequest {
			t.Errorf("%s: %v username %x, %v", g.name, m.Type, []byte(u), err)
		}
	}
}

// And we read theirs, byte for byte the same.
func TestProbePionWrites(t *testing.T) {
	mi := stun.NewShortTermIntegrity(string(testCred.Key[:]))
	id := stun.NewTransactionIDSetter(testTx)
	tests := []struct {
		golden int
		set    []stun.Setter
	}{
		{0, []stun.Setter{id, stun.BindingRequest, stun.NewUsername(string(testCred.Tag[:])), mi}},
		{1, []stun.Setter{id, stun.BindingRequest, stun.NewUsername(string(testCred.Tag[:])), stun.RawAttribute{Type: stun.AttrUseCandidate}, mi}},
		{2, []stun.Setter{id, stun.BindingSuccess, &stun.XORMappedAddress{IP: addr4.Addr().AsSlice(), Port: int(addr4.Port())}, mi}},
		{3, []stun.Setter{id, stun.BindingSuccess, &stun.XORMappedAddress{IP: addr6.Addr().AsSlice(), Port: int(addr6.Port())}, mi}},
	}
	for _, tt := range tests {
		m, err := stun.Build(tt.set...)
		if err != nil {
			t.Fatal(err)
		}
		if g := goldenProbes[tt.golden]; !bytes.Equal(m.Raw, g.b) {
			t.Errorf("%s:\npion %x\nours %x", g.name, m.Raw, g.b)
		}
		got, ok := parse(m.Raw)
		if !ok || !key(testCred).verify(m.Raw, got) {
			t.Errorf("%s from pion is refused", goldenProbes[tt.golden].name)
		}
	}
}

// Every bit counts: whatever is changed on the way is refused or unproved.
func TestProbeTampered(t *testing.T) {
	for _, g := range goldenProbes {
		k := key(testCred)
		for i := range g.b {
			for bit := range 8 {
				b := bytes.Clone(g.b)
				b[i] ^= 1 << bit
				if m, ok := parse(b); ok && k.verify(b, m) {
					t.Errorf("%s: bit %d of byte %d doesn't matter", g.name, bit, i)
				}
			}
		}
		for n := range g.b {
			if _, ok := parse(g.b[:n:n]); ok {
				t.Errorf("%s: passes when cut to %d bytes", g.name, n)
			}
		}
		if m, _ := parse(g.b); newMAC([32]byte{1}).verify(g.b, m) {
			t.Errorf("%s: proved by another key", g.name)
		}
	}
}

func TestProbeRefused(t *testing.T) {
	mi := stun.NewShortTermIntegrity(string(testCred.Key[:]))
	user := stun.NewUsername(string(testCred.Tag[:]))
	xor := &stun.XORMappedAddress{IP: addr4.Addr().AsSlice(), Port: int(addr4.Port())}
	id := stun.NewTransactionIDSetter(testTx)
	tests := []struct {
		name string
		set  []stun.Setter
		ok   bool
	}{
		{"optional attribute is skipped", []stun.Setter{stun.BindingRequest, user, stun.NewSoftware("x"), mi}, true},
		{"no integrity", []stun.Setter{stun.BindingRequest, user}, false},
		{"no username", []stun.Setter{stun.BindingRequest, mi}, false},
		{"short username", []stun.Setter{stun.BindingRequest, stun.NewUsername("1234567"), mi}, false},
		{"two usernames", []stun.Setter{stun.BindingRequest, user, user, mi}, false},
		{"address in a request", []stun.Setter{stun.BindingRequest, user, xor, mi}, false},
		{"required attribute", []stun.Setter{stun.BindingRequest, user, stun.RawAttribute{Type: 0x7ff0}, mi}, false},
		{"attribute behind integrity", []stun.Setter{stun.BindingRequest, user, mi, stun.Fingerprint}, false},
		{"answer without address", []stun.Setter{stun.BindingSuccess, mi}, false},
		{"username in an answer", []stun.Setter{stun.BindingSuccess, user, xor, mi}, false},
		{"two addresses", []stun.Setter{stun.BindingSuccess, xor, xor, mi}, false},
		{"error answer", []stun.Setter{stun.BindingError, stun.CodeUnauthorized, mi}, false},
		{"indication", []stun.Setter{stun.NewType(stun.MethodBinding, stun.ClassIndication), user, mi}, false},
	}
	for _, tt := range tests {
		m, err := stun.Build(append([]stun.Setter{id}, tt.set...)...)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if _, ok := parse(m.Raw); ok != tt.ok {
			t.Errorf("%s: accepted %v, want %v", tt.name, ok, tt.ok)
		}
	}
}

func TestCredKeepsItsKey(t *testing.T) {
	c := NewCred()
	if c == NewCred() {
		t.Fatal("two Creds are equal")
	}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c)} {
		if strings.Contains(s, hex.EncodeToString(c.Key[:4])) || !strings.Contains(s, hex.EncodeToString(c.Tag[:])) {
			t.Errorf("prints as %q", s)
		}
	}
}

func FuzzProbe(f *testing.F) {
	for _, g := range goldenProbes {
		f.Add(g.b)
	}
	// An empty XOR address in an exact buffer is what panics pion/stun.
	f.Add(append(appendHeader(nil, typeResponse, 4, testTx), 0, 0x20, 0, 0))
	f.Add(append(appendHeader(nil, typeResponse, 12, testTx), 0, 0x20, 0, 8, 0, 2, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)[:len(b):len(b)]
		m, ok := parse(b)
		id, idOK := TxID(b)
		tag, request, tagOK := ProbeTag(b)
		if idOK != ok || tagOK != ok || id != m.tx || tag != m.tag || request != m.request {
			t.Fatalf("parse, TxID and ProbeTag disagree on %x", b)
		}
		if !ok {
			return
		}
		k := key(testCred)
		k.verify(b, m)
		// What was understood can be said again and is understood alike.
		var again []byte
		if m.request {
			again = appendRequest(nil, m.tx, m.tag, m.use, k)
		} else {
			again = appendResponse(nil, m.tx, m.mapped, k)
		}
		n, ok := parse(again)
		if n.signed = m.signed; !ok || n != m {
			t.Fatalf("%+v became %+v", m, n)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	k := key(testCred)
	buf := make([]byte, 0, maxMessage)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRequest(buf[:0], testTx, testCred.Tag, true, k)
		m, ok := parse(buf)
		if !ok || !k.verify(buf, m) {
			b.Fatal("refused")
		}
	}
}
