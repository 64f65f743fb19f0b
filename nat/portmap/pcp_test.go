// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var testNonce = nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

func TestPCPRequestBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"IPv4 map, any external address, port wished for",
			mapRequest{lifetime: 3600, internal: netip.MustParseAddrPort("192.168.1.5:4000"), external: netip.AddrPortFrom(netip.Addr{}, 4000), nonce: testNonce}.append(nil),
			`02 01 0000 00000e10 00000000000000000000ffffc0a80105
			 0102030405060708090a0b0c 11 000000 0fa0 0fa0 00000000000000000000ffff00000000`},
		{"IPv6 map, external endpoint asked for again",
			mapRequest{lifetime: 7200, internal: netip.MustParseAddrPort("[2001:db8::5]:4000"), external: netip.MustParseAddrPort("[2001:db8::5]:4000"), nonce: testNonce}.append(nil),
			`02 01 0000 00001c20 20010db8000000000000000000000005
			 0102030405060708090a0b0c 11 000000 0fa0 0fa0 20010db8000000000000000000000005`},
		{"withdrawal: lifetime, external port and address are zero",
			mapRequest{internal: netip.MustParseAddrPort("192.168.1.5:4000"), nonce: testNonce}.append(nil),
			`02 01 0000 00000000 00000000000000000000ffffc0a80105
			 0102030405060708090a0b0c 11 000000 0fa0 0000 00000000000000000000ffff00000000`},
		{"announce", appendAnnounce(nil, netip.MustParseAddr("192.168.1.5")),
			`02 00 0000 00000000 00000000000000000000ffffc0a80105`},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, c.got, want)
		}
	}
}

const goodMap = `02 81 00 00 00000e10 0000002a 000000000000000000000000
	0102030405060708090a0b0c 11 000000 0fa0 1f90 00000000000000000000ffffcb007107`

func TestPCPResponses(t *testing.T) {
	mapped := pcpResponse{op: opMap, lifetime: 3600, epoch: 42, nonce: testNonce, protocol: protoUDP, internal: 4000, external: netip.MustParseAddrPort("203.0.113.7:8080")}
	refused := mapped
	refused.result = 8
	for _, c := range []struct {
		name, in string
		want     pcpResponse
		err      error
	}{
		{"mapped", goodMap, mapped, nil},
		{"mapped, an option behind is skipped", goodMap + "03 00 0003 aabbcc00", mapped, nil},
		{"refused", strings.Replace(goodMap, "81 00 00", "81 00 08", 1), refused, nil},
		{"announced", "02 80 00 00 00000000 0000002a 000000000000000000000000", pcpResponse{op: opAnnounce, epoch: 42}, nil},
		{"a NAT-PMP router's answer", "00 81 0001 0000002a", pcpResponse{}, errOldVersion},
		{"an older PCP's answer", "01 81 00 01 00000000 0000002a 000000000000000000000000", pcpResponse{}, errOldVersion},
		{"a request", strings.Replace(goodMap, "02 81", "02 01", 1), pcpResponse{}, ErrUnusable},
		{"another version", strings.Replace(goodMap, "02 81", "03 81", 1), pcpResponse{}, ErrUnusable},
		{"truncated header", "02 80 00 00 00000000 0000002a", pcpResponse{}, ErrUnusable},
		{"truncated map", goodMap[:len(goodMap)-8], pcpResponse{}, ErrUnusable},
		{"truncated option", goodMap + "03 00 0009 aabbcc00", pcpResponse{}, ErrUnusable},
		{"not a multiple of four", goodMap + "00", pcpResponse{}, ErrUnusable},
		{"too long", goodMap + strings.Repeat("03000000", (pcpMax-pcpMap)/4+1), pcpResponse{}, ErrUnusable},
		{"empty", "", pcpResponse{}, ErrUnusable},
	} {
		got, err := parsePCP(unhex(t, c.in))
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
		}
	}
}

func TestAnnouncements(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     announcement
		ok       bool
	}{
		{"PCP announce", "02 80 00 00 00000000 0000002a 000000000000000000000000", announcement{method: PCP, epoch: 42}, true},
		{"unsolicited PCP map", goodMap, announcement{method: PCP, epoch: 42}, true},
		{"NAT-PMP address", "00 80 0000 0000002a cb007107", announcement{NATPMP, 42, netip.MustParseAddr("203.0.113.7")}, true},
		{"NAT-PMP failure", "00 80 0003 0000002a 00000000", announcement{}, false},
		{"PCP failure", "02 80 00 07 00000000 0000002a 000000000000000000000000", announcement{}, false},
		{"garbage", "ffffffff", announcement{}, false},
	} {
		got, err := parseAnnouncement(unhex(t, c.in))
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
		}
	}
}

func FuzzPCP(f *testing.F) {
	f.Add(unhex(f, goodMap))
	f.Add(unhex(f, goodMap+"03 00 0003 aabbcc00"))
	f.Add(unhex(f, "00 81 0001 0000002a"))
	f.Add(unhex(f, "00 80 0000 0000002a cb007107"))
	f.Add(unhex(f, "02 80 00 00 00000000 0000002a 000000000000000000000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePCP(b)
		if err == nil && (len(b) < pcpHeader || len(b) > pcpMax || b[0] != pcpVersion) {
			t.Fatalf("%x was taken for a response", b)
		}
		if err == nil && p.op == opMap && len(b) < pcpMap {
			t.Fatalf("%x was taken for a map response", b)
		}
		if err != nil && p != (pcpResponse{}) {
			t.Fatalf("values with an error: %+v", p)
		}
		if a, err := parseAnnouncement(b); err == nil && a.method == NATPMP && !a.external.Is4() {
			t.Fatalf("%x: %+v", b, a)
		}
	})
}
