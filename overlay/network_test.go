// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"testing"
	"time"
)

// What the other side shares before anybody here has asked for it is kept until then:
// its session layer may be content sooner than ours. Who is no session peer is not
// probed for it.
func TestSharedTooEarly(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b, c := l.node(Config{}), l.node(Config{}), l.node(Config{})
		for _, o := range []*Overlay{a, b, c} {
			l.watch(o)
		}
		for _, o := range []*Overlay{a, b} {
			if _, err := o.Dial(t.Context(), addrOf(c)); err != nil {
				t.Fatal(err)
			}
		}
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		p.Share()
		time.Sleep(time.Second)
		peers, _ := b.Peers(t.Context())
		for _, q := range peers {
			if q.Node() != a.Node() {
				continue
			}
			near := func() (n int) {
				b.loop.Do(t.Context(), func(time.Time) { n = len(q.state.near) })
				return n
			}
			if n := near(); n != 0 {
				t.Errorf("%d neighbours of a stranger are used", n)
			}
			defer q.Keep()()
			if n := near(); n == 0 {
				t.Error("what came too early is lost")
			}
			return
		}
		t.Error("no link")
	})
}
