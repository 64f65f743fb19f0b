// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// transferBed is two people who talk, a third one whom b knows by a ticket without
// addresses, and two nodes that know all.
type transferBed struct {
	*sim
	a, b, c *Node
	ab, ba  *Call
	ticket  string // of c
	policy  func(Ask) error
	asked   atomic.Pointer[Ask] // of c
}

func newTransferBed(s *sim) *transferBed {
	x := &transferBed{sim: s}
	var join []string
	for i := range 2 {
		h := s.public(fmt.Sprint("n", i))
		s.node(h, Config{Join: join})
		join = append(join, fmt.Sprintf("%v:4000", h.Addrs()[0]))
	}
	x.a = s.node(s.public("a"), Config{Join: join, Policy: func(q Ask) error {
		if x.policy != nil && q.Action == ActTransfer {
			return x.policy(q)
		}
		return nil
	}})
	x.b = s.node(s.public("b"), Config{Join: join})
	x.c = s.node(s.public("c"), Config{Join: join, Policy: func(q Ask) error {
		if q.Action == ActCall {
			x.asked.Store(&q)
		}
		return nil
	}})
	for _, n := range s.nodes[1:] {
		if err := n.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Second) // records are published
	synctest.Wait()
	x.ticket = s.ticket(x.c)
	x.ab, x.ba = s.answered(x.a, x.b, HoldOthers)
	s.talk(x.ab)
	s.talk(x.ba)
	time.Sleep(2 * time.Second)
	return x
}

// B brings A to C: C sees who did, talks with A, and B is out of it.
func TestTransfer(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		x := newTransferBed(s)
		atA, atB := s.listenTo(x.a), s.listenTo(x.b)
		diverted := make(chan *Call, 1)
		events := x.a.Events(t.Context())
		s.wg.Go(func() {
			for e := range events {
				if e, ok := e.(CallDiverted); ok {
					diverted <- e.New
				}
			}
		})
		calls := x.c.Incoming(context.Background())
		done := make(chan error, 1)
		s.wg.Go(func() { done <- x.ba.Transfer(t.Context(), x.ticket) })
		var there *Call
		for there = range calls {
			break
		}
		if there.Peer() != x.a.ID() || there.TransferredBy() != x.b.ID() || x.asked.Load().By != x.b.ID() {
			t.Errorf("a call from %v, by %v; the policy heard %v", there.Peer(), there.TransferredBy(), x.asked.Load().By)
		}
		time.Sleep(3 * time.Second)
		if !x.ab.c.Talking() {
			t.Error("the old call ended while the new one rings")
		}
		if err := there.Answer(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("transfer: %v", err)
		}
		mine := <-diverted
		s.talk(mine)
		s.talk(there)
		ear := s.hear(mine)
		time.Sleep(2 * time.Second)
		if n := ear.heard(); n < 90 {
			t.Errorf("%d frames in 2 s", n)
		}
		atA.expect(t, "the caller", "ended transferred talk")
		atB.expect(t, "the transferrer", "transfer trying", "transfer rings", "ended transferred talk")
		// A got no way to call C again but while they are linked.
		if _, ok := x.a.knownTarget(x.c.ID()); ok {
			t.Error("the pass has left the third person's secret behind")
		}
	})
}

// A transfer that fails says why, on all sides, and the call goes on.
func TestTransferFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		run    func(x *transferBed) (to string)
		stage  string
		reason string
		want   error
		atB    []string
		again  bool
	}{
		{"the third person says no", func(x *transferBed) string {
			calls := x.c.Incoming(context.Background())
			x.wg.Go(func() {
				for c := range calls {
					c.Reject()
				}
			})
			return x.ticket
		}, "ring", "rejected", ErrRejected, []string{"transfer trying", "transfer rings", "transfer failed rejected"}, true},
		{"the policy of the one who should call says no", func(x *transferBed) string {
			x.policy = func(q Ask) error {
				if q.Peer != x.b.ID() || q.To != x.c.ID() {
					x.t.Errorf("asked %+v", q)
				}
				return errors.New("no")
			}
			return x.ticket
		}, "ring", "denied", ErrDenied, []string{"transfer failed denied"}, true},
		{"nobody is there", func(x *transferBed) string {
			x.c.Close()
			time.Sleep(3 * time.Minute)
			return x.ticket
		}, "", "offline", ErrOffline, nil, false},
		{"nobody knows him", func(x *transferBed) string { return x.c.ID().String() },
			"lookup", "not-found", ErrNotFound, []string{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				x := newTransferBed(s)
				to := c.run(x)
				atB := s.listenTo(x.b)
				err := x.ba.Transfer(t.Context(), to)
				var ce *CallError
				if !errors.As(err, &ce) || !errors.Is(err, c.want) || ce.Reason != c.reason || c.stage != "" && ce.Stage != c.stage || ce.Peer != x.c.ID() {
					t.Errorf("transfer: %v", err)
				}
				time.Sleep(time.Second)
				if c.atB != nil {
					atB.expect(t, "the transferrer", c.atB...)
				}
				if !x.ab.c.Talking() || !x.ba.c.Talking() {
					t.Error("the call has ended")
				}
				if c.again {
					if err := x.ba.Transfer(t.Context(), to); !errors.Is(err, c.want) {
						t.Errorf("again: %v", err)
					}
					atB.expect(t, "again", c.atB...)
				}
				x.ab.HangUp()
				if err := x.ba.Transfer(t.Context(), x.ticket); err == nil {
					t.Error("transferred a call that is over")
				}
			})
		})
	}
}
