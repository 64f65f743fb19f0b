// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// Somebody who knows an ID alone can't ring, but leave word; what he
// says is shown without a sound and without what could mislead; who is called back
// is reached by the ID.
func TestKnock(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(4)
		callee := s.node(s.public("callee"), Config{Join: join, Knocks: true})
		asked := make(chan Knock, 16)
		loud := s.node(s.public("loud"), Config{Join: join, Knocks: true, KnockRings: func(k Knock) bool {
			if asked <- k; k.Text == "panic" {
				panic("as it says")
			}
			return k.Text == "it burns"
		}})
		shy := s.node(s.public("shy"), Config{Join: join})
		stranger := s.node(s.public("stranger"), Config{Join: join})
		for _, n := range []*Node{callee, loud, shy, stranger} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		knocks := make(chan Knock, 16)
		events := callee.Events(context.Background())
		s.wg.Go(func() {
			for e := range events {
				if k, ok := e.(Knock); ok {
					knocks <- k
				}
			}
		})
		calls := callee.Incoming(context.Background())
		s.wg.Go(func() {
			for range calls {
				t.Error("it rang")
			}
		})
		if _, err := stranger.Call(t.Context(), callee.ID().String(), nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("a call to a bare ID: %v", err)
		}
		if err := stranger.Knock(t.Context(), stranger.ID().String(), ""); !errors.Is(err, ErrSelf) {
			t.Errorf("at his own door: %v", err)
		}
		if err := stranger.Knock(t.Context(), shy.ID().String(), "hello"); !errors.Is(err, ErrNotFound) {
			t.Errorf("at somebody's who has no inbox: %v", err)
		}
		text := "it is me\x1b[2J\r\u202e" + strings.Repeat("x", 100_000)
		if err := stranger.Knock(t.Context(), callee.ID().String(), text); err != nil {
			t.Fatal(err)
		}
		select {
		case k := <-knocks:
			if k.Peer != stranger.ID() || k.Rings || k.Name != "stranger" || !k.Callable || len(k.Text) != MaxKnock || strings.ContainsAny(k.Text, "\x1b\r\u202e") {
				t.Errorf("%+v", k)
			}
		case <-time.After(10 * time.Minute):
			t.Fatal("no word came")
		}
		for r, err := range callee.History(t.Context()) {
			if err != nil || r.Knock == nil || r.Peer != stranger.ID() {
				t.Errorf("%+v, %v", r, err)
			}
		}
		// Where the app lets it, a line rings; whatever else it says, it doesn't.
		bell := loud.Events(context.Background())
		rang := make(chan Knock, 16)
		s.wg.Go(func() {
			for e := range bell {
				if k, ok := e.(Knock); ok {
					rang <- k
				}
			}
		})
		for who, text := range map[*Node]string{stranger: "it burns", shy: "panic", callee: "buy this"} {
			if err := who.Knock(t.Context(), loud.ID().String(), text); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			select {
			case k := <-rang:
				if q := <-asked; q.Rings {
					t.Errorf("asked with %+v", q)
				}
				if want := k.Text == "it burns"; k.Rings != want {
					t.Errorf("%q rings: %t", k.Text, k.Rings)
				}
			case <-time.After(10 * time.Minute):
				t.Fatal("no word came")
			}
		}
		loudest := 0
		for r, err := range loud.History(t.Context()) {
			if err != nil || r.Knock == nil || r.Knock.Rang != (r.Peer == stranger.ID()) {
				t.Errorf("%+v, %v", r, err)
			}
			loudest++
		}
		if loudest != 3 {
			t.Errorf("%d records", loudest)
		}

		back := stranger.Incoming(context.Background())
		s.wg.Go(func() {
			for c := range back {
				c.Answer()
			}
		})
		call, err := callee.Call(t.Context(), stranger.ID().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		call.HangUp()
	})
}
