// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// usage is what the process holds at a moment.
type usage struct {
	heap, stacks float64 // KiB
	goroutines   int
}

func measureUsage() usage {
	synctest.Wait()
	for range 3 {
		runtime.GC()
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return usage{float64(s[0].Value.Uint64()) / 1024, float64(s[1].Value.Uint64()) / 1024, runtime.NumGoroutine()}
}

func (s *sim) traffic() (sum uint64) {
	for _, n := range s.nodes {
		st := n.Status()
		sum += st.BytesIn + st.BytesOut
	}
	return sum
}

// apart returns a public host whose prefix no other one shares.
func (s *sim) apart(i int) (h *simnet.Host) {
	s.net.Do(func(w *simnet.World) {
		h = w.Host(fmt.Sprint("n", i), access, netip.AddrFrom4([4]byte{45, byte(i), 0, 1}))
	})
	return h
}

// TestSizing prints the table of docs/embedding.md: what a node takes, by links
// and by calls. The simulated network's own memory is in it.
func TestSizing(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("measures 33 nodes for an hour of virtual time: P2POS_LONG=1 runs it")
	}
	for _, count := range []int{1, 2, 9, 33} {
		simTest(t, func(t *testing.T, s *sim) {
			before := measureUsage()
			for i := range count {
				cfg := Config{}
				if i > 0 {
					cfg.Join = []string{"45.0.0.1:4000"}
				}
				n := s.node(s.apart(i), cfg)
				if i > 0 {
					go n.Join(context.Background())
				}
			}
			time.Sleep(time.Hour) // the mesh has settled
			after := measureUsage()
			links := 0
			for _, n := range s.nodes {
				links += n.Status().Links
			}
			was := s.traffic()
			time.Sleep(10 * time.Minute)
			rate := float64(s.traffic()-was) * 8 / 600 / float64(count)
			per := func(a, b float64) float64 { return (b - a) / float64(count) }
			fmt.Printf("%2d nodes, %4.1f links each: %5.0f KiB heap, %4.0f KiB stacks, %5.1f goroutines, %6.0f bit/s in and out\n", count, float64(links)/float64(count),
				per(before.heap, after.heap), per(before.stacks, after.stacks), float64(after.goroutines-before.goroutines)/float64(count), rate)
		})
	}
	for _, calls := range []int{1, 4, 8} {
		simTest(t, func(t *testing.T, s *sim) {
			hub := s.node(s.apart(0), Config{})
			var others []*Node
			for i := range calls {
				others = append(others, s.node(s.apart(i+1), Config{Join: []string{"45.0.0.1:4000"}}))
				go others[i].Join(context.Background())
			}
			time.Sleep(2 * time.Minute)
			before := measureUsage()
			was := s.traffic()
			for _, o := range others {
				ears := s.callee(o)
				mine, err := hub.Call(t.Context(), s.ticket(o), &CallOptions{Others: KeepOthers})
				if err == nil {
					err = mine.Answered(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				s.talk(mine)
				s.hear(mine)
				<-ears
			}
			time.Sleep(time.Minute)
			after := measureUsage()
			rate := float64(s.traffic()-was) * 8 / 60 / float64(2*calls)
			ends := float64(2 * calls)
			// Of an end's goroutines two are the test's own, which talks and hears, and
			// of each callee one more, which answers.
			fmt.Printf("%d calls: %5.0f KiB heap, %4.0f KiB stacks, %4.1f goroutines an end, %6.0f bit/s in and out with frames of 10 bytes\n", calls,
				(after.heap-before.heap)/ends, (after.stacks-before.stacks)/ends, float64(after.goroutines-before.goroutines)/ends-2.5, rate)
		})
	}
}
