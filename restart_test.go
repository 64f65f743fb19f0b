// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// A network whose nodes are all behind NATs is started again and again, with
// nothing to join: its nodes find each other, and remember each other once, though
// their node keys are new each time.
func TestRestartsRemembered(t *testing.T) {
	t.Parallel()
	const n = 5
	simTest(t, func(t *testing.T, s *sim) {
		var hosts []*simnet.Host
		var dirs []string
		s.net.Do(func(w *simnet.World) {
			for i := range n { // each in a network of its own: caps of prefixes are not the question
				box := simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Ports: simnet.Preserve,
					Pool: []netip.Addr{netip.AddrFrom4([4]byte{46, byte(i), 0, 1})}}
				if i == 0 {
					box.Filtering = simnet.EndpointIndependent
				}
				name := fmt.Sprintf("n%d", i)
				hosts = append(hosts, w.NAT(name+"-nat", simnet.Profile{}, box).Host(name, access, netip.MustParseAddr("192.168.1.2")))
				dirs = append(dirs, t.TempDir())
			}
		})
		for start := range 3 {
			var nodes []*Node
			for i, h := range hosts {
				cfg := Config{Dir: dirs[i]}
				if start == 0 && i > 0 {
					cfg.Join = []string{"46.0.0.1:4000"}
				} else if start == 0 { // its router lets nobody in before something went out
					cfg.Join = []string{"46.1.0.1:4000"}
				}
				node := s.start(h.Name(), cfg, s.opener(h), s.listen(h, 4000))
				nodes = append(nodes, node)
				s.wg.Go(func() { node.Join(context.Background()) })
			}
			time.Sleep(2 * time.Minute)
			for i, node := range nodes {
				known, _, err := node.ov.Remembered(t.Context())
				if err != nil || known != n-1 {
					t.Errorf("start %d: n%d remembers %d nodes, %v", start, i, known, err)
				}
				if links := node.Status().Links; links != n-1 {
					t.Errorf("start %d: n%d has %d links", start, i, links)
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

// Who is switched off last remembers the others, also when they met a moment ago.
func TestLastRemembers(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		nodes, _ := s.square(4) // ten seconds
		time.Sleep(12 * time.Second)
		for _, node := range nodes[1:] {
			node.Close()
		}
		time.Sleep(50 * time.Millisecond)
		known, _, err := nodes[0].ov.Remembered(t.Context())
		if err != nil || known != 3 || nodes[0].Status().Links != 0 {
			t.Errorf("%d remembered, %v, %d links", known, err, nodes[0].Status().Links)
		}
	})
}
