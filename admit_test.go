// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// Nothing is carried for neighbours that the application refuses, and it is asked
// about each once; its status tells what a node carries.
func TestMayRelay(t *testing.T) {
	for _, allow := range []bool{false, true} {
		simSeed(t, 1, func(t *testing.T, s *sim) {
			var asked atomic.Int32
			var join []string
			for _, name := range []string{"r0", "r1"} {
				h := s.public(name)
				n := s.start(name, Config{Join: join, MayRelay: func(a RelayAsk) error {
					asked.Add(1)
					if !a.Addr.IsValid() || a.Node == (RelayAsk{}).Node {
						t.Errorf("asked about %+v", a)
					}
					if !allow {
						return errors.New("not here")
					}
					return nil
				}}, s.opener(h), s.listen(h, 4000))
				if err := n.Join(t.Context()); len(join) > 0 && err != nil {
					t.Fatal(err)
				}
				join = append(join, netip.AddrPortFrom(h.Addrs()[0], 4000).String())
			}
			a, b := s.pairAt(s.computer("a", "edm"), s.computer("b", "edm"), join)
			_ = s.callee(b)
			call, err := a.Call(t.Context(), s.ticket(b), nil)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			kind := call.Path().Kind
			carried := 0
			for _, n := range s.nodes[:2] {
				r := n.Status().Relay
				carried += r.Calls
				if !allow && (r.Calls+r.Rings+r.Links > 0 || r.Bytes > 0) {
					t.Errorf("refused, and carried: %+v", r)
				}
			}
			if allow && (kind != "relay" || carried == 0) {
				t.Errorf("path %q, %d calls carried", kind, carried)
			}
			if n := asked.Load(); n < 4 || n > 8 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
