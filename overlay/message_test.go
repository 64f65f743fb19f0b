// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func seq(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func sampleHello() hello {
	h := hello{major: 1, minor: 0, caps: 0x01020304, observed: netip.MustParseAddrPort("192.0.2.1:443")}
	copy(h.proof[:], seq(32, 0))
	copy(h.tag[:], seq(8, 0x40))
	copy(h.key[:], seq(32, 0x80))
	return h
}

func TestHelloGolden(t *testing.T) {
	want := "0100" + // version
		"010020" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" + // proof
		"020004" + "01020304" + // capabilities
		"030008" + "4041424344454647" + // probe tag
		"040020" + "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f" + // probe key
		"050007" + "06c000020101bb" // the address seen
	h := sampleHello()
	got := h.append(nil)
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	back, err := parseHello(got)
	if err != nil || back != h {
		t.Errorf("round trip: %+v, %v", back, err)
	}
}

func TestHelloFaults(t *testing.T) {
	h := sampleHello()
	good := h.append(nil)
	for name, b := range map[string][]byte{
		"empty":          nil,
		"cut":            good[:len(good)-1],
		"no proof":       append([]byte{1, 0}, good[2+35:]...),
		"short tag":      []byte{1, 0, 3, 0, 1, 9},
		"fields twice":   append(bytes.Clone(good), good[2:]...),
		"address of 5":   append([]byte{1, 0}, append(bytes.Clone(good[2:len(good)-10]), 5, 0, 6, 5, 1, 2, 3, 4, 5)...),
		"only a version": {1, 0},
	} {
		if _, err := parseHello(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var ve *VersionError
	if _, err := parseHello([]byte{9, 0, 0xff}); !errors.As(err, &ve) || ve.Theirs != 9 {
		t.Errorf("version 9: %v", err)
	}
	// A newer minor version with a field that we don't know.
	newer := append(h.append(nil), 0x20, 0, 1, 7)
	newer[1] = 5
	if back, err := parseHello(newer); err != nil || back.tag != h.tag {
		t.Errorf("newer minor version refused: %v", err)
	}
}

func TestFrames(t *testing.T) {
	b := appendFrame(nil, frameSession, []byte("abc"))
	if want := "200003616263"; hex.EncodeToString(b) != want {
		t.Errorf("got %x, want %s", b, want)
	}
	typ, body, err := readFrame(bytes.NewReader(b))
	if err != nil || typ != frameSession || string(body) != "abc" {
		t.Errorf("got %d %q %v", typ, body, err)
	}
	if _, _, err := readFrame(bytes.NewReader([]byte{frameSession, 0x10, 0x01})); !errors.Is(err, errFrame) {
		t.Errorf("4,097 bytes: %v", err)
	}
	if _, _, err := readFrame(strings.NewReader("\x20\x00\x05ab")); err == nil {
		t.Error("cut body accepted")
	}
}

func TestListsRoundTrip(t *testing.T) {
	addrs := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:65535")}
	list := []near{{identity.NodeID{1}, 20 * time.Millisecond}, {identity.NodeID{2}, 0}}
	what := shared{addrs, list, addrs[:1]}
	if got, err := parseCandidates(appendCandidates(nil, what)); err != nil || !reflect.DeepEqual(got, what) {
		t.Errorf("%v %v", got, err)
	}
	many := make([]netip.AddrPort, maxCandidates+1)
	for i := range many {
		many[i] = addrs[0]
	}
	for _, what := range []shared{{addrs: many}, {turn: many[:MaxTURN+1]}} {
		if _, err := parseCandidates(appendCandidates(nil, what)); err == nil {
			t.Error("too many candidates accepted")
		}
	}
}

func FuzzHello(f *testing.F) {
	h := sampleHello()
	f.Add(h.append(nil))
	f.Add([]byte{1, 0})
	f.Add([]byte{2, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			return
		}
		h.minor = 0
		back, err := parseHello(h.append(nil))
		if err != nil || back != h {
			t.Errorf("%+v became %+v, %v", h, back, err)
		}
	})
}

func FuzzControl(f *testing.F) {
	f.Add(appendFrame(nil, frameCandidates, appendCandidates(nil, shared{[]netip.AddrPort{netip.MustParseAddrPort("[::1]:1")}, []near{{}}, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}})))
	f.Add([]byte{frameSession, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, body, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(body) > MaxBody {
			t.Fatal("long body")
		}
		switch typ {
		case frameCandidates:
			what, err := parseCandidates(body)
			if err == nil && (len(what.addrs) > maxCandidates || len(what.near) > maxNear || len(what.turn) > MaxTURN) {
				t.Error("too many candidates")
			}
			for _, a := range append(what.addrs, what.turn...) {
				if !a.Addr().IsValid() || a.Addr().Is4In6() {
					t.Errorf("address %v", a)
				}
			}
		}
	})
}
