// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"sync"
	"testing"
	"time"
)

// Who calls before both routers are known gets a direct path as soon as they are:
// what each side's plan was made from is told anew, and no search goes out alone.
func TestCallAtOnce(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	step := 500 * time.Millisecond / time.Duration(seeds(1, 25))
	for wait := time.Duration(0); wait < 2*time.Second; wait += step {
		for _, kinds := range [][2]string{{"eim-apdf", "edm"}, {"edm", "eim-apdf"}} {
			simSeed(t, uint64(1+wait/step), func(t *testing.T, s *sim) {
				join := s.publics(4)
				a, b := s.on(s.computer("a", kinds[0]), Config{Join: join}), s.on(s.computer("b", kinds[1]), Config{Join: join})
				var wg sync.WaitGroup
				for _, n := range []*Node{a, b} {
					wg.Go(func() {
						if err := n.Join(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				time.Sleep(wait)
				d := s.ring(a, s.ticket(b), s.callee(b))
				s.talk(d.call)
				mine := s.hear(d.call)
				for time.Since(d.call.Started()) < time.Minute && d.call.Path().Kind != "direct" {
					time.Sleep(20 * time.Millisecond)
				}
				took = append(took, time.Since(d.call.Started()))
				if x := took[len(took)-1]; x > 12*time.Second {
					t.Errorf("%s calls %s %v after they joined: direct after %v: %+v", kinds[0], kinds[1], wait, x, d.call.Path())
				}
				d.call.HangUp()
				<-mine.done
				<-d.theirs.done
			})
		}
	}
	t.Logf("%d calls: direct after p50 %v, p95 %v, at most %v", len(took), percentile(took, 50), percentile(took, 95), percentile(took, 100))
}
