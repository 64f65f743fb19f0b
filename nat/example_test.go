// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// Two nodes that know each other's offer find a path. A driver would carry the
// datagrams over sockets and take the time from a clock.
func ExamplePaths() {
	anna, bert := nat.NewCred(), nat.NewCred()
	atAnna := netip.MustParseAddrPort("192.168.1.2:5000")
	atBert := netip.MustParseAddrPort("192.168.1.3:6000")
	a := nat.NewPaths(anna, bert, rand.New(rand.NewPCG(1, 2)), nat.Options{})
	b := nat.NewPaths(bert, anna, rand.New(rand.NewPCG(3, 4)), nat.Options{})

	now := time.Unix(1_800_000_000, 0)
	a.Add(now, sock.Path{Remote: atBert})
	for range 100 { // both sides, a millisecond each way
		now = now.Add(time.Millisecond)
		a.Advance(now)
		for d, ok := a.Poll(); ok; d, ok = a.Poll() {
			b.Receive(now, sock.Path{Remote: atAnna}, d.B)
		}
		now = now.Add(time.Millisecond)
		b.Advance(now)
		for d, ok := b.Poll(); ok; d, ok = b.Poll() {
			a.Receive(now, sock.Path{Remote: atBert}, d.B)
		}
	}
	path, _, ok := a.Active()
	fmt.Println(path.Remote, ok, nat.KindOf(path))
	path, _, ok = b.Active() // it was never told, but asked
	fmt.Println(path.Remote, ok, nat.KindOf(path))
	// Output:
	// 192.168.1.3:6000 true lan
	// 192.168.1.2:5000 true lan
}
