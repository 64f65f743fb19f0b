// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// A message goes to the neighbour nearest to its key and is acknowledged to
// whom it came from; the reply goes the other way, and proves the delivery.
func TestForward(t *testing.T) {
	g := newRig(t, 4)
	tail, trace := g.message(Ring, true, 1)
	e := g.in(3, g.encode(tail, 7))
	if len(e) != 1 || e[0] != (Passed{From: g.peers[3].id, To: g.peers[0].id, Trace: trace}) {
		t.Errorf("events %v", e)
	}
	m := g.route(0)
	if m.hops != 2 || !bytes.Equal(m.tail, tail) || m.seen.n != 4 || m.seen.f[0] != 7 || !m.seen.has(fingerprint(&trace, &g.peers[0].id)) || !m.seen.has(fingerprint(&trace, &g.m.c.id)) {
		t.Errorf("passed on %+v", m)
	}
	g.want(3, ackOf(trace))
	g.pass(50 * time.Millisecond)
	if e := g.in(0, ackOf(trace)); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	if s := g.m.c.table.find(g.peers[0].id).score.ackTime; s != 0.05 {
		t.Errorf("ACK after %v", s)
	}
	g.in(0, g.reply(trace, 1, g.secret, "ringing"))
	want := replyMsg{trace: trace, number: 1, hops: 2, secret: g.secret, body: []byte("ringing")}
	g.want(3, want.append(nil))
	g.in(0, g.reply(trace, 2, nil, "answer")) // the secret goes along once
	want = replyMsg{trace: trace, number: 2, hops: 2, body: []byte("answer")}
	g.want(3, want.append(nil))
	g.quiet()
	if s := g.m.Status().Routing; s.Forwarded != 1 || s.Replies != 2 {
		t.Errorf("%+v", s)
	}
	if v := g.m.c.table.find(g.peers[0].id).score.locked; v.good != startWorth || v.all != startWorth {
		t.Errorf("score %+v", v)
	}
}

// Other kinds don't make Passed events: nothing comes after them.
func TestPassedForRingsOnly(t *testing.T) {
	g := newRig(t, 2)
	tail, trace := g.message(Fetch, true, 1)
	if e := append(g.in(1, g.encode(tail)), g.in(0, ackOf(trace))...); len(e) != 0 {
		t.Errorf("events %v", e)
	}
}

// A neighbour that was thought silent and has the message after all is where
// the ring went, too.
func TestPassedLate(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	to := func(i int) Passed { return Passed{From: g.peers[2].id, To: g.peers[i].id, Trace: trace} }
	e := append(g.in(2, g.encode(tail)), g.pass(180*time.Millisecond)...)
	e = append(e, g.in(0, ackOf(trace))...)
	if !slices.Equal(e, []Event{to(0), to(1), to(0)}) {
		t.Errorf("events %v", e)
	}
}

// Without an ACK in 1.5 round trips and 30 ms the next best has its turn, and
// the silent one is among the visited.
func TestDetour(t *testing.T) {
	g := newRig(t, 9)
	tail, trace := g.message(Ring, true, 1)
	g.in(8, g.encode(tail))
	g.want(8, ackOf(trace))
	for i := range 7 {
		if m := g.route(i); int(m.seen.n) != 3+i {
			t.Errorf("try %d: visited %d", i, m.seen.n)
		}
		g.pass(179 * time.Millisecond)
		g.quiet()
		g.pass(time.Millisecond)
	}
	// Six detours are enough: number 7 is not asked, and 8 hears of it.
	var hints []uint16
	for i := range 7 {
		hints = append(hints, fingerprint(&trace, &g.peers[i].id))
	}
	g.want(8, refusal(trace, refuseStuck, hints...))
	g.quiet()
	if s := g.m.Status().Routing; s.Detours != 7 || s.Stuck != 1 {
		t.Errorf("%+v", s)
	}
	// An ACK that comes late is no reason to forget the reply's way.
	g.in(3, ackOf(trace))
	g.in(3, g.reply(trace, 1, g.secret, "here"))
	if r, _ := readReply(g.got(8)); string(r.body) != "here" {
		t.Errorf("reply %+v", r)
	}
}

// A broken link is a detour at once.
func TestLinkDown(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	g.in(2, g.encode(tail))
	g.route(0)
	g.want(2, ackOf(trace))
	g.m.LinkDown(g.now, g.peers[0].id)
	g.drain()
	g.route(1)
	g.quiet()
}

// Who refuses tells which nodes it tried, and they are left out.
func TestRefused(t *testing.T) {
	g := newRig(t, 5)
	tail, trace := g.message(Ring, true, 1)
	g.in(4, g.encode(tail))
	g.want(4, ackOf(trace))
	g.route(0)
	g.in(0, ackOf(trace))
	g.in(0, refusal(trace, refuseStuck, fingerprint(&trace, &g.peers[1].id)))
	g.route(2) // not 1
	g.in(2, refusal(trace, refuseSeen))
	g.route(3)
	g.in(0, refusal(trace, refuseSeen)) // twice: nothing
	g.in(1, refusal(trace, refuseSeen)) // never asked
	g.quiet()
	g.in(3, refusal(trace, refuseBusy))
	if _, why, _, err := readRefuse(g.got(4)); err != nil || why != refuseStuck {
		t.Errorf("reason %d, %v", why, err)
	}
	g.quiet()
}

// A copy of what was seen is refused, from whomever; what was found stuck, or
// lost for a while, is taken again and goes another way.
func TestCopies(t *testing.T) {
	g := newRig(t, 6)
	tail, trace := g.message(Ring, true, 1)
	g.in(5, g.encode(tail))
	g.want(5, ackOf(trace))
	g.route(0)
	g.in(0, ackOf(trace))
	for _, i := range []int{4, 5} {
		g.in(i, g.encode(tail))
		g.want(i, refusal(trace, refuseSeen))
	}
	g.pass(anotherAfter)
	g.in(4, g.encode(tail))
	g.want(4, ackOf(trace))
	g.route(1)
	g.in(1, ackOf(trace))
	g.pass(anotherAfter)
	g.in(3, g.encode(tail))
	g.want(3, ackOf(trace))
	g.route(2)
	g.in(2, ackOf(trace))
	g.pass(anotherAfter)
	g.in(3, g.encode(tail)) // three are enough
	g.want(3, refusal(trace, refuseSeen))
	// All of them are one target's, so its reply goes to all who brought one:
	// somebody on one way may drop it.
	g.in(1, g.reply(trace, 1, g.secret, "x"))
	for i := 3; i <= 5; i++ {
		if r, err := readReply(g.got(i)); err != nil || r.number != 1 || !bytes.Equal(r.secret, g.secret) {
			t.Errorf("to %d: %+v", i, r)
		}
	}
	g.in(2, g.reply(trace, 1, g.secret, "x")) // again, on another way
	g.quiet()
}

// A liar that bars all ways by a forged visited set doesn't block the message.
func TestForgedVisited(t *testing.T) {
	g := newRig(t, 4)
	tail, trace := g.message(Ring, true, 1)
	var bars []uint16
	for i := range 32 {
		bars = append(bars, uint16(i)) // no budget left
	}
	g.in(3, g.encode(tail, bars...))
	if _, why, _, _ := readRefuse(g.got(3)); why != refuseStuck {
		t.Errorf("reason %d", why)
	}
	g.quiet()
	g.in(2, g.encode(tail))
	g.want(2, ackOf(trace))
	g.route(0)
	g.quiet()
}

// The hop count ends a way, too: nobody passes on what its neighbour would
// take for malformed.
func TestHopsEnd(t *testing.T) {
	g := newRig(t, 3)
	tail, trace := g.message(Ring, true, 1)
	var v visited
	g.in(2, appendRoute(nil, 0, maxHops, &v, tail))
	g.want(2, refusal(trace, refuseStuck))
	g.quiet()
	if err := g.m.Receive(g.now, g.peers[2].id, appendRoute(nil, 0, maxHops+1, &v, tail)); err == nil {
		t.Error("more hops than there can be")
	}
}

// The target takes delivery once; later copies have arrived as well, and whoever
// brought them learns it.
func TestDeliver(t *testing.T) {
	g := newRig(t, 4)
	g.key = g.m.c.id
	tail, trace := g.message(Ring, true, 1)
	e := g.in(3, g.encode(tail))
	if len(e) != 1 {
		t.Fatalf("events %v", e)
	}
	d := e[0].(Delivered)
	if d.Kind != Ring || d.To != g.m.c.id || string(d.Body) != "body" || d.Hops != 1 || d.From != g.peers[3].id || d.Trace != trace {
		t.Errorf("%+v", d)
	}
	g.want(3, ackOf(trace))
	if e := g.in(2, g.encode(tail)); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	g.want(2, ackOf(trace))
	g.m.Reply(g.now, d.Route, []byte("wrong"), nil)
	g.drain()
	g.quiet()
	g.m.Reply(g.now, d.Route, g.secret, []byte("r"))
	g.drain()
	g.want(3, g.reply(trace, 1, g.secret, "r"))
	g.want(2, g.reply(trace, 1, g.secret, "r")) // a second way, should the first be broken
	g.in(1, g.encode(tail))
	p := g.peers[1]
	if len(p.got) != 2 || !bytes.Equal(p.got[0], ackOf(trace)) || !bytes.Equal(p.got[1], g.reply(trace, 1, g.secret, "r")) {
		t.Errorf("third copy: % x", p.got)
	}
	p.got = nil
	g.m.LinkDown(g.now, g.peers[3].id)
	g.drain()
	g.m.Reply(g.now, d.Route, nil, []byte("s"))
	g.drain()
	g.want(2, g.reply(trace, 2, nil, "s"))
	g.want(1, g.reply(trace, 2, nil, "s"))
	g.quiet()
	// The memory lasts as long as there are replies, and not longer.
	for range 8 {
		g.pass(life - time.Second)
		g.m.Reply(g.now, d.Route, nil, []byte("t"))
		g.drain()
	}
	if len(g.peers[2].got) != 8 {
		t.Errorf("%d replies", len(g.peers[2].got))
	}
	g.pass(life + time.Second)
	g.m.Reply(g.now, d.Route, nil, []byte("late"))
	g.drain()
	if s := g.m.Status().Routing; s.Stray != 1 || s.False != 1 || s.Delivered != 1 || len(g.peers[2].got) != 8 {
		t.Errorf("%+v", s)
	}
	if len(g.m.trails) != 0 || len(g.m.routes) != 0 || g.m.held != 0 {
		t.Error("not forgotten")
	}
}

// A message that is not exact ends where nobody is nearer, also when those who
// are have been visited or refuse.
// Copies to the nearest nodes part where one has ended, and who has one is not
// asked again; each has replies of its own.
// The first copy goes on to the very nearest; the others end among the nearest
// few, past a black hole in the very middle.
// In a network without faults nobody nearer means nobody there, and no copy
// wanders about; where something broke it does.
// Who is the last to be asked counts as well.
// A sleeping node takes what is for itself and passes nothing on; nobody passes
// anything through one, and it keeps nothing for others.
// Of those who give a copy back six are enough, too.
func TestReturned(t *testing.T) {
	g := newRig(t, 10)
	tail, trace := g.message(Ring, true, 1)
	g.in(9, g.encode(tail))
	g.want(9, ackOf(trace))
	for i := range maxStuck + 1 {
		g.route(i)
		g.in(i, refusal(trace, refuseStuck))
	}
	if _, why, _, err := readRefuse(g.got(9)); err != nil || why != refuseStuck {
		t.Errorf("said %d", why)
	}
	g.quiet()
}

// Where a copy has ended, others go to the eight nearest and no farther.
// The mesh says for who takes delivery without a word that a message without a
// lock has arrived, so that silence is only ever a loss.
