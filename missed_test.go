// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Somebody who was switched off when a friend called learns of it after coming
// back, though the friend has gone by then.
func TestMissedOffline(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(8)
		hb, dir := s.public("b"), t.TempDir()
		b := s.node(hb, Config{Dir: dir, Join: join})
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		ticket := s.ticket(b)
		b.Shutdown(t.Context())

		a := s.node(s.public("a"), Config{Join: join})
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		called := time.Now()
		if _, err := a.Call(t.Context(), ticket, nil); !errors.Is(err, ErrOffline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		a.Shutdown(t.Context())
		time.Sleep(time.Minute)

		b = s.nodeOn("b", Config{Dir: dir, Join: join}, s.listen(hb, 4001))
		missed := make(chan CallMissed, 1)
		events := b.Events(context.Background())
		s.wg.Go(func() {
			for e := range events {
				if m, ok := e.(CallMissed); ok {
					missed <- m
				}
			}
		})
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		joined := time.Now()
		select {
		case m := <-missed:
			if m.Peer != a.ID() || m.Name != "a" || m.When.Sub(called) < 0 || m.When.Sub(called) > time.Minute {
				t.Errorf("%+v", m)
			}
			t.Logf("told %v after joining", time.Since(joined))
			if took := time.Since(joined); took > 5*time.Second {
				t.Errorf("told %v after joining", took)
			}
		case <-time.After(10 * time.Minute):
			t.Fatal("Ben was not told")
		}
		for r, err := range b.History(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Call == nil || !r.Call.Missed || r.Peer != a.ID() || !r.Incoming {
				t.Errorf("%+v", r)
			}
		}
	})
}
