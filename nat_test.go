// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/nat"
)

// A node that knows a few ordinary neighbours learns what NAT it is behind.
func TestNATVerdict(t *testing.T) {
	t.Parallel()
	const (
		ei  = simnet.EndpointIndependent
		ad  = simnet.AddressDependent
		apd = simnet.AddressAndPortDependent
	)
	for name, c := range map[string]struct {
		box       *simnet.NATConfig
		mapping   nat.Dependence
		filtering nat.Dependence
		ports     nat.PortRule
	}{
		"none":            {nil, nat.NoNAT, nat.NoNAT, nat.Preserved},
		"full cone":       {&simnet.NATConfig{Mapping: ei, Filtering: ei}, nat.EndpointIndependent, nat.EndpointIndependent, nat.Preserved},
		"port restricted": {&simnet.NATConfig{Mapping: ei, Filtering: apd}, nat.EndpointIndependent, nat.AddressAndPortDependent, nat.Preserved},
		"symmetric":       {&simnet.NATConfig{Mapping: apd, Filtering: apd, Ports: simnet.Random}, nat.AddressAndPortDependent, nat.AddressAndPortDependent, nat.RandomPorts},
		"address dependent": {&simnet.NATConfig{Mapping: ad, Filtering: ad, Ports: simnet.Random, Block: [2]uint16{40960, 41471}},
			nat.AddressDependent, nat.AddressDependent, nat.BlockPorts},
	} {
		t.Run(name, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				var join []string
				for i := range 4 {
					var h *simnet.Host
					s.net.Do(func(w *simnet.World) {
						// Some are near and some are far: all are joined.
						h = w.Host("public", simnet.Profile{Delay: time.Duration(5+20*i) * time.Millisecond}, netip.AddrFrom4([4]byte{45, byte(10 + i), 0, 1}))
					})
					p := s.start("public", Config{Join: join}, s.opener(h), s.listen(h, 4000))
					if err := p.Join(t.Context()); err != nil {
						t.Fatal(err)
					}
					for _, to := range join { // everybody knows everybody
						if _, err := p.ov.Dial(t.Context(), netip.MustParseAddrPort(to)); err != nil {
							t.Fatal(err)
						}
					}
					join = append(join, p.Status().Listen[0].String())
				}
				time.Sleep(30 * time.Second)
				var h *simnet.Host
				if c.box == nil {
					s.net.Do(func(w *simnet.World) { h = w.Host("a", access, netip.MustParseAddr("46.1.0.1")) })
				} else {
					h = s.behind("a", *c.box)
				}
				a := s.start("a", Config{Join: join}, s.opener(h), s.listen(h, 4000))
				events := a.Events(t.Context())
				if err := a.Join(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if n := a.Status().Links; n != len(join) {
					t.Errorf("%d links", n)
				}
				b := a.NAT().Behaviour
				if b.Mapping != c.mapping || b.Filtering != c.filtering || b.Ports != c.ports || b.Confidence < 0.8 {
					t.Errorf("%v, filter %v, ports %v %v, confidence %.2f; want %v, %v, %v",
						b.Mapping, b.Filtering, b.Ports, b.Block, b.Confidence, c.mapping, c.filtering, c.ports)
				}
				for _, why := range a.NAT().Evidence {
					t.Log(why)
				}
				a.Close()
				told := false
				for e := range events {
					if v, ok := e.(NAT); ok && v.Behaviour.Mapping == c.mapping {
						told = true
						break
					}
				}
				if !told {
					t.Error("no event")
				}
			})
		})
	}
}

// Neighbours that are behind NATs themselves, and were introduced, tell a node
// as much: where nobody is public there are no others.
func TestNATVerdictFromIntroduced(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		join := s.publics(1)
		var nodes []*Node
		for i := range 8 {
			c := simnet.NATConfig{Pool: []netip.Addr{netip.AddrFrom4([4]byte{46, byte(i), 0, 1})}, Ports: simnet.Random}
			if i == 0 {
				c.Mapping, c.Filtering = simnet.AddressAndPortDependent, simnet.AddressAndPortDependent
			}
			var h *simnet.Host
			s.net.Do(func(w *simnet.World) {
				h = w.NAT("nat", simnet.Profile{}, c).Host("node", access, netip.MustParseAddr("192.168.1.2"))
			})
			n := s.start("node", Config{Join: join}, s.opener(h), s.listen(h, 4000))
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, n)
		}
		time.Sleep(20 * time.Second)
		for i, n := range nodes {
			want := nat.EndpointIndependent
			if i == 0 {
				want = nat.AddressAndPortDependent
			}
			if b := n.NAT().Behaviour; b.Mapping != want || b.Confidence < 0.5 {
				t.Errorf("node %d with %d links: %v, confidence %.2f; want %v", i, n.Status().Links, b.Mapping, b.Confidence, want)
			}
		}
	})
}
