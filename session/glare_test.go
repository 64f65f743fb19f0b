// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// crossing runs both sides calling each other under one interleaving: pick
// chooses among n possible next steps. Links keep order, as streams do.
func crossing(a, b *side, pick func(n int) int) {
	todo := []*side{a, b} // who still has to place a call
	other := map[*side]*side{a: b, b: a}
	for {
		var steps []func()
		for _, s := range todo {
			steps = append(steps, func() {
				if _, err := s.m.Place(start, other[s].peer()); err != nil && !errors.Is(err, ErrBusy) {
					s.t.Fatal(err)
				}
				s.drain()
				todo = without(todo, s)
			})
		}
		for _, s := range []*side{a, b} {
			if len(s.wire) > 0 {
				steps = append(steps, func() {
					o := s.wire[0]
					s.wire = s.wire[1:]
					if err := other[s].receive(start, s, o.Body); err != nil {
						s.t.Fatalf("type %d: %v", o.Body[0], err)
					}
				})
			}
		}
		if len(steps) == 0 {
			return
		}
		steps[pick(len(steps))]()
	}
}

// agreed checks that both sides are in one and the same call, with keys that
// fit, and that the application heard of it consistently.
func agreed(t *testing.T, a, b *side) {
	t.Helper()
	if len(a.m.calls) != 1 || len(b.m.calls) != 1 || a.m.calls[0].id != b.m.calls[0].id {
		t.Fatalf("calls differ\n%v\n%v", a.trace, b.trace)
	}
	id := a.m.calls[0].id
	ka, kb := answeredBy(t, a, id), answeredBy(t, b, id)
	if ka.Keys.Send != kb.Keys.Receive || ka.Keys.Receive != kb.Keys.Send || ka.Params.LocalSSRC != kb.Params.RemoteSSRC {
		t.Error("keys or SSRCs differ")
	}
}

func answeredBy(t *testing.T, s *side, id CallID) (k Answered) {
	t.Helper()
	n := 0
	for _, e := range s.seen {
		switch e := e.(type) {
		case Answered:
			k = e
			n++
		case Ended, Missed:
			t.Errorf("%s: %s", s.name, describe(e))
		case Replaced:
			if e.New != id {
				t.Errorf("%s: replaced by another call", s.name)
			}
		}
	}
	if n != 1 || k.ID != id {
		t.Fatalf("%s: %d answers, trace %v", s.name, n, s.trace)
	}
	return k
}

// Both call each other, under every interleaving of commands and deliveries and
// both orders of their call IDs.
func TestGlareEveryInterleaving(t *testing.T) {
	da, db := newDevice(t, "anna"), newDevice(t, "ben")
	for _, seeds := range [][2]uint64{{1, 2}, {2, 1}} {
		runs, replaced, joined := 0, 0, 0
		var path, width []int // the choices taken and how many there were
		for {
			a, b := newSide(t, "anna", da, seeds[0], Options{}), newSide(t, "ben", db, seeds[1], Options{})
			introduce(a, b)
			depth := 0
			crossing(a, b, func(n int) int {
				if depth == len(path) {
					path, width = append(path, 0), append(width, n)
				}
				depth++
				return path[depth-1]
			})
			if t.Failed() {
				t.Fatalf("interleaving %v", path)
			}
			agreedOrRings(t, a, b)
			for _, e := range append(a.seen, b.seen...) {
				if _, ok := e.(Replaced); ok {
					replaced++
				}
				if _, ok := e.(Incoming); ok {
					joined++
				}
			}
			runs++
			// The next path in depth-first order.
			path, width = path[:depth], width[:depth]
			for len(path) > 0 && path[len(path)-1]+1 == width[len(path)-1] {
				path, width = path[:len(path)-1], width[:len(width)-1]
			}
			if len(path) == 0 {
				break
			}
			path[len(path)-1]++
		}
		t.Logf("seeds %v: %d interleavings, %d replaced, %d rang before the second call", seeds, runs, replaced, joined)
		if replaced == 0 || joined == 0 || runs < 8 {
			t.Error("the interleavings do not cover both cases")
		}
	}
}

// agreedOrRings: every interleaving ends in one common call, since a second
// Place answers what rings.
func agreedOrRings(t *testing.T, a, b *side) {
	t.Helper()
	agreed(t, a, b)
	for _, s := range []*side{a, b} {
		var last Event
		for _, e := range s.seen {
			if _, ok := last.(Replaced); ok {
				if _, ok := e.(Answered); !ok {
					t.Errorf("%s: %s after replaced", s.name, describe(e))
				}
			}
			last = e
		}
	}
}

func TestGlareSmallerCallWins(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	ida, idb := a.place(start, b), b.place(start, a)
	winner, loser, id := a, b, ida
	if idb.less(ida) {
		winner, loser, id = b, a, idb
	}
	carry(start, a, b)
	winner.expect("the winner waits and is answered", "answered")
	loser.expect("the loser's handle moves and it answers", "replaced", "answered")
	if a.m.calls[0].id != id || b.m.calls[0].id != id {
		t.Error("the larger call ID won")
	}
	// Both handles work.
	loser.do(loser.m.HangUp(after(time.Second), id))
	carry(after(time.Second), a, b)
	winner.expect("hang up", "ended hangup answer peer 1s")
}

// The winner takes its call back before it hears of the loser's: the loser must
// not stay in a call that is over.
func TestGlareWithCancel(t *testing.T) {
	for _, order := range []string{"invite first", "cancel first"} {
		l := sides(t, Options{}, "anna", "ben")
		a, b := l[0], l[1]
		ida, idb := a.place(start, b), b.place(start, a)
		winner, loser, id := a, b, ida
		if idb.less(ida) {
			winner, loser, id = b, a, idb
		}
		winner.do(winner.m.HangUp(start, id))
		if order == "cancel first" {
			winner.wire[0], winner.wire[1] = winner.wire[1], winner.wire[0]
		}
		carry(start, a, b)
		for _, s := range l {
			if len(s.m.calls) != 0 {
				t.Errorf("%s: %s is left in a call: %v and %v", order, s.name, winner.trace, loser.trace)
			}
		}
	}
}

// Glare where the winner's key is unusable: the loser's own call stays.
func TestGlareWithBadKey(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	own := a.place(start, b)
	_, msg, err := newInviteWithKey(b, a, CallID{}, make([]byte, kemKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.receive(start, b, msg); !errors.Is(err, ErrForged) {
		t.Fatal(err)
	}
	if a.m.find(own) == nil {
		t.Error("own call was dropped for a bad one")
	}
	a.expect("nothing is announced")
}

// Without glare, the key is used at Answer: the call fails there.
func TestAnswerWithBadKey(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id, msg, err := newInviteWithKey(b, a, CallID{1}, make([]byte, kemKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.receive(start, b, msg); err != nil {
		t.Fatal(err)
	}
	if err := a.m.Answer(start, id); err == nil {
		t.Fatal("answered with a key of zeros")
	}
	a.drain()
	a.expect("the call fails", "incoming ben", "ended failed ring us 0s")
}

// Random weather: commands at random times, messages that come late, twice and
// in another order, links that die and come back. Whatever happens, every call ends once on each side and
// nothing is left.
func TestRandomWeather(t *testing.T) {
	da, db := newDevice(t, "anna"), newDevice(t, "ben")
	n := 60
	if testing.Short() {
		n = 20
	}
	talks := 0
	for seed := range uint64(n) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			talks += weather(t, seed, newSide(t, "anna", da, 2*seed, Options{}), newSide(t, "ben", db, 2*seed+1, Options{}))
		})
	}
	if talks < n {
		t.Errorf("only %d answered calls in %d runs: the weather hides the calls", talks, n)
	}
}

type parcel struct {
	to, from *side
	body     []byte
	at       time.Time
}

func weather(t *testing.T, seed uint64, a, b *side) (talks int) {
	introduce(a, b)
	rng := rand.New(rand.NewPCG(seed, 99))
	now := start
	var road []parcel
	known := map[*side][]CallID{}
	carry := func(from, to *side) {
		for _, o := range from.wire {
			for range 1 + rng.IntN(5)/4 { // one in five comes twice
				road = append(road, parcel{to, from, o.Body, now.Add(time.Duration(rng.IntN(3000)) * time.Millisecond)})
			}
		}
		from.wire = nil
		for _, e := range from.take() {
			switch e := e.(type) {
			case Incoming:
				known[from] = append(known[from], e.ID)
			case Replaced:
				known[from] = append(known[from], e.New)
			case Answered:
				talks++
			}
		}
	}
	cut := false
	step := func(until time.Time, commands bool) {
		for now.Before(until) {
			now = now.Add(100 * time.Millisecond)
			// The link dies, with all that is on it, and comes back.
			if commands && !cut && rng.IntN(100) == 0 {
				cut, road = true, nil
				a.m.Forget(now, b.peer())
				b.m.Forget(now, a.peer())
			} else if cut && rng.IntN(20) == 0 {
				cut = false
				introduce(a, b)
			}
			a.drain()
			b.drain()
			for i := 0; i < len(road); {
				if p := road[i]; !p.at.After(now) {
					road = append(road[:i:i], road[i+1:]...)
					p.to.receive(now, p.from, p.body)
					continue
				}
				i++
			}
			for _, s := range []*side{a, b} {
				o := map[*side]*side{a: b, b: a}[s]
				if commands && rng.IntN(20) == 0 {
					if ids := known[s]; len(ids) > 0 && rng.IntN(3) > 0 {
						id := ids[len(ids)-1]
						if rng.IntN(3) == 0 {
							s.m.HangUp(now, id)
						} else {
							s.m.Answer(now, id)
						}
					} else if id, err := s.m.Place(now, o.peer()); err == nil {
						known[s] = append(known[s], id)
					}
				}
				s.advance(now)
			}
			carry(a, b)
			carry(b, a)
		}
	}
	step(start.Add(30*time.Second), true)
	step(now.Add(3*time.Minute), false)

	for _, s := range []*side{a, b} {
		if len(s.m.calls) != 0 || !s.m.Deadline().IsZero() {
			t.Fatalf("%s is left with %d calls\n%v\n%v", s.name, len(s.m.calls), a.trace, b.trace)
		}
		once(t, s)
	}
	return talks
}

// once checks a whole trace: an end for each call that was announced or placed,
// no event about a call after it.
func once(t *testing.T, s *side) {
	t.Helper()
	over, open := map[string]bool{}, map[string]bool{}
	for _, line := range s.trace {
		var what, id, by, next string
		fmt.Sscan(line, &what, &id, &by, &next)
		if what == "missed" {
			continue
		}
		if over[id] {
			t.Errorf("%s: %q after its end", s.name, line)
		}
		switch what {
		case "ended":
			over[id] = true
			delete(open, id)
		case "replaced":
			over[id] = true
			delete(open, id)
			open[next] = true
		default:
			open[id] = true
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: no end of %v in %v", s.name, open, s.trace)
	}
}
