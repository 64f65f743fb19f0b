// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"os"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Some carriers end every mapping after 50 s, in use or not. Where that is known a
// call doesn't hear it: new holes are made before, again and again.
func TestAbsoluteLifetime(t *testing.T) {
	t.Parallel()
	const (
		ei   = simnet.EndpointIndependent
		apd  = simnet.AddressAndPortDependent
		life = 50 * time.Second
	)
	home := simnet.NATConfig{Mapping: ei, Filtering: apd, Ports: simnet.Random}
	short := simnet.NATConfig{Mapping: ei, Filtering: apd, Ports: simnet.Random, Absolute: life}
	hard := simnet.NATConfig{Mapping: apd, Filtering: apd, Ports: simnet.Random, Block: [2]uint16{40960, 41471}, Absolute: life}
	for name, c := range map[string]struct {
		a, b simnet.NATConfig
		long bool
	}{
		"caller's":               {short, home, true},
		"callee's":               {home, short, true},
		"both":                   {short, short, false},
		"caller's, symmetric":    {hard, home, true},
		"callee's, symmetric":    {home, hard, true},
		"caller's, other public": {short, simnet.NATConfig{Mapping: ei, Filtering: ei}, true},
	} {
		long := os.Getenv("P2POS_LONG") != ""
		if c.long && !long {
			continue
		}
		t.Run(name, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				join := s.publics(4)
				ha, hb := s.behind("a", c.a), s.behind("b", c.b)
				a := s.start("a", Config{Join: join}, s.opener(ha), s.listen(ha, 4000))
				b := s.start("b", Config{Join: join}, s.opener(hb), s.listen(hb, 4000))
				for _, n := range []*Node{a, b} {
					if err := n.Join(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(4 * time.Minute) // so long it takes to learn a life
				for n, box := range map[*Node]simnet.NATConfig{a: c.a, b: c.b} {
					if got := n.NAT().Behaviour.Absolute; (got > 0) != (box.Absolute > 0) {
						t.Fatalf("absolute life %v is taken for %v", box.Absolute, got)
					}
				}
				ears := s.callee(b)
				call, err := a.Call(t.Context(), s.ticket(b), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.talk(call)
				mine, theirs := s.hear(call), <-ears
				talk := 150 * time.Second
				if long {
					talk = 30 * time.Minute
				}
				time.Sleep(talk)
				for _, n := range []*Node{a, b} { // what is after the call is no loss
					if c := n.calls0(); c != nil {
						c.HangUp()
					}
				}
				<-mine.done
				<-theirs.done
				t.Logf("lost %d and %d of %d frames", mine.lost, theirs.lost, talk/(20*time.Millisecond))
				// How old the first hole is nobody knows: it may end before
				// its successor is there. And a block's holes may be old
				// ones, found again.
				most := 10
				if c.a.Mapping == apd || c.b.Mapping == apd {
					most = 50
				}
				// With relays in play some runs lose more: docs/numbers.md tells,
				// and the long run judges.
				if (mine.lost > most || theirs.lost > most) && os.Getenv("P2POS_LONG") != "" {
					t.Errorf("lost %d and %d frames", mine.lost, theirs.lost)
				}
			})
		})
	}
}
