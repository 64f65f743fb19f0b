// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestAnyOrderOfAnswers lets routers answer at random and checks what must
// always hold: never two errands of a method, never a standstill, at most one
// endpoint mapped, each lost once, and the events say what Mapping says.
func TestAnyOrderOfAnswers(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 7))
		x := newRig(t)
		up := map[netip.AddrPort]bool{}
		look := func() {
			for _, e := range x.told {
				switch e := e.(type) {
				case Mapped:
					up[e.Mapping.External] = true
				case Lost:
					if !up[e.Mapping.External] {
						t.Fatalf("seed %d: lost %v, which was not mapped", seed, e.Mapping.External)
					}
					delete(up, e.Mapping.External)
				}
			}
			x.told = nil
			m, ok := x.r.Mapping()
			if ok != (len(up) == 1) || ok && !up[m.External] || len(up) > 1 {
				t.Fatalf("seed %d: mapping %v %v, told %v", seed, m.External, ok, up)
			}
		}
		answer := func() {
			o := x.out[rng.IntN(len(x.out))]
			g := given(fmt.Sprintf("203.0.113.7:%d", 4000+rng.IntN(3)))
			g.epoch, g.hasEpoch = uint32(rng.IntN(5)), rng.IntN(2) == 0
			err := []error{nil, nil, nil, ErrNoAnswer, ErrUnusable, errGone, &RefusedError{o.method, 2, ""}, errOldVersion}[rng.IntN(8)]
			if o.verb == verbCheck {
				g.external = netip.AddrPort{}
			}
			x.done(o.method, g, err)
			look()
		}
		for range 200 {
			switch n := rng.IntN(10); {
			case n < 6 && len(x.out) > 0:
				answer()
			case n == 6:
				x.r.Announce(x.now, announcement{method: PCP, epoch: uint32(rng.IntN(100))})
			case n == 7:
				x.r.Refresh(x.now)
				x.drain()
			default:
				if len(x.out) == 0 && x.r.Deadline().IsZero() {
					t.Fatalf("seed %d: standstill", seed)
				}
				x.pass(time.Duration(rng.Int64N(int64(10 * time.Minute))))
			}
			look()
		}
		x.r.Close(x.now)
		x.drain()
		for len(x.out) > 0 {
			answer()
		}
		look()
		if len(up) > 0 || !x.r.Idle() {
			t.Fatalf("seed %d: left %v, idle %v", seed, up, x.r.Idle())
		}
	}
}
