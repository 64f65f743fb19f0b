// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// shut keeps a socket from some addresses, as a firewall does.
type shut struct {
	net.PacketConn
	from []netip.Addr
}

func (s shut) passes(a net.Addr) bool {
	return !slices.Contains(s.from, a.(*net.UDPAddr).AddrPort().Addr().Unmap())
}

func (s shut) WriteTo(b []byte, to net.Addr) (int, error) {
	if !s.passes(to) {
		return len(b), nil
	}
	return s.PacketConn.WriteTo(b, to)
}

func (s shut) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(b)
		if err != nil || s.passes(from) {
			return n, from, err
		}
	}
}

// Where no node reaches both sides, two relays in a row carry the call: each side
// here reaches two of four nodes, which reach each other.
func TestTwoHops(t *testing.T) {
	t.Parallel()
	for seed := range seeds(1, 20) {
		simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
			var join []string
			var hosts []*simnet.Host
			var relays []*Node
			for i := range 4 {
				var h *simnet.Host
				s.net.Do(func(w *simnet.World) {
					h = w.Host(fmt.Sprintf("r%d", i), access, netip.AddrFrom4([4]byte{45, byte(10 + i), 0, 1}))
				})
				n := s.start(h.Name(), Config{Join: join}, s.opener(h), s.listen(h, 4000))
				if err := n.Join(t.Context()); i > 0 && err != nil {
					t.Fatal(err)
				}
				for _, to := range join {
					if _, err := n.ov.Dial(t.Context(), netip.MustParseAddrPort(to)); err != nil {
						t.Fatal(err)
					}
				}
				join, hosts, relays = append(join, n.Status().Listen[0].String()), append(hosts, h), append(relays, n)
			}
			side := func(name string, near, far []*simnet.Host) *Node {
				var closed []netip.Addr
				for _, h := range far {
					closed = append(closed, h.Addrs()...)
				}
				m := s.computer(name, "edm")
				open := func(_ bool, port uint16) (net.PacketConn, error) {
					c, err := s.net.Listen(m.v4, port)
					if err != nil {
						return nil, err
					}
					return shut{c, closed}, nil
				}
				var known []string
				for _, h := range near {
					known = append(known, netip.AddrPortFrom(h.Addrs()[0], 4000).String())
				}
				n := s.start(name, Config{Join: known}, open, shut{s.listen(m.v4, 4000), closed})
				if err := n.Join(t.Context()); err != nil {
					t.Fatal(err)
				}
				return n
			}
			a, b := side("a", hosts[:2], hosts[2:]), side("b", hosts[2:], hosts[:2])
			time.Sleep(10 * time.Second)
			// Routing goes by IDs, which are others each time, and not by who can reach
			// whom: a ring may fail in so odd a network, the call is what is tested.
			ears := s.callee(b)
			var call *Call
			for try := 0; call == nil; try++ {
				c, err := a.Call(t.Context(), s.ticket(b), nil)
				if err == nil {
					err = c.Answered(t.Context())
				}
				switch {
				case err == nil:
					call = c
				case try == 5:
					t.Fatal(err)
				default:
					time.Sleep(10 * time.Second)
				}
			}
			theirs := <-ears
			s.talk(call)
			mine := s.hear(call)
			two := 0
			for i := 0; two != 4 && i < 20; i++ { // the second way may be asked for in vain at first
				time.Sleep(5 * time.Second)
				two = 0
				for _, n := range relays {
					two += n.Status().Relay.TwoHop
				}
			}
			p := call.Path()
			t.Logf("path %+v, %d flows over two relays", p, two)
			if p.Kind != "relay" || two != 4 {
				t.Errorf("path %+v, %d flows over two relays", p, two)
			}
			for i, n := range relays { // losing one of the four is hardly heard
				if len(p.Vias) > 0 && n.NodeID() == p.Vias[0] {
					s.net.Do(func(*simnet.World) { hosts[i].Cut(true) })
				}
			}
			time.Sleep(30 * time.Second)
			call.HangUp()
			<-mine.done
			<-theirs.done
			for who, e := range map[string]*ear{"caller": mine, "callee": theirs} {
				if e.frames < 1650 || e.lost > 50 { // a second; mostly it is none
					t.Errorf("%s heard %d frames, %d lost", who, e.frames, e.lost)
				}
			}
		})
	}
}
