// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// Every pair of the laboratory's eight kinds of sites, UDP blocked and IPv6 behind a
// firewall among them, calls ten times, each side five: every call is answered and
// heard on both sides. The first of the ten finds no link, the others mostly do. How
// long they take is told, not judged: machines differ.
func TestKernelPairs(t *testing.T) {
	natlab.Need(t)
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("36 pairs take half an hour; P2POS_LONG=1 runs them")
	}
	kinds := []natlab.Kind{
		natlab.Open, natlab.EIMEIF, natlab.EIMAPDF, natlab.APDM, natlab.APDMBlock, natlab.CGN, natlab.UDPBlocked, natlab.IPv6Firewalled,
	}
	var mu sync.Mutex
	var media, over []time.Duration
	pairs := 0
	t.Run("pairs", func(t *testing.T) {
		for i, ka := range kinds {
			for _, kb := range kinds[i:] {
				t.Run(string(ka)+" × "+string(kb), func(t *testing.T) {
					t.Parallel()
					m, o := kernelPair(t, ka, kb, 10)
					t.Logf("first media %v, beyond two trips of the ring %v", m, o)
					mu.Lock()
					defer mu.Unlock()
					pairs++
					media, over = append(media, m...), append(over, o...)
				})
			}
		}
	})
	t.Logf("%d pairs, %d calls: first media p50 %v p95 %v, beyond two trips of the ring p95 %v",
		pairs, len(media), percentile(media, 50), percentile(media, 95), percentile(over, 95))
}

// kernelPair lets nodes at two sites call each other, and returns how long first media
// took at the caller, and how much of that was more than two trips of the ring.
func kernelPair(t *testing.T, ka, kb natlab.Kind, calls int) (media, over []time.Duration) {
	l := natlab.New(t)
	var join []string
	for _, name := range []string{"p1", "p2", "p3", "p4"} {
		h := l.Public(name)
		at := h.Addr().String() + ":443"
		p := startChild(t, h, append([]string{"listen=" + at, "tcp=" + at}, join...)...)
		p.wait("ready")
		join = append(join, "join="+at)
	}
	sides := [2]*child{startChild(t, l.Site("a", ka), join...), startChild(t, l.Site("b", kb), join...)}
	var tickets [2]string
	for i, c := range sides {
		c.wait("verdict ")
		tickets[i] = c.ticket()
	}
	for n := range calls {
		from, to := sides[n%2], sides[1-n%2]
		from.say("call %s", tickets[1-n%2])
		ring, first := duration(t, from.wait("ringing ")), duration(t, from.wait("media "))
		media, over = append(media, first), append(over, first-2*ring)
		from.wait("answered ")
		for _, c := range sides {
			c.wait("heard ")
		}
		from.say("hangup")
		for _, c := range []*child{from, to} {
			c.wait("ended")
			c.heard = nil
		}
	}
	return media, over
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.Fields(s)[0])
	if err != nil {
		t.Fatal(err)
	}
	return d
}
