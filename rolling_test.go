// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Two people behind carriers that take a new port of a block for each
// connection: the call is relayed at once, and a slow search beside it ends in a
// direct path that nobody hears coming. With a share φ of the block and a
// mapping life T it takes T/(2φ²) in the mean (design §5).
func TestRollingSearch(t *testing.T) {
	block := simnet.NATConfig{
		Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent,
		Ports: simnet.Random, Block: [2]uint16{40960, 41471},
	}
	runs := []struct {
		name    string
		life    time.Duration
		share   float64
		n       int
		patient time.Duration // a call this long finds its path, but for one in ten thousand
	}{{"half", 10 * time.Second, 0.5, 1, 5 * time.Minute}}
	if os.Getenv("P2POS_LONG") != "" {
		runs[0].n = 20
		runs = append(runs, runs[0])
		runs[1].name, runs[1].life, runs[1].n, runs[1].patient = "half, T = 30 s", 30*time.Second, 20, 10*time.Minute
		runs = append(runs, runs[1])
		runs[2].name, runs[2].share, runs[2].patient = "a quarter, T = 30 s", 0, 29*time.Minute
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			box := block
			box.Unreplied = r.life
			var took []time.Duration
			for range r.n {
				simTest(t, func(t *testing.T, s *sim) {
					join := s.publics(4)
					ha, hb := s.behind("a", box), s.behind("b", box)
					a := s.start("a", Config{Join: join, PortShare: r.share}, s.opener(ha), s.listen(ha, 4000))
					b := s.start("b", Config{Join: join, PortShare: r.share}, s.opener(hb), s.listen(hb, 4000))
					for _, n := range []*Node{a, b} {
						if err := n.Join(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(3 * r.life) // until they know how long a mapping lives
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
					start := time.Now()
					if p := call.Path(); p.Kind != "relay" {
						t.Errorf("begins over %v", p.Kind)
					}
					for call.Path().Kind == "relay" && time.Since(start) < r.patient {
						time.Sleep(time.Second)
					}
					if p := call.Path(); p.Kind != "direct" {
						t.Errorf("after %v still %+v", r.patient, p)
					}
					took = append(took, time.Since(start))
					time.Sleep(10 * time.Second)
					call.HangUp()
					<-mine.done
					<-theirs.done
					t.Logf("direct after %v; lost %d and %d", took[len(took)-1], mine.lost, theirs.lost)
					if mine.lost+theirs.lost > 0 {
						t.Errorf("lost %d and %d frames", mine.lost, theirs.lost)
					}
				})
			}
			slices.Sort(took)
			t.Logf("half in %v, 95 %% in %v", took[len(took)/2], took[len(took)*95/100])
		})
	}
}
