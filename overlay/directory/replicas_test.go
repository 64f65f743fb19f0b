// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/p2pos/p2pos/identity"
)

func TestReplicas(t *testing.T) {
	at := func(n byte, addr string) Candidate {
		c := Candidate{ID: node(n)}
		if addr != "" {
			c.Addr = netip.MustParseAddr(addr)
		}
		return c
	}
	for what, c := range map[string]struct {
		in   []Candidate
		n    int
		want []byte
	}{
		"nearest first": {[]Candidate{at(3, ""), at(1, ""), at(2, "")}, 2, []byte{1, 2}},
		"one of a /24": {[]Candidate{at(1, "198.51.100.1"), at(2, "198.51.100.2"), at(3, "203.0.113.1"), at(4, "192.0.2.1")},
			3, []byte{1, 3, 4}},
		"two of a /16": {[]Candidate{at(1, "198.51.1.1"), at(2, "198.51.2.1"), at(3, "198.51.3.1"), at(4, "192.0.2.1")},
			3, []byte{1, 2, 4}},
		"one of a /48": {[]Candidate{at(1, "2001:db8:1::1"), at(2, "2001:db8:1:2::1"), at(3, "2001:db8:2::1"), at(4, "2001:db9::1")},
			3, []byte{1, 3, 4}},
		"two of a /32": {[]Candidate{at(1, "2001:db8:1::1"), at(2, "2001:db8:2::1"), at(3, "2001:db8:3::1"), at(4, "2001:db9::1")},
			3, []byte{1, 2, 4}},
		"the rest fills up, nearest first": {[]Candidate{at(4, "198.51.100.4"), at(1, "198.51.100.1"), at(2, "198.51.100.2"), at(9, "203.0.113.1")},
			4, []byte{1, 9, 2, 4}},
		"private ones are not counted": {[]Candidate{at(1, "192.168.0.1"), at(2, "192.168.0.2"), at(3, "127.0.0.1"), at(4, "fd00::1")},
			4, []byte{1, 2, 3, 4}},
		"mapped is IPv4":     {[]Candidate{at(1, "::ffff:198.51.100.1"), at(2, "198.51.100.2"), at(3, "203.0.113.1")}, 2, []byte{1, 3}},
		"named twice":        {[]Candidate{at(1, "198.51.100.1"), at(1, "203.0.113.1"), at(2, "")}, 3, []byte{1, 2}},
		"fewer than wanted":  {[]Candidate{at(1, "")}, 8, []byte{1}},
		"none":               {nil, 8, nil},
		"none wanted":        {[]Candidate{at(1, "")}, 0, nil},
		"a flood of one /24": {[]Candidate{at(1, "198.51.100.1"), at(2, "198.51.100.2"), at(3, "198.51.100.3"), at(8, "203.0.113.1"), at(9, "192.0.2.1")}, 3, []byte{1, 8, 9}},
	} {
		for range 2 {
			var got []byte
			for _, id := range Replicas(Key{}, c.in, c.n) {
				got = append(got, id[0])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", what, got, c.want)
			}
			slices.Reverse(c.in) // the order has no influence
		}
	}
}

func TestPrefixOf(t *testing.T) {
	for in, want := range map[string]string{
		"198.51.100.7":        "198.51.100.0/24",
		"::ffff:198.51.100.7": "198.51.100.0/24",
		"2001:db8:1:2::3":     "2001:db8:1::/48",
		"10.1.2.3":            "invalid Prefix",
		"127.0.0.1":           "invalid Prefix",
		"fe80::1%eth0":        "invalid Prefix",
		"::1":                 "invalid Prefix",
	} {
		if got := PrefixOf(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if PrefixOf(netip.Addr{}).IsValid() {
		t.Error("no address has a prefix")
	}
}

func TestDistance(t *testing.T) {
	a, b := identity.NodeID{0: 1}, identity.NodeID{31: 1}
	if !less(Key{}, b, a) || less(Key{}, a, b) || less(Key{}, a, a) || !less(a, a, b) || distance(Key{}, a, b) != 1 || distance(a, a, b) != -1 {
		t.Error("order is wrong")
	}
}
