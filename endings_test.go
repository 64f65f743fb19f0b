// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// endBed is a small network with two people in it.
type endBed struct {
	*sim
	a, b   *Node
	bConn  net.PacketConn
	policy func(Ask) error // of b
	call   *Call           // a's, if one was placed
	err    error           // why none was
	deed   time.Time       // when the last thing was done that is to have consequences
}

// ring has a call b, and waits until it rings there.
func (e *endBed) ring() (theirs *Call) {
	e.t.Helper()
	calls := e.b.Incoming(context.Background())
	if e.place(e.ticket(e.b)); e.err != nil {
		e.t.Fatal(e.err)
	}
	for c := range calls {
		theirs = c
		break
	}
	time.Sleep(time.Second)
	e.deed = time.Now()
	return theirs
}

func (e *endBed) place(to string) {
	e.deed = time.Now()
	e.call, e.err = e.a.Call(e.t.Context(), to, nil)
}

func (e *endBed) talk() (theirs *Call) {
	e.t.Helper()
	theirs = e.ring()
	if err := theirs.Answer(); err != nil {
		e.t.Fatal(err)
	}
	if err := e.call.Answered(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	e.sim.talk(e.call)
	e.sim.talk(theirs)
	time.Sleep(2 * time.Second)
	e.deed = time.Now()
	return theirs
}

// onlyKnown makes a know b by the reach secret alone, as from a ticket without
// addresses that still hold.
func (e *endBed) onlyKnown() string {
	e.a.remember(overlay.Target{ID: e.b.ID(), Secret: e.b.dev.Reach()})
	return e.b.ID().String()
}

// an ending is one way in which a call ends: what both sides hear, and how soon
// after the last deed the caller knows.
type ending struct {
	name           string
	run            func(*endBed)
	caller, callee []string
	within         time.Duration
}

// How each call ends, on both sides: reason and stage, as a program reads them;
// a missed call stands behind the end, what the search said in front, where that
// matters.
func TestEndings(t *testing.T) {
	t.Parallel()
	both := []ending{ // nobody leaves: one network is enough
		{"nobody knows the ID", func(e *endBed) { e.place(e.b.ID().String()) },
			[]string{"error not-found lookup"}, nil, 0},
		{"the caller hangs up", func(e *endBed) { e.talk(); e.call.HangUp() },
			[]string{"ended hangup talk"}, []string{"ended hangup talk"}, 0},
		{"the callee hangs up", func(e *endBed) { e.talk().HangUp() },
			[]string{"ended hangup talk"}, []string{"ended hangup talk"}, rtt},
		{"the caller gives up", func(e *endBed) { e.ring(); e.call.HangUp() },
			[]string{"ended cancelled ring"}, []string{"ended cancelled ring", "missed a"}, 0},
		{"the callee says no", func(e *endBed) { e.ring().Reject() },
			[]string{"ended rejected ring"}, []string{"ended rejected ring"}, rtt},
		{"nobody answers", func(e *endBed) { e.ring() },
			[]string{"ended no-answer ring"}, []string{"ended no-answer ring", "missed a"}, 45 * time.Second},
		{"the callee's line is busy", func(e *endBed) {
			other, err := e.b.Call(e.t.Context(), e.ticket(e.nodes[0]), nil) // MaxCalls is 1
			if err != nil {
				e.t.Fatal(err)
			}
			e.place(e.ticket(e.b))
			if e.call != nil {
				<-e.call.Done()
			}
			other.HangUp()
		}, []string{"ended busy ring"}, []string{"missed a", "ended cancelled ring"}, 4 * rtt},
		{"the callee's policy denies", func(e *endBed) {
			e.policy = func(Ask) error { return errors.New("no") }
			e.place(e.ticket(e.b))
		}, []string{"ended denied ring"}, nil, 4 * rtt},
		{"the callee was never online", func(e *endBed) {
			secret := identity.Secret{1}
			id, err := identity.NewDevice(time.Now(), "x")
			if err != nil {
				e.t.Fatal(err)
			}
			e.a.remember(overlay.Target{ID: id.ID(), Secret: secret})
			e.place(id.ID().String())
		}, []string{"search asking", "search unknown", "error offline lookup"}, nil, 2600 * time.Millisecond},
	}
	leaves := []ending{
		{"the callee has gone offline in good order", func(e *endBed) {
			id := e.onlyKnown()
			e.b.Close()
			time.Sleep(time.Second)
			e.place(id)
		}, []string{"search asking", "search found", "ended offline ring"}, nil, time.Second},
		{"the same, and there is a ticket with addresses", func(e *endBed) {
			ticket := e.ticket(e.b)
			e.b.Close()
			time.Sleep(time.Second)
			e.place(ticket)
		}, []string{"search asking", "search found", "ended offline ring"}, nil, 2600 * time.Millisecond},
		{"the callee's computer has lost power just now", func(e *endBed) {
			id := e.onlyKnown()
			e.bConn.Close()
			time.Sleep(time.Second)
			e.place(id)
		}, []string{"search asking", "search found", "ended offline ring"}, nil, 8500 * time.Millisecond},
		{"the callee's computer lost power two minutes ago", func(e *endBed) {
			id := e.onlyKnown()
			e.bConn.Close()
			time.Sleep(2 * time.Minute)
			e.place(id)
		}, []string{"search asking", "search found", "ended offline ring"}, nil, time.Second},
		{"nobody is there at all, and a ticket has an address", func(e *endBed) {
			ticket := e.ticket(e.b)
			for _, n := range e.nodes {
				if n != e.a {
					n.Close()
				}
			}
			time.Sleep(time.Minute)
			e.place(ticket)
		}, []string{"error offline lookup"}, nil, 4100 * time.Millisecond},
		{"the callee leaves while it rings", func(e *endBed) { e.ring(); e.b.Close() },
			[]string{"ended offline ring"}, nil, rtt},
		{"the callee leaves in mid-call", func(e *endBed) { e.talk(); e.b.Close() },
			[]string{"ended hangup talk"}, nil, rtt},
		{"the callee shuts down in mid-call", func(e *endBed) {
			e.talk()
			e.wg.Go(func() { e.b.Shutdown(context.Background()) }) // it may see to other things for a while
		},
			[]string{"ended hangup talk"}, []string{"ended hangup talk"}, 2 * rtt},
		{"the callee's computer loses power in mid-call", func(e *endBed) { e.talk(); e.bConn.Close() },
			[]string{"ended failed talk"}, []string{"ended failed talk"}, 92 * time.Second},
	}
	simTest(t, func(t *testing.T, s *sim) {
		e := newEndBed(s)
		for _, c := range both {
			synctest.Wait() // the last call's hooks have returned
			e.call, e.err, e.policy = nil, nil, nil
			e.check(c)
		}
	})
	for _, c := range leaves {
		t.Run(c.name, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) { newEndBed(s).check(c) })
		})
	}
}

// newEndBed starts a network of two nodes beside the two people's.
func newEndBed(s *sim) *endBed {
	e := &endBed{sim: s}
	var join []string
	for i := range 2 {
		h := s.public(fmt.Sprint("c", i))
		s.node(h, Config{Join: join})
		join = append(join, fmt.Sprintf("%v:4000", h.Addrs()[0]))
	}
	e.a = s.node(s.public("a"), Config{Join: join})
	e.bConn = s.listen(s.public("b"), 4000)
	e.b = s.nodeOn("b", Config{Join: join, MaxCalls: 1, Policy: func(q Ask) error {
		if e.policy != nil && q.Action == ActCall {
			return e.policy(q)
		}
		return nil
	}}, e.bConn)
	for _, n := range s.nodes[1:] {
		if err := n.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Second) // records are published
	return e
}

func (e *endBed) check(c ending) {
	t := e.t
	atA, atB := e.listenAll(e.a, strings.HasPrefix(c.caller[0], "search")), e.listenTo(e.b)
	c.run(e)
	if e.call != nil {
		<-e.call.Done()
	}
	took := time.Since(e.deed)
	time.Sleep(time.Second)
	synctest.Wait()
	got := atA.take()
	var ce *CallError
	if errors.As(e.err, &ce) {
		got = append(got, "error "+ce.Reason+" "+ce.Stage)
	}
	if !slices.Equal(got, c.caller) {
		t.Errorf("%s: the caller hears %q, want %q", c.name, got, c.caller)
	}
	if took > c.within {
		t.Errorf("%s: the caller knows after %v, want %v", c.name, took, c.within)
	}
	if strings.Contains(c.caller[len(c.caller)-1], "failed") {
		time.Sleep(5 * time.Second)
	}
	atB.expect(t, c.name+": the callee", c.callee...)
	t.Logf("%s: %v after %v", c.name, c.caller[len(c.caller)-1], took)
}
