// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/nat"
)

// publics starts n ordinary nodes with open addresses in different networks,
// all linked with each other, and returns where to join.
func (s *sim) publics(n int) (join []string) {
	s.t.Helper()
	for i := range n {
		var h *simnet.Host
		s.net.Do(func(w *simnet.World) {
			h = w.Host("public", access, netip.AddrFrom4([4]byte{45, byte(10 + i), 0, 1}))
		})
		p := s.start("public", Config{Join: join}, s.opener(h), s.listen(h, 4000))
		if err := p.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		for _, to := range join {
			if _, err := p.ov.Dial(s.t.Context(), netip.MustParseAddrPort(to)); err != nil {
				s.t.Fatal(err)
			}
		}
		join = append(join, p.Status().Listen[0].String())
	}
	return join
}

// Whole nodes behind every pair of NATs that a direct path is promised for call
// each other, whoever calls.
func TestCallThroughNATs(t *testing.T) {
	t.Parallel()
	const (
		ei  = simnet.EndpointIndependent
		ad  = simnet.AddressDependent
		apd = simnet.AddressAndPortDependent
	)
	boxes := map[string]simnet.NATConfig{
		"cone":       {Mapping: ei, Filtering: ei},
		"restricted": {Mapping: ei, Filtering: apd, Ports: simnet.Random},
		"symmetric":  {Mapping: apd, Filtering: apd, Ports: simnet.Random},
		"block":      {Mapping: apd, Filtering: apd, Ports: simnet.Random, Block: [2]uint16{40960, 41471}},
		"address":    {Mapping: ad, Filtering: ad, Ports: simnet.Random, Block: [2]uint16{20480, 20991}},
	}
	for _, pair := range [][2]string{
		{"cone", "symmetric"}, {"symmetric", "cone"}, {"restricted", "symmetric"}, {"symmetric", "restricted"},
		{"restricted", "block"}, {"block", "restricted"}, {"address", "address"}, {"restricted", "address"},
	} {
		t.Run(pair[0]+" calls "+pair[1], func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				join := s.publics(4)
				ha, hb := s.behind("a", boxes[pair[0]]), s.behind("b", boxes[pair[1]])
				a := s.start("a", Config{Join: join}, s.opener(ha), s.listen(ha, 4000))
				b := s.start("b", Config{Join: join}, s.opener(hb), s.listen(hb, 4000))
				for _, n := range []*Node{a, b} {
					if err := n.Join(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Second) // until they know their NATs
				ears := s.callee(b)
				start := time.Now()
				call, err := a.Call(t.Context(), s.ticket(b), nil)
				if err != nil {
					t.Fatalf("%v (%v × %v)", err, a.NAT().Behaviour.Mapping, b.NAT().Behaviour.Mapping)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("answered after %v over %v", time.Since(start), call.Path().Kind)
				s.converse(call, ears, 5*time.Second, func() {
					if p := call.Path(); p.Kind != "direct" {
						t.Errorf("path %+v", p)
					}
				})
			})
		})
	}
}

// A few public nodes of one provider, each caller linked with other ones: the
// hint they can give is enough for a search.
func TestCallThroughNATsFewNeighbours(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var join []string
		for i := range 4 {
			var h *simnet.Host
			s.net.Do(func(w *simnet.World) { h = w.Host("public", access, netip.AddrFrom4([4]byte{45, 10, byte(1 + i), 2})) })
			var j []string
			if i > 0 {
				j = join[:1]
			}
			p := s.start("public", Config{Join: j}, s.opener(h), s.listen(h, 4000))
			if err := p.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
			join = append(join, p.Status().Listen[0].String())
		}
		time.Sleep(5 * time.Second)
		ha := s.behind("a", simnet.NATConfig{Mapping: simnet.EndpointIndependent, Filtering: simnet.AddressAndPortDependent})
		hb := s.behind("b", simnet.NATConfig{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random})
		a := s.start("a", Config{Join: join[:2]}, s.opener(ha), s.listen(ha, 4000))
		b := s.start("b", Config{Join: join[2:]}, s.opener(hb), s.listen(hb, 4000))
		for _, n := range []*Node{a, b} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		if m := b.NAT().Behaviour; m.Mapping != nat.AddressAndPortDependent || m.Confidence > 0.5 {
			t.Errorf("b thinks %v at %.2f", m.Mapping, m.Confidence)
		}
		ears := s.callee(b)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.converse(call, ears, time.Second)
	})
}

// Where no direct path is promised the call is relayed, and says why.
func TestRelayedSaysWhy(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		join := s.publics(4)
		box := simnet.NATConfig{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random}
		ha, hb := s.behind("a", box), s.behind("b", box)
		a := s.start("a", Config{Join: join}, s.opener(ha), s.listen(ha, 4000))
		b := s.start("b", Config{Join: join}, s.opener(hb), s.listen(hb, 4000))
		for _, n := range []*Node{a, b} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		ears := s.callee(b)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.converse(call, ears, 5*time.Second, func() {
			if p := call.Path(); p.Kind != "relay" || !strings.Contains(p.Reason, "NAT") {
				t.Errorf("path %+v", p)
			}
		})
	})
}
