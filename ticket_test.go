// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/session"
)

// A one-use ticket rings once, for the first who uses it, also after a restart of
// the one that made it and without any address in it.
func TestTicketOnce(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(6)
		h, dir := s.public("callee"), t.TempDir()
		callee := s.node(h, Config{Dir: dir, Join: join})
		anna, ben := s.node(s.public("anna"), Config{Join: join}), s.node(s.public("ben"), Config{Join: join})
		for _, n := range []*Node{callee, anna, ben} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		ticket, err := callee.TicketOnce(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := callee.TicketOnce(-time.Hour); err == nil {
			t.Error("a ticket of yesterday")
		}
		callee.Close()
		time.Sleep(5 * time.Second)
		callee = s.nodeOn("callee", Config{Dir: dir, Join: join}, s.listen(h, 4001))
		if err := callee.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		rang := make(chan *Call, 8)
		calls := callee.Incoming(context.Background())
		s.wg.Go(func() {
			for c := range calls {
				c.Answer()
				rang <- c
			}
		})
		time.Sleep(10 * time.Second)
		try := func(n *Node) error {
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			call, err := n.Call(ctx, ticket, nil)
			if err != nil {
				return err
			}
			if err := call.Answered(ctx); err != nil {
				call.HangUp()
				return err
			}
			time.Sleep(3 * time.Second)
			err = call.Err()
			call.HangUp()
			<-call.Done()
			return err
		}
		if err := try(anna); err != nil {
			t.Fatalf("the first call: %v", err)
		}
		if n := len(rang); n != 1 {
			t.Errorf("it rang %d times", n)
		}
		for who, n := range map[string]*Node{"its user": anna, "somebody else": ben} {
			if err := try(n); err == nil {
				t.Errorf("%s called again by it", who)
			}
		}
		if n := len(rang); n != 1 {
			t.Errorf("it rang %d times", n)
		}
		// Nothing of it is kept.
		if err := callee.saveDevices(); err != nil {
			t.Fatal(err)
		}
		callee.Close()
		callee = s.nodeOn("callee", Config{Dir: dir, Join: join}, s.listen(h, 4002))
		if list, err := callee.hub.Onces(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		for range session.MaxOnce {
			if _, err := callee.TicketOnce(time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := callee.TicketOnce(time.Hour); !errors.Is(err, ErrManyTickets) {
			t.Errorf("one too many: %v", err)
		}
	})
}
