// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Lives are known within two and a half times their length, and not told
// before; what is told is not longer than the truth, nor much shorter.
func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		unreplied, replied, absolute time.Duration
		m, f                         simnet.Behaviour
		rule                         simnet.PortRule
		outbound                     bool
	}{
		{30 * time.Second, 120 * time.Second, 0, simnet.EndpointIndependent, simnet.AddressAndPortDependent, simnet.Preserve, false},
		{30 * time.Second, 180 * time.Second, 0, simnet.AddressAndPortDependent, simnet.AddressAndPortDependent, simnet.Random, true},
		{60 * time.Second, 60 * time.Second, 0, simnet.EndpointIndependent, simnet.EndpointIndependent, simnet.Random, false},
		{120 * time.Second, 300 * time.Second, 0, simnet.AddressDependent, simnet.AddressDependent, simnet.Sequential, false},
		{20 * time.Second, 300 * time.Second, 50 * time.Second, simnet.AddressAndPortDependent, simnet.AddressAndPortDependent, simnet.Random, false},
		{30 * time.Second, 300 * time.Second, 60 * time.Second, simnet.EndpointIndependent, simnet.AddressAndPortDependent, simnet.Preserve, false},
		{30 * time.Second, 300 * time.Second, 75 * time.Second, simnet.EndpointIndependent, simnet.EndpointIndependent, simnet.Random, false},
	} {
		t.Run(fmt.Sprint(c.unreplied, c.replied, c.absolute), func(t *testing.T) {
			t.Parallel()
			bad := 0
			seeds := 20
			if raceOn {
				seeds = 5
			}
			for seed := range uint64(seeds) {
				box := simnet.NATConfig{
					Pool: pool[:1], Mapping: c.m, Filtering: c.f, Ports: c.rule,
					Unreplied: c.unreplied, Replied: c.replied, Absolute: c.absolute, OutboundRefresh: c.outbound,
				}
				l := newLab(t, labConfig{seed: seed, box: &box, peers: 4, seconds: 1, link: simnet.Profile{Delay: 20 * ms, Loss: 0.01}})
				at := map[string]time.Duration{}
				last := Behaviour{}
				for l.w.Now().Sub(epoch) < 1000*time.Second {
					l.run(time.Second)
					b, now := l.s.c.Behaviour(), l.w.Now().Sub(epoch)
					for _, v := range []struct {
						name    string
						was, is time.Duration
					}{{"unreplied", last.Unreplied, b.Unreplied}, {"replied", last.Replied, b.Replied}, {"absolute", last.Absolute, b.Absolute}} {
						if v.was != v.is {
							at[v.name] = now
						}
					}
					last = b
				}
				check := func(name string, is, want time.Duration) {
					if want == 0 && is == 0 {
						return
					}
					if is > want || 4*is < 3*want || at[name] > want*5/2+3*time.Second {
						bad++
						t.Logf("seed %d: %s life %v at %v, is %v", seed, name, is, at[name], want)
					}
				}
				check("unreplied", last.Unreplied, c.unreplied)
				check("absolute", last.Absolute, c.absolute)
				if c.absolute == 0 {
					check("replied", last.Replied, c.replied)
				} else if last.Replied > c.absolute {
					t.Errorf("seed %d: replied life %v beyond the absolute one", seed, last.Replied)
				}
				if n := len(l.s.socks); n != 1 {
					t.Errorf("seed %d: %d sockets are still open", seed, n)
				}
				if l.s.c.Deadline() != (time.Time{}) {
					t.Errorf("seed %d: still at work", seed)
				}
			}
			if bad > 2 {
				t.Errorf("%d of %d wrong", bad, seeds)
			}
		})
	}
}
