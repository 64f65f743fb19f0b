// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"fmt"
	"testing"
	"time"
)

// A reply without the secret goes no further and tells against who brought it;
// the true one still passes.
func TestWrongSecret(t *testing.T) {
	for name, secret := range map[string][]byte{"none": nil, "wrong": []byte("fedcba9876543210fedcba9876543210"), "short": []byte("x")} {
		g := newRig(t, 3)
		tail, trace := g.message(Ring, true, 1)
		g.in(2, g.encode(tail))
		g.got(2)
		g.in(0, ackOf(trace))
		before := g.m.c.table.find(g.peers[0].id).score.value()
		g.in(0, g.reply(trace, 1, secret, "lie"))
		if len(g.peers[2].got) != 0 {
			t.Errorf("%s: passed on", name)
		}
		if after := g.m.c.table.find(g.peers[0].id).score.value(); after >= before {
			t.Errorf("%s: score %v, before %v", name, after, before)
		}
		g.in(0, g.reply(trace, 1, g.secret, "truth"))
		if r, _ := readReply(g.got(2)); string(r.body) != "truth" {
			t.Errorf("%s: then %+v", name, r)
		}
		if s := g.m.Status().Routing; s.False != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// Replies nobody asked for, to messages unknown or never given to that
// neighbour, cost nothing.
func TestStrayReplies(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	g.in(1, g.reply(trace, 1, g.secret, "x"))
	g.in(1, ackOf(trace))
	g.in(1, refusal(trace, refuseBusy))
	g.in(2, g.encode(tail))
	g.got(2)
	g.route(0)
	g.in(1, g.reply(trace, 1, g.secret, "x")) // 0 has it
	g.in(1, ackOf(trace))
	g.quiet()
	if s := g.m.Status().Routing; s.Stray != 5 {
		t.Errorf("%+v", s)
	}
}

// A liar that knows number and secret doesn't take the true reply's place, and
// one that floods is cut off.
func TestReplyFlood(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	g.in(2, g.encode(tail))
	g.got(2)
	g.in(0, ackOf(trace))
	for range 5 {
		g.in(0, g.reply(trace, 1, g.secret, "lie"))
	}
	g.in(0, g.reply(trace, 1, nil, "truth"))
	var bodies []string
	for _, b := range g.peers[2].got {
		r, _ := readReply(b)
		bodies = append(bodies, string(r.body))
	}
	if fmt.Sprint(bodies) != "[lie truth]" {
		t.Errorf("passed on %v", bodies)
	}
	for i := range 1000 {
		g.in(0, g.reply(trace, uint8(1+i%maxReplies), nil, fmt.Sprint(i)))
	}
	if n := len(g.peers[2].got); n != maxHeard {
		t.Errorf("%d replies passed on", n)
	}
	// Many messages: the neighbour's own limit.
	g.peers[2].got = nil
	g.pass(life)
	for i := range 2 * int(replyRate().burst) {
		if i%100 == 0 {
			g.pass(life)
		}
		g.m.c.table.find(g.peers[2].id).score.in = tokens{}
		tail, trace := g.message(Ring, true, i)
		g.in(2, g.encode(tail))
		g.in(0, ackOf(trace))
	}
	g.peers[2].got = nil
	g.m.c.table.find(g.peers[0].id).score.back = tokens{at: g.m.c.since(g.now)}
	passed := 0
	for _, x := range g.m.trails {
		for number := range uint8(maxReplies) {
			g.in(0, g.reply(x.trace, number+1, g.secret, "x"))
		}
	}
	if passed = len(g.peers[2].got); passed != int(replyRate().burst) {
		t.Errorf("%d replies of one neighbour", passed)
	}
}

// A node that answers is bounded, too.
func TestOwnReplies(t *testing.T) {
	g := newRig(t, 2)
	g.key = g.m.c.id
	tail, _ := g.message(Ring, true, 1)
	d := g.in(1, g.encode(tail))[0].(Delivered)
	g.got(1)
	for range maxReplies + 5 {
		g.m.Reply(g.now, d.Route, g.secret, nil)
		g.drain()
	}
	g.m.Reply(g.now, d.Route, g.secret, make([]byte, MaxBody+1))
	g.drain()
	if n := len(g.peers[1].got); n != maxReplies {
		t.Errorf("%d", n)
	}
	if s := g.m.Status().Routing; s.Excess != 6 {
		t.Errorf("%+v", s)
	}
}

// When the way back broke, the way of a copy that was refused will do; without
// any the reply is dropped and counted.
func TestBrokenWayBack(t *testing.T) {
	g := newRig(t, 4)
	tail, trace := g.message(Ring, true, 1)
	g.in(3, g.encode(tail))
	g.in(2, g.encode(tail)) // refused
	g.got(3)
	g.got(2)
	g.in(0, ackOf(trace))
	g.m.LinkDown(g.now, g.peers[3].id)
	g.drain()
	g.in(0, g.reply(trace, 1, g.secret, "x"))
	if r, err := readReply(g.got(2)); err != nil || string(r.body) != "x" {
		t.Errorf("%+v", r)
	}
	g.m.LinkDown(g.now, g.peers[2].id)
	g.drain()
	g.in(0, g.reply(trace, 2, nil, "y"))
	if s := g.m.Status().Routing; s.NoWayBack != 1 {
		t.Errorf("%+v", s)
	}
	// Who came back is told the secret again only if it wasn't before.
	g.link(g.peers[2])
	g.drain()
	g.peers[2].got = nil
	g.in(0, g.reply(trace, 3, nil, "z"))
	if r, err := readReply(g.got(2)); err != nil || string(r.body) != "z" || len(r.secret) != 0 {
		t.Errorf("%+v", r)
	}
}

// Replies keep the way open; without them it is forgotten.
func TestWayStaysOpen(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	g.in(2, g.encode(tail))
	g.in(0, ackOf(trace))
	for i := range uint8(20) {
		g.in(0, g.reply(trace, i+1, g.secret, "ringing"))
		g.pass(5 * time.Second)
	}
	if n := len(g.peers[2].got); n != 21 {
		t.Errorf("%d", n)
	}
	g.pass(6 * time.Second)
	g.in(0, g.reply(trace, 30, nil, "x"))
	if n := len(g.peers[2].got); n != 21 || len(g.m.trails) != 0 {
		t.Errorf("%d", n)
	}
	// Not for ever.
	tail, trace = g.message(Ring, true, 2)
	g.in(2, g.encode(tail))
	g.in(0, ackOf(trace))
	for i := range 60 {
		g.in(0, g.reply(trace, uint8(i%31)+1, g.secret, "ringing"))
		g.pass(5 * time.Second)
	}
	if len(g.m.trails) != 0 {
		t.Error("open for five minutes")
	}
}
