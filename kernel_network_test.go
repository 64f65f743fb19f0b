// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// A node whose network changes in mid-call, by an event of the kernel or by one
// that nobody tells it of, goes on talking: the gap is printed.
func TestKernelNetworkChange(t *testing.T) {
	natlab.Need(t)
	for name, c := range map[string]struct {
		other  natlab.Kind
		change func(h *natlab.Host)
	}{
		"another address":                 {natlab.EIMEIF, func(h *natlab.Host) { h.ChangeAddress() }},
		"another outside address":         {natlab.EIMEIF, func(h *natlab.Host) { h.Site().ChangeAddress() }},
		"another address, strict":         {natlab.EIMAPDF, func(h *natlab.Host) { h.ChangeAddress() }},
		"another outside address, strict": {natlab.EIMAPDF, func(h *natlab.Host) { h.Site().ChangeAddress() }},
		"unplugged for a second": {natlab.EIMAPDF, func(h *natlab.Host) {
			h.Unplug(true)
			<-time.After(time.Second)
			h.Unplug(false)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := natlab.New(t)
			join := flagsOf("join", kernelPublics(t, l))
			ha := l.Site("a", natlab.EIMAPDF)
			a, b := startChild(t, ha, join...), startChild(t, l.Site("b", c.other), join...)
			a.wait("verdict ")
			b.wait("verdict ")
			a.say("call %s", b.ticket())
			t.Log("direct", a.wait("direct "))
			for _, n := range []*child{a, b} {
				n.wait("heard ")
			}
			start := time.Now()
			c.change(ha)
			took := time.Since(start)
			for _, n := range []*child{a, b} {
				gap := 0
				for clean := 0; clean < 2; { // two seconds in a row
					var heard, lost int
					if _, err := fmt.Sscanf(n.wait("heard "), "%d lost %d", &heard, &lost); err != nil {
						t.Fatal(err)
					}
					gap += lost
					if clean++; lost > 0 {
						clean = 0
					}
				}
				t.Logf("%s lost %v of speech; the change took %v", n.name, time.Duration(gap)*20*time.Millisecond, took.Round(time.Millisecond))
			}
		})
	}
}
