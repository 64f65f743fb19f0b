// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// A network whose nodes are all behind NATs is stopped, the routers forget
// everything, and it is started again with nothing to join: whoever calls whom
// then hears him, also those that need a relay.
func TestCallsAfterRestart(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("long: set P2POS_LONG")
	}
	kinds := []string{"eim-eif", "edm", "eim-apdf", "eim-eif", "eim-apdf", "edm", "eim-apdf"}
	simTest(t, func(t *testing.T, s *sim) {
		// brief has one node call another, and hear it.
		brief := func(from *Node, to string, ears <-chan *ear) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := from.Call(ctx, to, nil)
			if err != nil {
				return err
			}
			if err := c.Answered(ctx); err != nil {
				return err
			}
			s.talk(c)
			mine, theirs := s.hear(c), <-ears
			time.Sleep(2 * time.Second)
			c.HangUp()
			<-mine.done
			<-theirs.done
			time.Sleep(8 * time.Second) // the relays are given back
			if mine.frames == 0 || theirs.frames == 0 {
				return fmt.Errorf("heard %d and %d frames", mine.frames, theirs.frames)
			}
			return nil
		}
		var at []computer
		var dirs []string
		for i, kind := range kinds {
			at = append(at, s.computer(fmt.Sprintf("n%d", i), kind))
			dirs = append(dirs, t.TempDir())
		}
		for start := range 2 {
			var nodes []*Node
			var ears []<-chan *ear
			for i, m := range at {
				cfg := Config{Dir: dirs[i]}
				if start == 0 {
					cfg.Join = []string{"46.1.0.1:4000"} // its router lets nobody in before something went out
					if i == 0 {
						cfg.Join = []string{"46.2.0.1:4000"}
					}
				}
				node := s.on(m, cfg)
				nodes, ears = append(nodes, node), append(ears, s.callee(node))
				s.wg.Go(func() { node.Join(context.Background()) })
			}
			time.Sleep(30 * time.Second)
			for round := range 10 {
				for a := range nodes {
					b := (a + 1 + round%(len(nodes)-1)) % len(nodes)
					to := nodes[b].ID().String()
					if start == 0 {
						to = s.ticket(nodes[b]) // from then on its secret is known
					}
					if err := brief(nodes[a], to, ears[b]); err != nil {
						t.Errorf("start %d, round %d: n%d (%s) calls n%d (%s): %v", start, round, a, kinds[a], b, kinds[b], err)
					}
				}
			}
			for _, node := range nodes {
				node.Close()
			}
			s.nodes = nil
			time.Sleep(10 * time.Minute) // the routers forget everything
		}
	})
}
