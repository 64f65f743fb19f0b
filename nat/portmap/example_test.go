// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/nat/portmap"
)

func ExampleOpen() {
	c := portmap.Open(portmap.Config{
		Internal: netip.MustParseAddrPort("0.0.0.0:4000"), // where our UDP socket listens
		// Left out, the system's routing table is read.
		Gateway: func() (netip.Addr, error) { return netip.Addr{}, portmap.ErrNoGateway },
	})
	defer c.Close() // withdraws what was mapped

	for e := range c.Changes(context.Background()) {
		switch e := e.(type) {
		case portmap.Mapped:
			fmt.Println("anybody can send to", e.Mapping.External)
		case portmap.Lost:
			fmt.Println("not any more to", e.Mapping.External)
		case portmap.Failed:
			fmt.Println("for now:", e.Err)
			return
		}
	}
	// Output: for now: portmap: no router
}
