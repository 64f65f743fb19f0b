// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// said collects what a node announces of its calls, in short words.
type said struct {
	search bool       // searches too
	mu     sync.Mutex // guards list
	list   []string
}

func (s *sim) listenTo(n *Node) *said { return s.listenAll(n, false) }

func (s *sim) listenAll(n *Node, search bool) *said {
	d := &said{search: search}
	events := n.Events(context.Background())
	s.wg.Go(func() {
		for e := range events {
			d.mu.Lock()
			switch e := e.(type) {
			case CallHeld:
				d.list = append(d.list, fmt.Sprintf("held me=%t", e.ByMe))
			case CallResumed:
				d.list = append(d.list, fmt.Sprintf("resumed me=%t", e.ByMe))
			case CallSearch:
				if d.search {
					d.list = append(d.list, "search "+e.State)
				}
			case CallTransfer:
				d.list = append(d.list, strings.TrimSpace("transfer "+e.State+" "+e.Reason))
			case CallMissed:
				d.list = append(d.list, "missed "+e.Name)
			case CallEnded:
				stage, reason, _ := e.Call.End()
				d.list = append(d.list, "ended "+reason+" "+stage)
			}
			d.mu.Unlock()
		}
	})
	return d
}

// take returns what was said since the last time.
func (d *said) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.list
	d.list = nil
	return l
}

func (d *said) expect(t *testing.T, rule string, want ...string) {
	t.Helper()
	if got := d.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %q, want %q", rule, got, want)
	}
}

// answered calls b from a, waits for the answer and returns both ends.
func (s *sim) answered(a, b *Node, o Others) (mine, theirs *Call) {
	s.t.Helper()
	calls := b.Incoming(context.Background())
	mine, err := a.Call(s.t.Context(), s.ticket(b), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for c := range calls {
		if c.Peer() == a.ID() {
			theirs = c
			break
		}
	}
	if err := theirs.AnswerAnd(o); err != nil {
		s.t.Fatal(err)
	}
	if err := mine.Answered(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return mine, theirs
}

// Both sides hold and resume. Meanwhile nothing is heard, nothing counts as
// lost, and the call stays up; a path that breaks while it is held is mended.
func TestHold(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		b, a := s.node(s.public("b"), Config{}), s.node(s.public("a"), Config{})
		atA, atB := s.listenTo(a), s.listenTo(b)
		mine, theirs := s.answered(a, b, HoldOthers)
		s.talk(mine)
		s.talk(theirs)
		earA, earB := s.hear(mine), s.hear(theirs)
		time.Sleep(2 * time.Second)
		heard := func() (int64, int64) { synctest.Wait(); return earA.sofar.Load(), earB.sofar.Load() }
		silent := func(rule string) {
			t.Helper()
			time.Sleep(time.Second)
			a0, b0 := heard()
			time.Sleep(60 * time.Second) // more than a call lives without media
			a1, b1 := heard()
			// Ten silent packets a second are frames too.
			if a1-a0 > 610 || b1-b0 > 610 || a1-a0 < 590 || b1-b0 < 590 {
				t.Errorf("%s: %d and %d frames in a minute", rule, a1-a0, b1-b0)
			}
		}
		if err := mine.Hold(); err != nil {
			t.Fatal(err)
		}
		silent("held by the caller")
		atA.expect(t, "hold", "held me=true")
		atB.expect(t, "hold", "held me=false")
		if err := theirs.Hold(); err != nil {
			t.Fatal(err)
		}
		mine.Resume()
		silent("held by the callee alone")
		atA.expect(t, "both", "resumed me=true", "held me=false")
		atB.expect(t, "both", "held me=true", "resumed me=false")
		if me, peer := mine.Held(); me || !peer {
			t.Error("the caller does not know who holds")
		}
		peers, err := a.ov.Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peers[0].Link().Abort()
		theirs.Resume() // told on the next link
		time.Sleep(3 * time.Second)
		atA.expect(t, "resumed over a new link", "resumed me=false")
		a0, b0 := heard()
		time.Sleep(2 * time.Second)
		a1, b1 := heard()
		if a1-a0 < 95 || b1-b0 < 95 {
			t.Errorf("after the hold %d and %d frames in 2 s", a1-a0, b1-b0)
		}
		mine.HangUp()
		<-earA.done
		<-earB.done
		if earA.lost+earB.lost > 0 {
			t.Errorf("lost %d and %d frames", earA.lost, earB.lost)
		}
		if err := mine.Hold(); err == nil {
			t.Error("held a call that is over")
		}
	})
}

// A second call rings while one is up; answering it parts from the first, in
// the way the app wants.
func TestCallWaiting(t *testing.T) {
	for others, want := range map[Others]string{HoldOthers: "held me=false", EndOthers: "ended hangup talk", KeepOthers: ""} {
		simTest(t, func(t *testing.T, s *sim) {
			b := s.node(s.public("b"), Config{})
			a, c := s.node(s.public("a"), Config{}), s.node(s.public("c"), Config{})
			first, firstThere := s.answered(a, b, HoldOthers)
			s.talk(first)
			s.talk(firstThere)
			if firstThere.Waiting() {
				t.Error("the first call waits for nobody")
			}
			time.Sleep(time.Second)
			atA := s.listenTo(a)
			second, secondThere := s.answered(c, b, others)
			if !secondThere.Waiting() {
				t.Error("the second call is not seen as waiting")
			}
			s.talk(second)
			s.talk(secondThere)
			time.Sleep(time.Second)
			if got := fmt.Sprint(atA.take()); got != "["+want+"]" {
				t.Errorf("others %d: the first call hears %s", others, got)
			}
			if others != EndOthers {
				second.HangUp()
				time.Sleep(time.Second)
				if !first.c.Talking() || firstThere.Resume() != nil {
					t.Error("the first call does not go on")
				}
			}
		})
	}
}

// With MaxCalls 1 a node in a call is busy, and has missed a call.
func TestBusyInACall(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		b := s.node(s.public("b"), Config{MaxCalls: 1})
		a, c := s.node(s.public("a"), Config{}), s.node(s.public("c"), Config{})
		s.answered(a, b, HoldOthers)
		call, err := c.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		if stage, reason, _ := call.End(); stage != "ring" || reason != "busy" {
			t.Errorf("ended %s %s", stage, reason)
		}
	})
}

// Two people who call each other at the same time are in one call, and nobody has
// to answer it.
func TestBothCall(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		n := []*Node{s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})}
		to := []string{s.ticket(n[1]), s.ticket(n[0])}
		calls := make([]*Call, 2)
		var both sync.WaitGroup
		for i := range n {
			both.Go(func() {
				c, err := n[i].Call(t.Context(), to[i], nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Answered(t.Context()); err != nil {
					t.Error(err)
				}
				calls[i] = c
			})
		}
		both.Wait()
		if t.Failed() {
			return
		}
		for i, c := range calls {
			s.talk(c)
			if st := n[i].Status(); st.Calls != 1 {
				t.Errorf("%d calls at %d", st.Calls, i)
			}
		}
		ear := s.hear(calls[0])
		time.Sleep(time.Second)
		if h := ear.heard(); h < 40 {
			t.Errorf("%d frames in a second", h)
		}
		calls[0].HangUp()
		<-calls[1].Done()
	})
}
