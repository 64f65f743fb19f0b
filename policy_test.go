// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// A caller whom the policy refuses hears "denied", and the app nothing.
func TestPolicyDenies(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var asked Ask
		a := s.node(s.public("a"), Config{})
		b := s.node(s.public("b"), Config{Policy: func(q Ask) error {
			if q.Action != ActCall {
				return nil
			}
			asked = q
			return errors.New("not at this hour")
		}})
		events := b.Events(t.Context())
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("answered: %v", err)
		}
		if stage, reason, _ := call.End(); stage != "ring" || reason != "denied" {
			t.Errorf("%s %s", stage, reason)
		}
		if asked.Peer != a.ID() || asked.Name != "a" {
			t.Errorf("asked %+v", asked)
		}
		time.Sleep(time.Second)
		b.Close()
		for e := range events {
			switch e.(type) {
			case Joined, NAT:
			default:
				t.Errorf("the app heard of it: %T", e)
			}
		}
	})
}

// A policy that takes its time makes nothing ring, takes no line, and does not
// keep Close waiting, not even when it calls Close itself.
func TestPolicyBlocks(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		release := make(chan struct{})
		var b *Node
		b = s.node(s.public("b"), Config{Policy: func(q Ask) error {
			if q.Action != ActCall {
				return nil
			}
			<-release
			return b.Close()
		}})
		a, c := s.node(s.public("a"), Config{}), s.node(s.public("c"), Config{})
		ringing := a.Events(t.Context())
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		ears := s.callee(c)
		mine, err := b.Call(t.Context(), s.ticket(c), nil) // the line is free
		if err != nil {
			t.Fatal(err)
		}
		if err := mine.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		mine.HangUp()
		<-(<-ears).done
		err = call.Answered(t.Context())
		var ce *CallError
		if !errors.As(err, &ce) || ce.Reason != "offline" {
			t.Errorf("a policy of 8 s: %v", err)
		}
		a.Close()
		for e := range ringing {
			if _, ok := e.(CallRinging); ok {
				t.Error("it rang before the verdict")
			}
		}
		b.Close()
		close(release)
	})
}

// Whoever holds a ticket can prove any number of identities of his own making;
// a node is one of them and the others cost nothing that lasts.
func TestManyIdentities(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		b := s.node(s.public("b"), Config{})
		for i := range 5 {
			h := s.public("villain")
			for range 5 {
				v := s.node(h, Config{})
				call, err := v.Call(t.Context(), s.ticket(b), nil)
				if err != nil {
					t.Fatal(i, err)
				}
				call.HangUp()
				<-call.Done()
				v.Close()
				time.Sleep(100 * time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		if n := b.Status().Links; n != 0 {
			t.Errorf("%d links", n)
		}
		a := s.node(s.public("a"), Config{})
		ears := s.callee(b)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.converse(call, ears, 2*time.Second)
	})
}

// Answered is nil for answered calls alone.
func TestAnsweredOnlyWhenAnswered(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		call.HangUp()
		var ce *CallError
		if err := call.Answered(t.Context()); !errors.As(err, &ce) || ce.Reason != "cancelled" || ce.Stage != "ring" {
			t.Errorf("hung up: %v", err)
		}
		if call.Err() != nil {
			t.Errorf("an own hang-up is an error: %v", call.Err())
		}
		time.Sleep(time.Second)
		if call, err = a.Call(t.Context(), s.ticket(b), nil); err != nil {
			t.Fatal(err)
		}
		a.Close()
		if err := call.Answered(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if stage, reason, _ := call.End(); stage != "ring" || reason != "cancelled" {
			t.Errorf("%s %s", stage, reason)
		}
	})
}

// One side loses its link and the other does not notice: after a new one both
// can call again, whoever asked first.
func TestSessionSurvivesHalfLink(t *testing.T) {
	for _, loser := range []string{"asker", "answerer"} {
		t.Run(loser, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				ha, hb := s.public("a"), s.public("b")
				a, b := s.node(ha, Config{}), s.node(hb, Config{})
				earsA, earsB := s.callee(a), s.callee(b)
				ticket := s.ticket(b)
				hello := func(from *Node, to string, ears <-chan *ear) {
					t.Helper()
					call, err := from.Call(t.Context(), to, nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := call.Answered(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
					call.HangUp()
					<-(<-ears).done
				}
				hello(a, ticket, earsB)
				time.Sleep(time.Minute)
				lost, host, kept := a, ha, b
				if loser == "answerer" {
					lost, host, kept = b, hb, a
				}
				peers, err := lost.ov.Peers(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.net.Do(func(*simnet.World) { host.Cut(true) }) // the word of the end is lost
				peers[0].Link().Abort()
				time.Sleep(100 * time.Millisecond)
				s.net.Do(func(*simnet.World) { host.Cut(false) })
				if _, err := lost.ov.Dial(t.Context(), kept.Status().Listen[0]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				hello(b, a.ID().String(), earsA)
				hello(a, b.ID().String(), earsB)
			})
		})
	}
}

// Iterators, Join and remembered tickets after something went wrong.
func TestSecondTime(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		hb := s.public("b")
		b := s.node(hb, Config{})
		a := s.node(s.public("a"), Config{Join: []string{b.Status().Listen[0].String()}})
		events := a.Events(t.Context())
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range events {
			break
		}
		ticket := s.ticket(b)
		b.Close()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Join(ctx); err == nil {
			t.Error("joined without a link")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range events { // a second time
			}
		}()
		// A ticket that leads nowhere doesn't replace one that worked.
		again := s.nodeOn("again", Config{}, s.listen(s.public("x"), 4000))
		if _, err := again.Call(t.Context(), ticket, nil); !errors.Is(err, ErrOffline) {
			t.Errorf("call: %v", err)
		}
		if _, known := again.known[b.ID()]; known {
			t.Error("a useless ticket is remembered")
		}
		a.Close()
		<-done
	})
}
