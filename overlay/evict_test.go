// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
)

// The roster's number of a node whose place another one has taken is forgotten.
func TestRestartForgetsRoster(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		now := time.Now()
		d, err := identity.NewDevice(now, "phone")
		if err != nil {
			t.Fatal(err)
		}
		k := identity.NewAdminKey()
		r, err := k.Sign(identity.Roster{Network: identity.Network{}.Tag(), Number: 1, Issued: now, Expires: now.Add(24 * time.Hour), Members: []identity.Member{{ID: d.ID()}}})
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Admin: k.Admin(), Roster: r.Raw(), Identity: d.ID(), Device: d}
		a, b := l.node(cfg), l.node(cfg)
		va := l.watch(a)
		if _, err := b.Dial(t.Context(), addrOf(a)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		cut := func(on bool) { l.net.Do(func(*simnet.World) { l.hosts[1].Cut(on) }) }
		cut(true) // it dies without a bye
		b.Close()
		time.Sleep(100 * time.Millisecond)
		cut(false)
		conn, err := l.net.Listen(l.hosts[1], 4000)
		if err != nil {
			t.Fatal(err)
		}
		again := l.nodeOn(cfg, conn)
		if _, err := again.Dial(t.Context(), addrOf(a)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := va.seen(); v.up != 2 || v.down != 1 {
			t.Fatalf("%+v", v)
		}
		a.loop.Do(t.Context(), func(time.Time) {
			s := &a.core.spread
			if _, ok := s.known[b.Node()]; ok || len(s.known) != 1 || len(s.order) != 1 {
				t.Errorf("%d numbers, %d in order", len(s.known), len(s.order))
			}
		})
	})
}

// A link that is surplus but may still have a purpose is looked at in time.
func TestSurplusHasItsTime(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		a.loop.Do(t.Context(), func(now time.Time) {
			a.core.settle(now)
			a.core.surplus(now, p.node)
			if p.state.spareAt.IsZero() || !p.state.due.touched {
				t.Errorf("spare at %v, touched %v", p.state.spareAt, p.state.due.touched)
			}
		})
	})
}
