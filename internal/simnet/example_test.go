// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// greeter says hello to a peer at a given time and notes who greets it.
type greeter struct {
	name string
	peer netip.AddrPort
	due  time.Time
	out  bool
}

func (g *greeter) Receive(now time.Time, _ int, from netip.AddrPort, b []byte) {
	fmt.Printf("%s hears %q from %v at %s\n", g.name, b, from, now.Format("05.000"))
}

func (g *greeter) Advance(time.Time)   { g.due, g.out = time.Time{}, true }
func (g *greeter) Deadline() time.Time { return g.due }

func (g *greeter) Poll() (int, netip.AddrPort, []byte, bool) {
	send := g.out
	g.out = false
	return 0, g.peer, []byte("hello from " + g.name), send
}

// Two hosts behind port-restricted NATs greet each other. Alice is early: her
// datagram dies at Bob's box, but opens her own for his.
func Example() {
	start := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	w := simnet.NewWorld(1, start)
	w.Trace(func(e simnet.TraceEvent) {
		if e.Action == simnet.Dropped {
			fmt.Println(e)
		}
	})
	home := func(name, outside string) *simnet.Host {
		box := w.NAT(name+"'s box", simnet.Profile{Delay: 10 * time.Millisecond}, simnet.NATConfig{
			Pool:      []netip.Addr{netip.MustParseAddr(outside)},
			Filtering: simnet.AddressAndPortDependent,
		})
		return box.Host(name, simnet.Profile{}, netip.MustParseAddr("192.168.1.2"))
	}
	alice := &greeter{name: "alice", peer: netip.MustParseAddrPort("45.0.0.2:4000"), due: start}
	bob := &greeter{name: "bob", peer: netip.MustParseAddrPort("45.0.0.1:4000"), due: start.Add(time.Second)}
	home("alice", "45.0.0.1").Attach(4000, alice)
	home("bob", "45.0.0.2").Attach(4000, bob)

	w.Run(start.Add(2 * time.Second))
	// Output:
	// 00:00:00.020000000 bob's box dropped #1 45.0.0.1:4000 > 45.0.0.2:4000 16 bytes: no mapping
	// alice hears "hello from bob" from 45.0.0.2:4000 at 01.020
}
