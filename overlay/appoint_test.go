// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// An attempt to meet a remembered node proves the very path over which that node
// has come by another way meanwhile. The path stays the link's while the attempt
// runs and after it has ended.
func TestAttemptLeavesLinkItsPath(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Keep()()
		time.Sleep(time.Second)
		mine, theirs := nat.NewCred(), nat.NewCred()
		until := time.Now().Add(time.Minute)
		attempt := func(o *Overlay, m nat.PunchConfig) {
			m.Trust, m.Plan = nat.Remembered, nat.Plan{Method: nat.Simultaneous, For: time.Minute,
				Steps: []nat.Step{{Aim: nat.AimKnown, Passes: 3, Every: time.Second, Gap: time.Second}}}
			o.loop.Do(t.Context(), func(now time.Time) { o.core.tryst(now, nat.Meet{Until: until, Config: m}) })
		}
		attempt(a, nat.PunchConfig{Mine: mine, Theirs: theirs, Remote: addrOf(b)})
		attempt(b, nat.PunchConfig{Mine: theirs, Theirs: mine, Remote: addrOf(a)})
		check := func(when string, attempts int) {
			t.Helper()
			for _, o := range []*Overlay{a, b} {
				var proved, linked int
				o.loop.Do(t.Context(), func(time.Time) {
					for _, p := range o.core.order {
						path, _, ok := p.state.paths.Active()
						switch {
						case p.state.appointment != nil && ok:
							proved++
						case p.state.linked && ok && o.sock.PeerOn(path) == p.sock:
							linked++
						}
					}
				})
				if proved != attempts || linked != 1 {
					t.Errorf("%s: %d attempts have proved a path, want %d; %d links have theirs", when, proved, attempts, linked)
				}
			}
		}
		time.Sleep(5 * time.Second)
		check("while the attempt runs", 1)
		time.Sleep(2 * time.Minute)
		check("after it", 0)
		if p.Age() < 2*time.Minute {
			t.Errorf("the link was made again: it stands for %v", p.Age())
		}
	})
}

// An attempt still takes a path that nobody with a name is reached on.
func TestAttemptTakesFreePath(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{})
		path := sock.Path{Remote: addrOf(l.node(Config{}))}
		o.loop.Do(t.Context(), func(now time.Time) {
			c := o.core
			named, err := c.reserve([32]byte{1}, make([]byte, 32), nil, nat.NewCred())
			if err != nil {
				t.Error(err)
				return
			}
			c.openPaths(now, named, nat.Cred{})
			named.sock.Bind(path)
			named.state.active, named.state.lost = path, true
			c.tryst(now, nat.Meet{Until: now.Add(time.Minute), Config: nat.PunchConfig{
				Mine: nat.NewCred(), Theirs: nat.NewCred(), Remote: path.Remote, Trust: nat.Remembered,
			}})
			p := c.order[len(c.order)-1]
			if c.bind(p, path); o.sock.PeerOn(path) != p.sock {
				t.Error("the path stays with a node that is not reached there any more")
			}
		})
	})
}
