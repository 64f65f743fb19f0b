// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// mate is a made-up device, sorted by name.
func mate(i byte) Peer {
	return Peer{Identity: identity.ID{i}, Device: [16]byte{i}, Node: identity.NodeID{i}}
}

func rosterOf(edition uint32, members ...byte) *GroupRoster {
	r := &GroupRoster{Edition: edition, Name: "choir", Maker: identity.ID{members[0]}}
	for _, m := range members {
		r.Members = append(r.Members, identity.ID{m})
	}
	return r
}

// drainRoom puts a room's events into words.
func drainRoom(r *Room) (list []string) {
	for {
		e, ok := r.NextEvent()
		if !ok {
			return list
		}
		switch e := e.(type) {
		case RoomRing:
			list = append(list, fmt.Sprintf("ring %d leg %d quiet %t", e.Person[0], e.Leg, e.Quiet))
		case RoomDial:
			list = append(list, fmt.Sprintf("dial leg %d", e.Leg))
		case RoomAccept:
			list = append(list, fmt.Sprintf("accept %d", e.Leg))
		case RoomHang:
			list = append(list, fmt.Sprintf("hang %d %v", e.Leg, e.Reason))
		case RoomTell:
			list = append(list, "tell")
		case RoomCalled:
			list = append(list, fmt.Sprintf("called by %d", e.By.Node[0]))
		case RoomJoined:
			list = append(list, fmt.Sprintf("joined %d", e.Peer.Node[0]))
		case RoomLeft:
			list = append(list, fmt.Sprintf("left %d %v", e.Peer.Node[0], e.Reason))
		case RoomOver:
			list = append(list, fmt.Sprintf("over %v", e.Reason))
		}
	}
}

func expectRoom(t *testing.T, r *Room, rule string, want ...string) {
	t.Helper()
	if got := drainRoom(r); !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", rule, got, want)
	}
}

func TestRoomCalls(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Call(start, false)
	expectRoom(t, r, "every other member is rung", "ring 2 leg 1 quiet false", "ring 3 leg 2 quiet false")
	r.Call(start, false)
	expectRoom(t, r, "not twice")
	r.Up(start, 1, mate(2), testPlace(2))
	expectRoom(t, r, "who answers is in, and told of", "joined 2", "tell")
	r.Down(start, 2, NoAnswer)
	expectRoom(t, r, "who doesn't is not called again")
	r.Down(start, 1, HungUp)
	expectRoom(t, r, "who is left alone leaves", "left 2 hangup", "tell", "over hangup")
	if r.State() != RoomOut || !r.Deadline().IsZero() {
		t.Error("something is left")
	}
}

// testPlace is a place without a certificate that holds: a Room judges none.
func testPlace(i byte) place {
	return place{identity.Certificate{Identity: identity.ID{i}}, []byte{i}}
}

func TestRoomNobodyComes(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2))
	r.Call(start, true)
	expectRoom(t, r, "joining rings quietly", "ring 2 leg 1 quiet true")
	r.Down(start, 1, NoAnswer)
	expectRoom(t, r, "nobody is in", "over no-answer")
	alone := NewRoom(mate(1), rosterOf(1, 1))
	alone.Call(start, false)
	expectRoom(t, alone, "a group of one", "over no-answer")
}

// A member who can't be found is searched twice more, while this side waits.
func TestRoomSearchesAgain(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Call(start, false)
	drainRoom(r)
	r.Down(start, 1, Offline)
	r.Down(start, 2, NotFound)
	expectRoom(t, r, "one may be about to start, of the other one nothing is known")
	if d := r.Deadline(); !d.Equal(start.Add(ringAgain)) {
		t.Fatalf("again at %v", d)
	}
	now := start.Add(ringAgain)
	r.Advance(now)
	expectRoom(t, r, "it is searched again", "ring 2 leg 3 quiet false")
	r.Down(now, 3, Offline)
	r.Call(now, false)
	expectRoom(t, r, "calling again does not wait", "ring 2 leg 4 quiet false", "ring 3 leg 5 quiet false")
	r.Down(now, 5, NotFound)
	for i := range Leg(maxRings - 1) {
		r.Down(now, 4+2*min(i, 1), Offline) // legs 4, 6
		now = now.Add(ringAgain << i)
		r.Advance(now)
		expectRoom(t, r, "and again", fmt.Sprintf("ring 2 leg %d quiet false", 6+i))
	}
	r.Down(now, 7, Offline)
	expectRoom(t, r, "not for ever", "over offline")
	r = NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Call(start, false)
	r.Down(start, 1, Offline)
	leg := r.Invited(start, mate(2), false)
	r.Up(start, leg, mate(2), testPlace(2))
	drainRoom(r)
	r.Advance(start.Add(time.Minute))
	expectRoom(t, r, "nor one who has come by itself")
}

// Who goes before it has heard our answer has left all the same.
func TestRoomLeftEarly(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	for i := range byte(2) {
		leg := r.Invited(start, mate(2+i), false)
		r.Answer(start)
		r.Up(start, leg, mate(2+i), testPlace(2+i))
	}
	drainRoom(r)
	r.Down(start, 1, Cancelled)
	expectRoom(t, r, "it has left", "left 2 cancelled", "tell")
	r.Advance(start.Add(time.Hour))
	expectRoom(t, r, "and is not called again")
}

// Who calls again has heard nothing of the answer: the leg that waits for it is not
// in the way of the new one.
func TestRoomCalledAgain(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Invited(start, mate(2), false)
	r.Answer(start)
	drainRoom(r)
	r.Invited(start, mate(2), true)
	expectRoom(t, r, "the newer call counts", "hang 1 elsewhere", "accept 2")
	r.Up(start, 2, mate(2), testPlace(2))
	expectRoom(t, r, "and stands", "joined 2", "tell")
	r.Invited(start, mate(2), true)
	expectRoom(t, r, "one that stands stays", "hang 3 busy")
}

func TestRoomIsCalled(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3, 4))
	r.Invited(start, mate(2), false)
	expectRoom(t, r, "a member's call rings", "called by 2")
	r.Invited(start, mate(3), false)
	expectRoom(t, r, "another one's belongs to it")
	r.Answer(start)
	expectRoom(t, r, "both are answered", "accept 1", "accept 2")
	r.Up(start, 1, mate(2), testPlace(2))
	r.Up(start, 2, mate(3), testPlace(3))
	expectRoom(t, r, "and in", "joined 2", "tell", "joined 3", "tell")
	r.Invited(start, mate(4), false)
	expectRoom(t, r, "who comes later is answered at once", "accept 3")
	r.Invited(start, mate(9), false)
	expectRoom(t, r, "a stranger is not", "hang 4 denied")
	r.Leave(start)
	got := drainRoom(r)
	if want := []string{"hang 1 hangup", "left 2 hangup", "hang 2 hangup", "left 3 hangup", "hang 3 hangup", "over hangup"}; !slices.Equal(got, want) {
		t.Errorf("leaving: %q", got)
	}
}

func TestRoomDeclined(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Invited(start, mate(2), false)
	r.Invited(start, mate(3), false)
	drainRoom(r)
	r.Leave(start)
	expectRoom(t, r, "all calls are declined", "hang 1 rejected", "hang 2 rejected", "over rejected")
	r = NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Invited(start, mate(2), false)
	r.Invited(start, mate(3), false)
	drainRoom(r)
	r.Down(start, 1, Cancelled)
	expectRoom(t, r, "one caller gives up")
	r.Down(start, 2, Cancelled)
	expectRoom(t, r, "the last one does", "over cancelled")
	r = NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Invited(start, mate(2), true)
	expectRoom(t, r, "a quiet call to somebody who is out", "hang 1 no-answer")
}

// newMate returns a device that stands for a member at a place, both with the same
// key, and the Peer it makes.
func newMate(t *testing.T, node string) (place, Peer) {
	t.Helper()
	d := newDevice(t, node)
	key := make([]byte, 32)
	copy(key, node)
	at := place{d.Certificate(), key}
	return at, at.peer()
}

// Members that another one lists are called: at once by the smaller node ID, after
// a while by the larger one, and again when the leg fails.
func TestRoomMeshes(t *testing.T) {
	self, me := newMate(t, "me")
	var mates []place
	for i := range 3 {
		at, _ := newMate(t, fmt.Sprint("mate", i))
		mates = append(mates, at)
	}
	roster := &GroupRoster{Edition: 1, Members: []identity.ID{me.Identity}}
	for _, at := range mates {
		roster.Members = append(roster.Members, at.cert.Identity)
	}
	_ = self
	r := NewRoom(me, roster)
	first := mates[0].peer()
	leg := r.Invited(start, first, false)
	r.Answer(start)
	r.Up(start, leg, first, mates[0])
	drainRoom(r)
	now := start
	r.Told(now, leg, []place{self, mates[1], mates[2], mates[1]})
	soon, later := 0, 0
	for _, at := range mates[1:] {
		if at.peer().Node.Less(me.Node) {
			later++
		} else {
			soon++
		}
	}
	if got := drainRoom(r); len(got) != soon {
		t.Fatalf("calls %q, want %d", got, soon)
	}
	now = now.Add(yieldTime)
	r.Advance(now)
	if got := drainRoom(r); len(got) != later {
		t.Fatalf("calls %q later, want %d", got, later)
	}
	// Both calls fail: each is made again five times, the wait doubles.
	tries := 0
	for _, s := range r.seats {
		if s.phase == seatCalls {
			r.Down(now, s.leg, Failed)
		}
	}
	for range 200 {
		now = now.Add(time.Second)
		r.Advance(now)
		for {
			e, ok := r.NextEvent()
			if !ok {
				break
			}
			if d, ok := e.(RoomDial); ok {
				tries++
				r.Down(now, d.Leg, Failed)
			}
		}
	}
	if want := 2 * (maxLegs - 1); tries != want {
		t.Errorf("%d further tries, want %d", tries, want)
	}
	if r.State() != RoomIn || len(r.Seats()) != 1 {
		t.Error("bad links have hurt the good one")
	}
	// Not listed any more, then listed again: not called, it comes by itself.
	r.Told(now, leg, nil)
	r.Down(now, leg, HungUp)
	if got := strings.Join(drainRoom(r), ", "); !strings.Contains(got, "over") {
		t.Errorf("left alone: %s", got)
	}
}

func TestRoomAdopts(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Call(start, false)
	r.Up(start, 1, mate(2), testPlace(2))
	r.Up(start, 2, mate(3), testPlace(3))
	drainRoom(r)
	r.Adopt(start, rosterOf(1, 1, 2), false)
	expectRoom(t, r, "an edition like ours is no news")
	r.Adopt(start, rosterOf(2, 1, 3, 4), true)
	expectRoom(t, r, "who is not in it goes, who is new is rung",
		"hang 1 denied", "left 2 denied", "tell", "ring 4 leg 3 quiet false")
	other := rosterOf(9, 1, 2)
	other.ID = GroupID{1}
	r.Adopt(start, other, false)
	expectRoom(t, r, "another group's")
	r.Adopt(start, rosterOf(3, 3, 4), false)
	expectRoom(t, r, "without us", "hang 2 denied", "left 3 denied", "hang 3 denied", "over denied")
}

// A person who comes with another device, or with a node that was started anew,
// takes the place of the old one.
func TestRoomMoves(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3))
	r.Call(start, false)
	r.Up(start, 1, mate(2), testPlace(2))
	drainRoom(r)
	moved := mate(2)
	moved.Node[5] = 7
	leg := r.Invited(start, moved, false)
	expectRoom(t, r, "it is answered", "accept 3")
	r.Up(start, leg, moved, testPlace(2))
	expectRoom(t, r, "and the old leg ends", "hang 1 elsewhere", "left 2 elsewhere", "joined 2", "tell")
}

func TestRoomSeatsAreBounded(t *testing.T) {
	r := NewRoom(mate(1), rosterOf(1, 1, 2, 3, 4, 5, 6, 7, 8))
	r.Call(start, false)
	for i := range 500 {
		p := mate(byte(2 + i%7))
		p.Node[5], p.Node[6] = byte(i), byte(i>>8)
		r.Invited(start, p, false)
		drainRoom(r)
	}
	if len(r.seats) > maxSeats {
		t.Errorf("%d seats", len(r.seats))
	}
}

// roomWorld is rooms and the calls between them: messages take their time, calls
// cross, legs break.
type roomWorld struct {
	t     *testing.T
	rng   *rand.Rand
	now   time.Time
	rooms []*roomNode
	queue []roomDeed
	conns []*roomConn
	seq   int
}

type roomNode struct {
	*Room
	peer   Peer
	at     place
	conns  map[Leg]*roomConn
	answer bool
	asleep bool // not started yet
	joined map[Peer]bool
}

// roomConn is a leg: its two ends.
type roomConn struct {
	end [2]*roomNode
	leg [2]Leg
	up  [2]bool
	cut bool
	// deaf: its answer gets lost, the caller gives up
	deaf bool
}

type roomDeed struct {
	at  time.Time
	seq int
	do  func()
}

func (w *roomWorld) later(d time.Duration, do func()) {
	w.seq++
	w.queue = append(w.queue, roomDeed{w.now.Add(d), w.seq, do})
}

func (w *roomWorld) trip() time.Duration { return time.Duration(5+w.rng.IntN(300)) * time.Millisecond }

func (w *roomWorld) node(p Peer) *roomNode {
	for _, n := range w.rooms {
		if n.peer == p {
			return n
		}
	}
	return nil
}

// drain carries out what a room wants.
func (w *roomWorld) drain(n *roomNode) {
	for {
		e, ok := n.NextEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case RoomRing:
			for _, o := range w.rooms {
				if o.peer.Identity == e.Person {
					w.call(n, o, e.Leg, e.Quiet)
				}
			}
		case RoomDial:
			w.call(n, w.node(e.at.peer()), e.Leg, true)
		case RoomAccept:
			w.up(n.conns[e.Leg])
		case RoomHang:
			if c := n.conns[e.Leg]; c != nil {
				w.end(c, n, e.Reason)
			}
		case RoomTell:
			for _, leg := range slices.Sorted(maps.Keys(n.conns)) {
				w.tell(n, n.conns[leg])
			}
		case RoomCalled:
			w.later(time.Duration(w.rng.IntN(5000))*time.Millisecond, func() {
				if n.answer {
					n.Answer(w.now)
				} else {
					n.Leave(w.now)
				}
				w.drain(n)
			})
		case RoomJoined:
			n.joined[e.Peer] = true
		case RoomLeft:
			delete(n.joined, e.Peer)
		case RoomOver:
			clear(n.joined)
		}
	}
}

func (w *roomWorld) call(n, o *roomNode, leg Leg, quiet bool) {
	c := &roomConn{end: [2]*roomNode{n, o}, leg: [2]Leg{leg, 0}}
	n.conns[leg] = c
	if o.asleep || w.rng.IntN(8) == 0 { // nothing is heard of it
		w.later(time.Duration(500+w.rng.IntN(7500))*time.Millisecond, func() {
			if n.conns[leg] == c {
				delete(n.conns, leg)
				n.Down(w.now, leg, Offline)
				w.drain(n)
			}
		})
		return
	}
	c.deaf = w.rng.IntN(8) == 0
	w.conns = append(w.conns, c)
	w.later(w.trip(), func() {
		if c.cut || c.up[1] { // or the calls have met on the way
			return
		}
		// Two calls that cross become one, as in the call machine.
		for _, x := range w.conns {
			if x != c && !x.cut && x.end[0] == o && x.end[1] == n && !x.up[1] {
				if w.rng.IntN(2) == 0 {
					x.leg[1], c.cut = leg, true
					n.conns[leg] = x
					w.up(x)
				} else {
					c.leg[1], x.cut = x.leg[0], true
					o.conns[x.leg[0]] = c
					w.up(c)
				}
				return
			}
			if x != c && !x.cut && (x.end[0] == o && x.end[1] == n || x.end[0] == n && x.end[1] == o) && x.up[0] {
				w.end(c, o, Busy)
				return
			}
		}
		c.leg[1] = o.Next()
		o.conns[c.leg[1]] = c
		o.Invited(w.now, n.peer, quiet)
		w.drain(o)
	})
}

// up answers a call: the callee at once, the caller a trip later.
func (w *roomWorld) up(c *roomConn) {
	if c == nil || c.cut || c.up[1] {
		return
	}
	c.up[1] = true
	w.later(0, func() {
		if !c.cut {
			c.end[1].Up(w.now, c.leg[1], c.end[0].peer, c.end[0].at)
			w.drain(c.end[1])
		}
	})
	if c.deaf {
		w.later(8*time.Second, func() { w.end(c, nil, Failed) })
		return
	}
	w.later(w.trip(), func() {
		if !c.cut {
			c.up[0] = true
			c.end[0].Up(w.now, c.leg[0], c.end[1].peer, c.end[1].at)
			w.drain(c.end[0])
		}
	})
}

// end ends a leg, from one side (nil: it breaks).
func (w *roomWorld) end(c *roomConn, by *roomNode, why Reason) {
	if c.cut {
		return
	}
	c.cut = true
	if by == c.end[0] && !c.up[0] {
		why = Cancelled // it has not heard the answer
	}
	for i, n := range c.end {
		d := w.trip()
		if n == by {
			d = 0
		}
		leg, why := c.leg[i], why
		if c.deaf && i == 0 && by == nil {
			why = Offline
		}
		w.later(d, func() {
			delete(n.conns, leg)
			n.Down(w.now, leg, why)
			w.drain(n)
		})
	}
}

func (w *roomWorld) tell(n *roomNode, c *roomConn) {
	i := slices.Index(c.end[:], n)
	list := n.Seats()
	w.later(w.trip(), func() {
		if o := c.end[1-i]; !c.cut {
			o.Told(w.now, c.leg[1-i], list)
			w.drain(o)
		}
	})
}

func (w *roomWorld) run(d time.Duration) {
	until := w.now.Add(d)
	for {
		next := until
		for _, n := range w.rooms {
			if t := n.Deadline(); !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		first := -1
		for i, q := range w.queue {
			if !q.at.After(next) && (first < 0 || q.at.Before(w.queue[first].at) || q.at.Equal(w.queue[first].at) && q.seq < w.queue[first].seq) {
				first = i
			}
		}
		switch {
		case first >= 0:
			q := w.queue[first]
			w.queue = slices.Delete(w.queue, first, first+1)
			if q.at.After(w.now) {
				w.now = q.at
			}
			q.do()
		case next.Equal(until):
			w.now = until
			return
		default:
			if next.After(w.now) {
				w.now = next
			}
			for _, n := range w.rooms {
				n.Advance(w.now)
				w.drain(n)
			}
		}
	}
}

// Whatever happens on the way, everybody who is in the room in the end hears
// everybody else, and nobody who has left.
func TestRoomWorld(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	var places []place
	roster := &GroupRoster{Edition: 1}
	for i := range MaxMembers {
		at, p := newMate(t, fmt.Sprint("n", i))
		places = append(places, at)
		roster.Members = append(roster.Members, p.Identity)
	}
	full := 0
	for seed := range uint64(seeds) {
		w := &roomWorld{t: t, rng: rand.New(rand.NewPCG(seed, 3)), now: start}
		for _, at := range places {
			n := &roomNode{peer: at.peer(), at: at, conns: make(map[Leg]*roomConn), answer: w.rng.IntN(8) > 0, joined: make(map[Peer]bool)}
			n.Room = NewRoom(n.peer, roster)
			w.rooms = append(w.rooms, n)
		}
		pick := func() *roomNode { return w.rooms[w.rng.IntN(len(w.rooms))] }
		enter := func(n *roomNode, quiet bool) { n.Call(w.now, quiet); w.drain(n) }
		enter(pick(), false)
		for _, n := range w.rooms {
			if n.State() == RoomOut && w.rng.IntN(4) == 0 {
				n.asleep = true
				w.later(time.Duration(w.rng.IntN(9000))*time.Millisecond, func() { n.asleep = false })
			}
		}
		for range 12 {
			w.run(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
			n := pick()
			if n.asleep {
				continue
			}
			switch w.rng.IntN(4) {
			case 0:
				enter(n, w.rng.IntN(2) == 0)
			case 1:
				n.Leave(w.now)
				w.drain(n)
			default: // a leg breaks
				if len(w.conns) > 0 {
					if c := w.conns[w.rng.IntN(len(w.conns))]; c.up[0] {
						w.end(c, nil, Failed)
					}
				}
			}
		}
		w.run(2 * time.Minute)
		in := 0
		for _, n := range w.rooms {
			if n.State() == RoomIn {
				in++
			}
			if n.State() == RoomRings {
				t.Errorf("seed %d: it still rings", seed)
			}
		}
		for _, n := range w.rooms {
			if n.State() == RoomIn && len(n.joined) != in-1 {
				t.Errorf("seed %d: %d hears %d others of %d", seed, n.peer.Node[0], len(n.joined), in-1)
			}
			if n.State() == RoomOut && (len(n.joined) > 0 || len(n.conns) > 0 || !n.Deadline().IsZero()) {
				t.Errorf("seed %d: %d is out and has %d legs, %d joined", seed, n.peer.Node[0], len(n.conns), len(n.joined))
			}
			if d := n.Deadline(); !d.IsZero() {
				t.Errorf("seed %d: something is left to do at %v", seed, d)
			}
		}
		if in > 5 {
			full++
		}
		if t.Failed() {
			return
		}
	}
	if full < seeds/10 {
		t.Errorf("only %d of %d rooms were full", full, seeds)
	}
}
