// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"slices"
	"testing"
	"time"
)

func (g *rig) send(q Request) (uint32, []Event) {
	g.tb.Helper()
	if q.Body == nil {
		q.Body = []byte("body")
	}
	n := g.m.Send(g.now, q)
	return n, g.drain()
}

// copies returns which neighbours were sent a ROUTE since the last call.
func (g *rig) copies() (list []int, trace Trace) {
	for i, p := range g.peers {
		for _, b := range p.got {
			if m, err := readRoute(b); err == nil {
				list = append(list, i)
				trace = traceOf(m.tail)
			}
		}
		p.got = nil
	}
	return list, trace
}

func (g *rig) ring() Request { return Request{To: g.key, Exact: true, Kind: Ring, Lock: g.lock} }

// Three copies set out, five more after 400 ms, eight more after 1.2 s.
func TestSend(t *testing.T) {
	g := newRig(t, 16)
	n, e := g.send(g.ring())
	if len(e) != 0 {
		t.Errorf("events %v", e)
	}
	list, trace := g.copies()
	if !slices.Equal(list, []int{0, 1, 2}) {
		t.Errorf("first to %v", list)
	}
	if tr, first := g.m.Ways(n); tr != trace || !slices.Equal(first, []ID{g.peers[0].id, g.peers[1].id, g.peers[2].id}) {
		t.Errorf("ways %x %v", tr, first)
	}
	if _, first := g.m.Ways(n + 1); first != nil {
		t.Errorf("ways %v of nothing", first)
	}
	for _, i := range list {
		g.in(i, ackOf(trace))
	}
	g.pass(moreAfter - time.Millisecond)
	g.quiet()
	g.pass(time.Millisecond)
	list, _ = g.copies()
	if len(list) != 5 || slices.Min(list) < 3 {
		t.Errorf("then to %v", list)
	}
	for _, i := range list {
		g.in(i, ackOf(trace))
	}
	g.pass(lastAfter - moreAfter)
	if list, _ = g.copies(); len(list) != 8 {
		t.Errorf("at last to %v", list)
	}
	e = g.in(5, g.reply(trace, 1, g.secret, "ringing"))
	if len(e) != 1 {
		t.Fatalf("events %v", e)
	}
	a := e[0].(Answered)
	if a.Request != n || string(a.Body) != "ringing" || a.Hops != 1 || a.First != g.peers[5].id || a.After != lastAfter || !a.Proved || a.Trace != trace {
		t.Errorf("%+v", a)
	}
	if e := g.pass(time.Minute); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	if len(g.m.trails) != 0 || g.m.own != 0 {
		t.Error("not forgotten")
	}
}

// A message that has arrived sends no more copies.
func TestSendStops(t *testing.T) {
	g := newRig(t, 9)
	g.send(g.ring())
	_, trace := g.copies()
	g.in(0, ackOf(trace))
	g.in(0, g.reply(trace, 0, g.secret, "")) // the reply itself goes another way
	g.pass(time.Minute)
	if list, _ := g.copies(); len(list) != 0 { // not even for the two that stayed silent
		t.Errorf("more copies to %v", list)
	}
	if s := g.m.Status().Routing; s.Sent != 1 || s.Undelivered != 1 {
		t.Errorf("%+v", s)
	}
}

// After a mass failure was noticed, eight set out at once.
func TestSendAfterMassFailure(t *testing.T) {
	g := newRig(t, 12)
	g.m.c.alarm = g.now.Add(time.Second)
	g.send(g.ring())
	if list, _ := g.copies(); len(list) != 8 {
		t.Errorf("to %v", list)
	}
}

// To a neighbour one copy is enough, while it answers.
func TestSendToNeighbour(t *testing.T) {
	g := newRig(t, 9)
	g.key = g.peers[4].id
	g.send(g.ring())
	if list, _ := g.copies(); !slices.Equal(list, []int{4}) {
		t.Errorf("to %v", list)
	}
	g.pass(180 * time.Millisecond)
	if list, _ := g.copies(); len(list) != 3 || slices.Contains(list, 4) {
		t.Errorf("then to %v", list)
	}
}

// What nobody takes is known to be lost at once, not after ten seconds.
func TestUndelivered(t *testing.T) {
	g := newRig(t, 20)
	n, _ := g.send(g.ring())
	var e []Event
	asked := 0
	for len(e) == 0 {
		list, trace := g.copies()
		if len(list) == 0 {
			t.Fatal("nothing more to refuse")
		}
		for _, i := range list {
			asked++
			g.in(i, ackOf(trace))
			e = append(e, g.in(i, refusal(trace, refuseStuck))...)
		}
	}
	if len(e) != 1 || e[0] != (Undelivered{n}) || asked > ownTries {
		t.Errorf("%v after %d", e, asked)
	}

	g = newRig(t, 0)
	n, e = g.send(g.ring())
	if len(e) != 1 || e[0] != (Undelivered{n}) {
		t.Errorf("without links: %v", e)
	}

	g = newRig(t, 3)
	q := g.ring()
	q.Body = make([]byte, MaxBody+1)
	n, e = g.send(q)
	if len(e) != 1 || e[0] != (Undelivered{n}) {
		t.Errorf("too long: %v", e)
	}
	q.Body = q.Body[:MaxBody]
	if _, e = g.send(q); len(e) != 0 {
		t.Errorf("as long as may be: %v", e)
	}
	if b := g.peers[0].got[0]; len(b) > 4096 {
		t.Errorf("a message of %d bytes", len(b))
	}

	g = newRig(t, 3)
	n, _ = g.send(g.ring())
	if e := g.pass(life - time.Second); len(e) != 0 {
		t.Errorf("too early: %v", e)
	}
	if e := g.pass(time.Second); len(e) != 1 || e[0] != (Undelivered{n}) {
		t.Errorf("in silence: %v", e)
	}
}

// Own messages are bounded, and the bound frees itself.
func TestMaxOwn(t *testing.T) {
	g := newRig(t, 3)
	for i := range maxOwn {
		if _, e := g.send(g.ring()); len(e) != 0 {
			t.Fatalf("%d: %v", i, e)
		}
		list, trace := g.copies()
		for _, x := range list {
			g.in(x, ackOf(trace))
		}
	}
	if _, e := g.send(g.ring()); len(e) != 1 {
		t.Errorf("events %v", e)
	}
	g.pass(life)
	if _, e := g.send(g.ring()); len(e) != 0 {
		t.Errorf("events %v", e)
	}
}

// A neighbour that has many messages of ours unacknowledged gets no more.
func TestMaxWaiting(t *testing.T) {
	g := newRig(t, 2)
	for range maxWaiting + 5 {
		g.send(g.ring())
	}
	if n := len(g.peers[0].got); n != maxWaiting {
		t.Errorf("%d", n)
	}
	list, trace := g.copies()
	if len(list) == 0 {
		t.Fatal()
	}
	g.in(0, ackOf(trace))
	g.in(0, ackOf(trace)) // twice frees one place
	if w := g.m.c.table.find(g.peers[0].id).score.waiting; w != maxWaiting-1 {
		t.Errorf("%d waiting", w)
	}
}

// To itself, and to a key that it is nearest to, a node delivers without a hop.
func TestSendToSelf(t *testing.T) {
	for _, exact := range []bool{true, false} {
		g := newRig(t, 4)
		g.key = g.m.c.id
		q := g.ring()
		if q.Exact = exact; !exact {
			q.Kind = Store
		}
		n, e := g.send(q)
		if len(e) != 1 {
			t.Fatalf("events %v", e)
		}
		d := e[0].(Delivered)
		if d.From != g.m.c.id || d.Hops != 0 || string(d.Body) != "body" {
			t.Errorf("%+v", d)
		}
		list, trace := g.copies()
		if want := map[bool]int{true: 0, false: 2}[exact]; len(list) != want { // two copies go to the next nearest
			t.Errorf("exact %v: copies to %v", exact, list)
		}
		for len(list) > 0 { // that others take none doesn't matter
			for _, i := range list {
				if e := g.in(i, refusal(trace, refuseBusy)); len(e) > 0 {
					t.Errorf("events %v", e)
				}
			}
			list, _ = g.copies()
		}
		g.m.Reply(g.now, d.Route, g.secret, []byte("r"))
		e = g.drain()
		if len(e) != 1 {
			t.Fatalf("events %v", e)
		}
		if a := e[0].(Answered); a.Request != n || a.First != g.m.c.id || a.Hops != 0 || !a.Proved {
			t.Errorf("%+v", a)
		}
	}
}

// A Find is answered by the router: the cards of who is near.
func TestFind(t *testing.T) {
	g := newRig(t, 20)
	g.m.c.table.find(g.peers[1].id).card.Leaf = true
	var h head
	h.kind, h.key = Find, g.m.c.id
	tail := h.append(nil)
	trace := traceOf(tail)
	if e := g.in(0, g.encode(tail)); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	p := g.peers[0]
	if len(p.got) != 2 {
		t.Fatalf("% x", p.got)
	}
	r, err := readReply(p.got[1])
	if err != nil || r.trace != trace {
		t.Fatal(err)
	}
	cards, err := Found(r.body)
	if err != nil || len(cards) != maxFound || cards[0] != g.m.c.self {
		t.Fatalf("%d cards, %v", len(cards), err)
	}
	for i := 2; i < len(cards); i++ {
		a, b := cards[i-1].ID(), cards[i].ID()
		if nearer(&g.m.c.id, &b, &a) || cards[i] == g.peers[1].card {
			t.Errorf("card %d", i)
		}
	}
	for _, b := range [][]byte{nil, {17}, {1}, append([]byte{0}, 1), r.body[:len(r.body)-1]} {
		if _, err := Found(b); err == nil {
			t.Errorf("took % x", b)
		}
	}
	if cards, err := Found([]byte{0}); err != nil || len(cards) != 0 {
		t.Error(err)
	}
	// Who looks for its own place asks others, not itself.
	p.got = nil
	_, e := g.send(Request{To: g.m.c.id, Kind: Find})
	if list, _ := g.copies(); len(e) != 0 || len(list) != 3 {
		t.Errorf("%v, copies to %v", e, list)
	}
	// Unless it insists.
	if _, e := g.send(Request{To: g.m.c.id, Kind: Find, Exact: true}); len(e) != 1 {
		t.Errorf("%v", e)
	}
}

// Wait says how long answers count; as many as come are told.
func TestWait(t *testing.T) {
	g := newRig(t, 3)
	q := g.ring()
	q.Wait = time.Minute
	n, _ := g.send(q)
	_, trace := g.copies()
	g.in(0, ackOf(trace))
	e := g.in(0, g.reply(trace, 1, g.secret, "ringing"))
	e = append(e, g.pass(50*time.Second)...)
	e = append(e, g.in(0, g.reply(trace, 2, nil, "answer"))...)
	if len(e) != 2 || string(e[1].(Answered).Body) != "answer" || e[1].(Answered).Request != n {
		t.Errorf("%v", e)
	}
	g.pass(11 * time.Second)
	if e := g.in(0, g.reply(trace, 3, nil, "late")); len(e) != 0 {
		t.Errorf("%v", e)
	}
}

// Copies to the nearest nodes are answered each for itself, and each that isn't
// is replaced after 400 ms.
func TestSendToNearest(t *testing.T) {
	g := newRig(t, 9)
	g.send(Request{To: g.key, Kind: Store, Copies: 4})
	list, trace := g.copies()
	if len(list) != 4 {
		t.Fatalf("copies to %v", list)
	}
	for k, i := range list {
		g.in(i, ackOf(trace))
		if k == 3 {
			continue
		}
		if e := g.in(i, g.reply(trace, 1, nil, "kept")); len(e) != 1 || e[0].(Answered).First != g.peers[i].id || e[0].(Answered).Proved {
			t.Errorf("events %v", e)
		}
	}
	g.pass(moreAfter)
	if list, _ := g.copies(); len(list) != 1 {
		t.Errorf("replaced by %v", list)
	}
}

// What is for a neighbour alone goes over the link with it, or nowhere.
func TestSendNext(t *testing.T) {
	g := newRig(t, 9)
	g.key = g.peers[4].id
	q := g.ring()
	q.Next = true
	n, _ := g.send(q)
	list, trace := g.copies()
	if !slices.Equal(list, []int{4}) {
		t.Fatalf("to %v", list)
	}
	g.pass(2 * time.Second) // silence
	if list, _ := g.copies(); len(list) > 0 {
		t.Errorf("then to %v", list)
	}
	if e := g.in(4, ackOf(trace)); len(e) != 0 {
		t.Errorf("events %v", e)
	}
	if e := g.in(4, g.reply(trace, 1, g.secret, "kept")); len(e) != 1 || e[0].(Answered).Request != n {
		t.Errorf("events %v", e)
	}

	q.Body = []byte("another")
	n, _ = g.send(q)
	_, trace = g.copies()
	if e := g.in(4, refusal(trace, refuseBusy)); len(e) != 1 || e[0] != (Undelivered{n}) {
		t.Errorf("refused: %v", e)
	}
	q.To = g.m.c.id
	q.To[0] ^= 1
	if n, e := g.send(q); len(e) != 1 || e[0] != (Undelivered{n}) {
		t.Errorf("without a link: %v", e)
	}
	if list, _ := g.copies(); len(list) > 0 {
		t.Errorf("to %v", list)
	}
}
