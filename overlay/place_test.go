// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// While a node's table fills, its record is told a few times; what has become
// wrong is corrected at once.
func TestPlace(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddrPort
	intro := func(n byte) identity.Introducer {
		return identity.Introducer{Node: identity.NodeID{n}, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, 9, n}), 4000)}
	}
	gone := map[identity.NodeID]bool{}
	var p place
	tell := func(at time.Duration, is identity.Location) bool {
		return p.tell(now.Add(at), is, func(i identity.Introducer) bool { return !gone[i.Node] })
	}
	is := identity.Location{Introducers: []identity.Introducer{intro(1)}, Addrs: []netip.AddrPort{addr("192.168.1.2:4000")}}
	if !tell(0, is) || tell(0, is) {
		t.Error("the first place is told once")
	}

	// A minute in which something is new every two seconds.
	told := 0
	for s := 2; s <= 60; s += 2 {
		is.Introducers = []identity.Introducer{intro(1), intro(byte(s)), intro(byte(s + 1))}
		is.Class = uint8(s / 2 % 2)
		if tell(time.Duration(s)*time.Second, is) {
			told++
		}
	}
	if told < 2 || told > 4 {
		t.Errorf("told %d times in a minute", told)
	}

	for _, step := range []struct {
		what string
		make func()
		want bool
	}{
		{"nothing new", func() {}, false},
		{"one introducer has gone", func() { gone[p.told.Introducers[1].Node] = true }, false},
		{"all have", func() {
			for _, i := range p.told.Introducers {
				gone[i.Node] = true
			}
			is.Introducers = []identity.Introducer{intro(200)}
		}, true},
		{"seen somewhere, kind of NAT unknown", func() {
			is.Class = uint8(mesh.Unknown)
			is.Addrs = []netip.AddrPort{addr("46.0.0.1:1000"), addr("192.168.1.2:4000")}
		}, false},
		{"better after a while", func() { now = now.Add(betterFirst) }, true},
		{"another port there", func() { is.Addrs[0] = addr("46.0.0.1:1001") }, false},
		{"of a NAT that keeps it", func() { is.Class = uint8(mesh.Easy) }, true},
		{"another address", func() { is.Addrs[0] = addr("46.0.0.2:1001"); is.Class = uint8(mesh.Hard) }, true},
		{"an open TCP port", func() { is.TCP = []netip.AddrPort{addr("46.0.0.2:443")} }, false},
		{"better after a while", func() { now = now.Add(betterFirst) }, true},
		{"which closes", func() { is.TCP = nil }, true},
	} {
		is.Addrs = append([]netip.AddrPort(nil), is.Addrs...)
		step.make()
		if got := tell(time.Minute, is); got != step.want {
			t.Errorf("%s: told %v", step.what, got)
		}
	}
}
