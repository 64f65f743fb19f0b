// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/relay"
)

// meet has a node hold a peer that nobody has a link to.
func meet(t *testing.T, a *Overlay) (*Peer, func()) {
	t.Helper()
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, release, err := a.Meet(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return p, release
}

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
		p, release := meet(t, a)
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

// Who knows the other side's neighbours asks for a call's relays, whoever is the
// smaller one: without a link the other side can't be told of ours, and the call
// would have no way at all.
func TestOpenerKnowsNeighbours(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.node(Config{})
		for i := range 16 { // some of these keys are smaller, some are not
			p, release := meet(t, a)
			a.loop.Do(t.Context(), func(now time.Time) {
				c := a.core
				if i%2 == 0 {
					p.state.near = []near{{node: identity.NodeID{1}, rtt: time.Millisecond}}
				}
				c.setMedia(now, p, true)
				if want := i%2 == 0 || c.smaller(p); p.state.opener != want {
					t.Errorf("asks for relays: %v, %d neighbours are known", p.state.opener, len(p.state.near))
				}
				c.setMedia(now, p, false)
				if p.state.opener {
					t.Error("asks for relays when the call is over")
				}
			})
			release()
		}
	})
}
