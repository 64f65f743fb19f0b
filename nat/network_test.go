// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"testing"
	"time"
)

// A peer that moves to another network in mid-call says so at once, whichever
// side decides on paths: the other one follows to an address that nobody told it,
// and says where it sees us now.
func TestNetworkChanged(t *testing.T) {
	for _, mover := range []string{"controlling", "other"} {
		t.Run(mover, func(t *testing.T) {
			w := newWorld(t, 1)
			w.delay = func(netip.AddrPort, netip.AddrPort) time.Duration { return 20 * time.Millisecond }
			ca, cb := creds()
			if mover == "other" {
				ca, cb = cb, ca
			}
			home := &natBox{ip: netip.MustParseAddr("198.51.100.1")}
			a := w.peer("a", ca, cb, Options{}, behind(home, "192.168.0.2:5000"))
			b := w.peer("b", cb, ca, Options{}, behind(nil, "203.0.113.1:6000"))
			a.add(true, 0, "203.0.113.1:6000")
			w.run(time.Second)
			w.talk(a, b)
			w.run(3 * time.Second)
			a.got, b.got, a.gap, b.gap = nil, nil, 0, 0
			a.socks[0].nat = &natBox{ip: netip.MustParseAddr("198.51.100.77")}
			a.p.NetworkChanged(w.now)
			w.drain(a)
			w.run(2 * time.Second)
			if got := b.active(); got != "0/198.51.100.77:40007" {
				t.Errorf("b writes to %s", got)
			}
			if a.active() == "" || count[Down](a) > 0 {
				t.Error("a has lost its path")
			}
			told := false
			for _, e := range a.got {
				if r, ok := e.(Reflexive); ok && r.Addr == netip.MustParseAddrPort("198.51.100.77:40007") {
					told = true
				}
			}
			if !told {
				t.Error("a does not know its new address")
			}
			// Two round trips and a packet: without the news it takes the silence limit.
			if most := 100 * time.Millisecond; a.gap > most || b.gap > 40*time.Millisecond {
				t.Errorf("pauses of %v and %v", a.gap, b.gap)
			}
		})
	}
}

// The same address is told again, since the driver has forgotten it; the way
// that works stays.
func TestNetworkChangedBack(t *testing.T) {
	w, a, b := natted(t, 1, 0, true, 0)
	w.run(time.Second)
	before := a.active()
	a.got = nil
	a.p.NetworkChanged(w.now)
	w.drain(a)
	w.run(time.Second)
	if a.active() != before || count[Reflexive](a) == 0 || count[Down](a)+count[Switched](a)+count[Switched](b) > 0 {
		t.Errorf("%s became %s: %+v", before, a.active(), a.got)
	}
	empty := newWorld(t, 2).peer("c", Cred{Tag: [8]byte{9}}, Cred{}, Options{})
	empty.p.NetworkChanged(epoch) // without any path, or key
	empty.check()
}
