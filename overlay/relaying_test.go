// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/relay"
)

// When the ring's flow ends that the first media goes by, the next one takes its
// place: no path is proved yet that could.
func TestUnprovedReplaced(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, r1, r2 := l.node(Config{}), l.node(Config{}), l.node(Config{})
		for _, r := range []*Overlay{r1, r2} {
			if _, err := a.Dial(t.Context(), addrOf(r)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		key, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		p, release, err := a.Meet(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		a.loop.Do(t.Context(), func(now time.Time) {
			c := a.core
			c.openPaths(now, p, nat.Cred{})
			c.ringFlow(now, p, r1.self, [16]byte{1}, true)
			first := p.state.active
			c.ringFlow(now, p, r2.self, [16]byte{1}, true)
			if f := c.flowOn(p, p.state.active); f.node != r1.self || p.state.active != first {
				t.Errorf("media goes by %v", f.node)
			}
			for at, f := range c.relays.flows {
				if f.path == first {
					c.flowDown(now, at, relay.Busy)
				}
			}
			if f := c.flowOn(p, p.state.active); f.node != r2.self {
				t.Errorf("media goes by %v, whose flow has ended", f.node)
			}
		})
	})
}
