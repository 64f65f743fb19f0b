// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math/rand/v2"
	"testing"
	"time"
)

// told gives the machine CARDS in answer to its last question to a neighbour.
func (b *bench) told(from Card, list ...Card) {
	b.t.Helper()
	asked := b.sent(from.ID(), typeFind)
	if len(asked) == 0 {
		b.t.Fatal("was not asked")
	}
	var entries []byte
	for _, c := range list {
		entries = append(entries, entry(c, false, 20*time.Millisecond)...)
	}
	if err := b.receive(from, message{request: asked[len(asked)-1].request, cards: entries}, typeCards); err != nil {
		b.t.Fatal(err)
	}
}

// The way of a link that we want, step by step.
func TestWanted(t *testing.T) {
	b := newBench(t, Config{})
	via, node := testCard(1, Open), testCard(2, Easy)
	b.up(Link{Card: via, Ours: true})
	b.told(via, node, b.m.c.self, via)
	w := eventsOf[Wanted](b)
	if len(w) != 1 || w[0].Node != node || w[0].Via != via.ID() || w[0].Relay {
		t.Fatalf("wanted %+v", w)
	}
	b.m.Introduce(b.now, w[0].Request, []byte("offer"))
	b.drain()
	q := b.sent(via.ID(), typeIntroduce)
	if len(q) != 1 || q[0].id != node.ID() || string(q[0].sealed) != "offer" || q[0].flags != flagNear {
		t.Fatalf("asked %+v", q)
	}
	yes := message{request: q[0].request, sealed: []byte("answer"), seen: address(9, 9)}
	for _, from := range []Card{node, testCard(3, Easy)} { // only the introducer may answer
		b.m.LinkUp(b.now, Link{Card: testCard(3, Easy)})
		if b.receive(from, yes, typeReply); len(eventsOf[Agreed](b)) > 0 {
			t.Fatal("answer of a stranger")
		}
	}
	b.receive(via, yes, typeReply)
	a := eventsOf[Agreed](b)
	if len(a) != 1 || a[0].Node != node.ID() || a[0].Via != via.ID() || a[0].Seen != address(9, 9) || string(a[0].Sealed) != "answer" {
		t.Fatalf("agreed %+v", a)
	}
	if b.receive(via, yes, typeReply); len(eventsOf[Agreed](b)) > 0 {
		t.Error("the same answer twice")
	}
	b.up(Link{Card: node, Via: via.ID(), Ours: true})
	if s := b.m.Status(); s.Suitor.Linked != 1 || len(b.m.fill.tries) > 0 {
		t.Errorf("%+v", s.Suitor)
	}
}

// A node that starts among many makes four links and then waits.
func TestWantedAmongMany(t *testing.T) {
	b := newBench(t, Config{})
	via := testCard(1, Open)
	b.up(Link{Card: via, Ours: true})
	var entries []byte
	for i := range 10 {
		entries = append(entries, entry(testCard(uint64(10+i), Easy), false, 20*time.Millisecond)...)
	}
	q := b.sent(via.ID(), typeFind)
	b.receive(via, message{request: q[0].request, cards: entries, load: 255}, typeCards)
	made := 1
	for w := eventsOf[Wanted](b); len(w) > 0; w = eventsOf[Wanted](b) {
		for _, x := range w {
			b.up(Link{Card: x.Node, Ours: true, Via: via.ID()})
			made++
		}
	}
	if made != usable || b.m.fill.quiet <= b.m.c.since(b.now) {
		t.Errorf("%d links, waits until %v", made, b.m.fill.quiet)
	}
	b.pass(b.m.fill.quiet - b.m.c.since(b.now))
	if len(eventsOf[Wanted](b)) == 0 {
		t.Error("does not go on after the wait")
	}
}

func TestQueue(t *testing.T) {
	var q queue[int]
	for i := range 30 {
		q.push(i, 20)
	}
	for i := range 20 {
		if v, ok := q.pop(); !ok || v != i {
			t.Fatal(i, v, ok)
		}
	}
	if _, ok := q.pop(); ok || q.dropped != 10 || q.list != nil {
		t.Errorf("%+v", q)
	}
}

// What comes of a try that comes to nothing: the pair is remembered, a sibling
// is then asked for through a relay.
func TestWantedInVain(t *testing.T) {
	start := func(class Class) (*bench, Card, Card, Wanted) {
		b := newBench(t, Config{Self: testCard(0, class)})
		via, node := testCard(1, Open), testCard(2, Hard)
		b.up(Link{Card: via, Ours: true})
		b.told(via, node)
		w := eventsOf[Wanted](b)
		if len(w) != 1 {
			t.Fatalf("wanted %+v", w)
		}
		return b, via, node, w[0]
	}
	b, via, node, w := start(Easy)
	b.m.Decline(b.now, w.Request)
	b.drain()
	if !b.m.c.failed.has(b.m.c.since(b.now), refusedKey(node.ID(), via.ID())) {
		t.Error("declined by the driver, and not remembered")
	}

	b, via, node, w = start(Easy)
	b.m.Introduce(b.now, w.Request, make([]byte, maxSealed+1))
	if b.drain(); len(b.sent(via.ID(), typeIntroduce)) > 0 {
		t.Error("oversized offer sent")
	}
	b.pass(sealTime)
	if r := eventsOf[Refused](b); len(r) != 1 || r[0] != (Refused{w.Request, node.ID()}) {
		t.Errorf("driver silent: %+v", r)
	}

	for _, answer := range []uint8{answerAbsent, answerDeclined, answerBusy, answerCrossing, 99} {
		b, via, node, w = start(Easy)
		b.m.Introduce(b.now, w.Request, nil)
		b.receive(via, message{request: w.Request, answer: answer}, typeReply)
		if r := eventsOf[Refused](b); len(r) != 1 || r[0] != (Refused{w.Request, node.ID()}) {
			t.Errorf("answer %d: %+v", answer, r)
		}
		at := b.m.c.since(b.now)
		if busy := b.m.c.table.find(via.ID()).busy > at; busy != (answer == answerBusy) {
			t.Errorf("answer %d: busy %v", answer, busy)
		}
		if had := b.m.c.failed.has(at, refusedKey(node.ID(), via.ID())); had != (answer != answerCrossing) {
			t.Errorf("answer %d: remembered %v", answer, had)
		}
	}

	b, via, node, w = start(Easy)
	b.m.Introduce(b.now, w.Request, nil)
	b.receive(via, message{request: w.Request}, typeReply)
	b.m.Failed(b.now, node.ID())
	b.drain()
	if !b.m.c.failed.has(b.m.c.since(b.now), failedKey(node.ID())) {
		t.Error("failed punch not remembered")
	}
	again := eventsOf[Wanted](b)
	if len(again) != 1 || !again[0].Relay || again[0].Via != via.ID() {
		t.Fatalf("after a failed punch to a sibling: %+v", again)
	}
	b.m.Introduce(b.now, again[0].Request, nil)
	b.drain()
	if q := b.sent(via.ID(), typeIntroduce); q[len(q)-1].flags != flagNear|flagRelay {
		t.Errorf("%+v", q)
	}
	b.m.SetSelf(b.now, Open, false) // a port was mapped
	if b.m.c.failed.has(b.m.c.since(b.now), failedKey(node.ID())) {
		t.Error("failures of another class remembered")
	}

	// Two hard ones are not punched at all.
	if _, _, _, w = start(Hard); !w.Relay {
		t.Errorf("%+v", w)
	}

	// An introducer that goes takes its introductions with it, punches stay.
	b, via, node, w = start(Easy)
	b.m.Introduce(b.now, w.Request, nil)
	b.m.LinkDown(b.now, via.ID())
	b.drain()
	if r := eventsOf[Refused](b); len(r) != 1 {
		t.Errorf("introducer gone: %+v", r)
	}
	b, via, node, w = start(Easy)
	b.m.Introduce(b.now, w.Request, nil)
	b.receive(via, message{request: w.Request}, typeReply)
	b.m.LinkDown(b.now, via.ID())
	b.drain()
	if r := eventsOf[Refused](b); len(r) != 0 {
		t.Errorf("introducer gone while punching: %+v", r)
	}
	if b.pass(punchTime); len(eventsOf[Refused](b)) != 1 || !b.m.c.failed.has(b.m.c.since(b.now), failedKey(node.ID())) {
		t.Error("punch without an end")
	}
}

// A node of a prefix that fills a bucket is not punched, whoever agreed; but in
// a small network all may have one prefix.
func TestWantedDiverse(t *testing.T) {
	for _, others := range []int{0, siblings - perPrefixInBucket - 2, siblings - perPrefixInBucket - 1, siblings} {
		b := newBench(t, Config{})
		k := &cards{self: b.m.ID()}
		via, node := testCard(1, Open), k.in(3)
		b.up(Link{Card: via, Ours: true})
		for i := range perPrefixInBucket {
			b.up(Link{Card: k.in(3), Addr: address(700, i), Ours: true})
		}
		for i := range others {
			b.up(Link{Card: k.in(2 + 2*(i%2)), Addr: address(800+i, 1), Ours: true})
		}
		b.told(via, node)
		w := eventsOf[Wanted](b)[0]
		b.m.Introduce(b.now, w.Request, nil)
		b.receive(via, message{request: w.Request, seen: address(700, 9)}, typeReply)
		small := 1+perPrefixInBucket+others < siblings
		if got := len(eventsOf[Agreed](b)) == 1; got != small || len(eventsOf[Refused](b)) == 1 == small {
			t.Errorf("%d others: a third of a /24 in a bucket: agreed %v", others, got)
		}
	}
}

// The target's side.
func TestAsked(t *testing.T) {
	b, k := settled(t, Config{})
	via := b.m.Neighbours()[0].Card
	ask := func(from Card, r uint32, flags uint8) {
		b.receive(via, message{request: r, card: from, flags: flags, sealed: []byte("offer"), seen: address(500+int(r), 1)}, typeIntroduction)
	}
	node := k.in(0)
	ask(node, 100, 0)
	a := eventsOf[Asked](b)
	if len(a) != 1 || a[0].From != node || a[0].Via != via.ID() || a[0].Seen != address(600, 1) || string(a[0].Sealed) != "offer" || a[0].Relay {
		t.Fatalf("%+v", a)
	}
	if ask(node, 101, 0); b.sent(via.ID(), typeReply)[0].answer != answerBusy {
		t.Error("asked twice at a time")
	}
	b.m.Accept(b.now, a[0].Request, []byte("answer"))
	b.m.Accept(b.now, a[0].Request, []byte("answer"))
	b.drain()
	if r := b.sent(via.ID(), typeReply); len(r) != 1 || r[0].request != 100 || r[0].answer != answerAgreed || string(r[0].sealed) != "answer" {
		t.Fatalf("%+v", r)
	}
	b.m.LinkUp(b.now, Link{Card: node, Via: via.ID(), Addr: address(600, 1)})
	b.drain()
	declined := func(what string, from Card, flags uint8) {
		t.Helper()
		if ask(from, 200, flags); len(eventsOf[Asked](b)) > 0 {
			t.Error(what + ": asked")
		} else if r := b.sent(via.ID(), typeReply); len(r) != 1 || r[0].answer != answerDeclined || r[0].request != 200 || len(r[0].sealed) > 0 {
			t.Errorf("%s: %+v", what, r)
		}
	}
	declined("a neighbour", node, 0)
	declined("myself", b.m.c.self, 0)
	b.m.SetSelf(b.now, Hard, false)
	hard := k.in(1)
	hard.Class = Hard
	declined("two hard ones", hard, 0)
	b.m.SetSelf(b.now, Easy, false)
	shy := k.in(1)
	b.m.c.failed.add(b.m.c.since(b.now), failedKey(shy.ID()), failedLife)
	declined("failed before", shy, 0)
	for b.m.c.roomFor(b.m.c.table.bucket(0), 0, false, false) {
		b.up(Link{Card: k.in(0)})
	}
	declined("bucket full", k.in(0), 0)
	declined("relayed, bucket full", k.in(0), flagRelay)
	if ask(k.in(0), 300, flagNear); len(eventsOf[Asked](b)) != 1 {
		t.Error("no guest on its way")
	}
	if ask(k.from(9), 301, 0); len(eventsOf[Asked](b)) != 1 {
		t.Error("a sibling is not welcome")
	}
	b.pass(sealTime)
	if ask(k.from(9), 302, 0); len(eventsOf[Asked](b)) != 1 {
		t.Error("not asked after others got no answer")
	}
	got := b.m.fill.asks[0].request
	b.m.Decline(b.now, got)
	b.drain()
	if r := b.sent(via.ID(), typeReply); r[len(r)-1].answer != answerDeclined {
		t.Errorf("%+v", r)
	}
}

// One introducer can't use up all that the driver opens at a time.
func TestAskedByOne(t *testing.T) {
	b, k := settled(t, Config{})
	for i, via := range []Card{b.m.Neighbours()[0].Card, b.m.Neighbours()[1].Card, b.m.Neighbours()[2].Card} {
		for r := range 2 * offersPerVia {
			b.receive(via, message{request: uint32(r), card: k.from(9), flags: flagNear, sealed: []byte("offer")}, typeIntroduction)
		}
		want := min(offersPerVia, maxOffers-i*offersPerVia)
		if n := len(eventsOf[Asked](b)); n != want {
			t.Errorf("introducer %d: asked %d times, want %d", i, n, want)
		}
	}
}

// When two ask for each other at a time, the question of the greater ID counts.
func TestCrossing(t *testing.T) {
	for n := uint64(2); n < 20; n++ {
		b := newBench(t, Config{})
		via, node := testCard(1, Open), testCard(n, Easy)
		b.up(Link{Card: via, Ours: true})
		b.told(via, node)
		w := eventsOf[Wanted](b)[0]
		b.m.Introduce(b.now, w.Request, nil)
		b.drain()
		b.receive(via, message{request: 77, card: node, flags: flagNear}, typeIntroduction)
		r := b.sent(via.ID(), typeReply)
		if b.m.ID().Less(node.ID()) {
			if len(r) != 1 || r[0].answer != answerCrossing || len(eventsOf[Asked](b)) > 0 {
				t.Errorf("ours stays: %+v", r)
			}
		} else if len(eventsOf[Asked](b)) != 1 {
			t.Errorf("theirs stays: %+v", r)
		}
	}
}

// A hostile introducer fills neither the driver nor the table.
func TestHostileIntroducer(t *testing.T) {
	b, _ := settled(t, Config{})
	rng := rand.New(rand.NewPCG(7, 8))
	evil := b.m.Neighbours()[0].Card
	asked, linked := 0, 0
	for i := range 3000 {
		c := testCard(uint64(10_000+i), Open)
		b.receive(evil, message{request: uint32(i), card: c, flags: uint8(rng.IntN(8)), seen: address(i, 1)}, typeIntroduction)
		for _, a := range eventsOf[Asked](b) {
			asked++
			if rng.IntN(2) == 0 {
				continue // no answer of the driver
			}
			b.m.Accept(b.now, a.Request, nil)
			if b.up(Link{Card: a.From, Via: evil.ID(), Addr: a.Seen}) {
				linked++
			}
		}
		for _, s := range eventsOf[Surplus](b) {
			b.m.LinkDown(b.now, s.Node)
		}
		b.pass(20 * time.Millisecond)
		if len(b.m.fill.asks) > offersPerVia {
			t.Fatal(len(b.m.fill.asks))
		}
	}
	via := 0
	for _, n := range b.m.Neighbours() {
		if n.Via == evil.ID() && !n.Spare {
			via++
		}
	}
	if most := int(workRate().burst + 60*workRate().perSecond); asked > most {
		t.Errorf("driver asked %d times in a minute, limit %d", asked, most)
	}
	if via > viaFree {
		t.Errorf("%d links through one introducer", via)
	}
	if linked == 0 {
		t.Error("nothing was tried")
	}
}

func TestTokens(t *testing.T) {
	r := rate{2, 3}
	var b tokens
	for i := range 4 {
		if got := b.take(time.Second, r); got != (i < 3) {
			t.Errorf("take %d: %v", i, got)
		}
	}
	at := b.wait(time.Second, r)
	if at < time.Second+400*time.Millisecond || at > time.Second+600*time.Millisecond || b.take(at-10*time.Millisecond, r) || !b.take(at, r) {
		t.Errorf("next at %v", at)
	}
	if !b.take(time.Hour, r) || !b.take(time.Hour, r) || !b.take(time.Hour, r) || b.take(time.Hour, r) {
		t.Error("an hour fills more or less than the bucket")
	}
}

func TestMemory(t *testing.T) {
	var m memory
	for i := range maxFailed + 10 {
		m.add(0, uint64(i), time.Duration(i+1)*time.Second)
	}
	if len(m.list) != maxFailed || m.has(0, 9) || !m.has(0, 10) {
		t.Errorf("%d remembered", len(m.list))
	}
	if m.has(time.Minute, 59) || !m.has(time.Minute, 60) {
		t.Error("life")
	}
	m.forget(100)
	if m.add(time.Hour, 1, time.Second); m.has(0, 100) || len(m.list) != 1 {
		t.Errorf("%d remembered after an hour", len(m.list))
	}
}
