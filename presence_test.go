// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// A contact is seen to come and go, without a link and without being told that
// somebody looks; who is not in the book is not looked for, and somebody blocked
// is not shown.
func TestPresence(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(4)
		a := s.node(s.public("a"), Config{Join: join})
		hb, dir := s.public("b"), t.TempDir()
		b := s.node(hb, Config{Dir: dir, Join: join})
		c := s.node(s.public("c"), Config{Join: join})
		for _, n := range []*Node{a, b, c} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		news := make(chan Presence, 64)
		events := a.Events(context.Background())
		s.wg.Go(func() {
			for e := range events {
				if p, ok := e.(Presence); ok {
					news <- p
				}
			}
		})
		next := func(within time.Duration, online bool) {
			t.Helper()
			start := time.Now()
			select {
			case p := <-news:
				if p.Peer != b.ID() || p.Online != online {
					t.Errorf("%+v", p)
				}
				t.Logf("online %t seen after %v", online, time.Since(start))
			case <-time.After(within):
				t.Errorf("online %t not seen within %v", online, within)
			}
		}
		if _, err := a.Presence(b.ID()); !errors.Is(err, ErrNoContact) {
			t.Errorf("of a stranger: %v", err)
		}
		if _, err := a.Contacts().Add(s.ticket(b), "Ben"); err != nil {
			t.Fatal(err)
		}
		next(presenceEvery, true)
		// That a link is gone has the record looked at.
		r, err := b.Send(t.Context(), s.ticket(a), "here I am")
		if err != nil || r.ID == "" {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		b.Shutdown(t.Context())
		next(20*time.Second, false)
		if p, err := a.Presence(b.ID()); err != nil || p.Online || p.Seen.IsZero() {
			t.Errorf("%+v, %v", p, err)
		}
		b = s.nodeOn("b", Config{Dir: dir, Join: join}, s.listen(hb, 4001))
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		next(2*presenceEvery, true)
		if err := a.Contacts().Block(b.ID()); err != nil {
			t.Fatal(err)
		}
		b.Shutdown(t.Context())
		if _, err := c.Send(t.Context(), s.ticket(a), "hello"); err != nil { // no contact
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if len(news) > 0 {
			t.Errorf("%+v", <-news)
		}
	})
}

// A link that came while somebody was looked for in vain says more.
func TestPresenceLinkWins(t *testing.T) {
	n, id := newNodeHere(t, t.TempDir()), identity.ID{7}
	if _, err := n.Contacts().Add(id.String(), "Ben"); err != nil {
		t.Fatal(err)
	}
	n.person(id, 1)
	n.saw(id, false)
	if p, err := n.Presence(id); err != nil || !p.Online {
		t.Errorf("%+v, %v", p, err)
	}
	n.person(id, -1)
	n.saw(id, false)
	if p, err := n.Presence(id); err != nil || p.Online {
		t.Errorf("%+v, %v", p, err)
	}
}
