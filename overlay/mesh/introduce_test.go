// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math/rand/v2"
	"net/netip"
	"slices"
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

// A node of a prefix that fills the table is not punched, whoever agreed.
func TestWantedDiverse(t *testing.T) {
	b := newBench(t, Config{})
	k := &cards{self: b.m.ID()}
	via, node := testCard(1, Open), k.in(3)
	b.up(Link{Card: via, Ours: true})
	for i := range perPrefixInBucket {
		b.up(Link{Card: k.in(3), Addr: address(700, i), Ours: true})
	}
	b.told(via, node)
	w := eventsOf[Wanted](b)[0]
	b.m.Introduce(b.now, w.Request, nil)
	b.receive(via, message{request: w.Request, seen: address(700, 9)}, typeReply)
	if len(eventsOf[Agreed](b)) > 0 || len(eventsOf[Refused](b)) != 1 {
		t.Error("third of a /24 in a bucket")
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

// The introducer's side.
func TestIntroducer(t *testing.T) {
	b := newBench(t, Config{NoCaps: true})
	asker, target := testCard(1, Easy), testCard(2, Hard)
	b.up(Link{Card: asker, Addr: address(1, 1)})
	b.up(Link{Card: target, Addr: address(2, 2)})
	ask := func(r uint32, id ID, flags uint8) {
		b.receive(asker, message{request: r, id: id, flags: flags, sealed: []byte("offer")}, typeIntroduce)
	}
	for name, id := range map[string]ID{"stranger": testCard(9, Easy).ID(), "itself": asker.ID(), "introducer": b.m.ID()} {
		if ask(1, id, 0); len(b.out) == 0 || b.sent(asker.ID(), typeReply)[0].answer != answerAbsent {
			t.Error(name)
		}
	}
	ask(5, target.ID(), flagNear)
	in := b.sent(target.ID(), typeIntroduction)
	if len(in) != 1 || in[0].card != asker || in[0].flags != flagNear || string(in[0].sealed) != "offer" || in[0].seen != address(1, 1) {
		t.Fatalf("%+v", in)
	}
	no := message{request: in[0].request, sealed: []byte("x")}
	if b.receive(asker, no, typeReply); len(b.sent(asker.ID(), typeReply)) > 0 {
		t.Error("the asker answers itself")
	}
	b.receive(target, message{request: in[0].request, sealed: []byte("answer"), seen: address(66, 6)}, typeReply)
	r := b.sent(asker.ID(), typeReply)
	if len(r) != 1 || r[0].request != 5 || r[0].answer != answerAgreed || string(r[0].sealed) != "answer" || r[0].seen != address(2, 2) {
		t.Fatalf("%+v", r) // seen is what the introducer sees, not what the target says
	}
	if b.receive(target, no, typeReply); len(b.sent(asker.ID(), typeReply)) > 0 {
		t.Error("a second answer")
	}
	if c := eventsOf[Carry](b); len(c) > 0 {
		t.Errorf("%+v", c)
	}

	ask(6, target.ID(), flagRelay)
	in = b.sent(target.ID(), typeIntroduction)
	b.receive(target, message{request: in[0].request}, typeReply)
	if c := eventsOf[Carry](b); len(c) != 1 || c[0] != (Carry{asker.ID(), target.ID()}) || b.m.Status().Carried != 1 {
		t.Errorf("%+v", c)
	}
	b.m.CarryDown(b.now, target.ID(), asker.ID())
	if b.m.Status().Carried != 0 {
		t.Error("still carried")
	}
	b.sent(asker.ID(), typeReply)

	ask(7, target.ID(), 0)
	b.pass(passageLife)
	if s := b.m.Status().Introducer; s.Silent != 1 || len(b.m.intro.pending) > 0 {
		t.Errorf("%+v", s)
	}
	ask(8, target.ID(), 0)
	b.m.LinkDown(b.now, target.ID())
	b.drain()
	if r := b.sent(asker.ID(), typeReply); len(r) != 1 || r[0].request != 8 || r[0].answer != answerAbsent {
		t.Errorf("target gone: %+v", r)
	}
}

// A node carries 32 links, none over a link that is itself carried, and each
// only while both ends are there.
func TestCarried(t *testing.T) {
	b := newBench(t, Config{NoCaps: true})
	var all []Card
	for i := range 20 {
		all = append(all, testCard(uint64(i+1), Hard))
		b.up(Link{Card: all[i], Ours: true, Relayed: i == 19, Carrier: testCard(99, Open).ID()})
	}
	r, agreed := uint32(0), 0
	for i := range 18 {
		for j := range i {
			r++
			b.receive(all[i], message{request: r, id: all[j].ID(), flags: flagRelay}, typeIntroduce)
			for _, m := range b.sent(all[j].ID(), typeIntroduction) {
				b.receive(all[j], message{request: m.request}, typeReply)
				agreed++
			}
			b.pass(500 * time.Millisecond)
		}
	}
	s := b.m.Status()
	if s.Carried != maxCarriedLinks || agreed != maxCarriedLinks || int(s.Introducer.Full) != int(r)-agreed {
		t.Errorf("%d carried, %d agreed of %d, %+v", s.Carried, agreed, r, s.Introducer)
	}
	pairs := slices.Clone(b.m.intro.carried)
	for _, c := range all[:18] {
		b.m.LinkDown(b.now, c.ID())
	}
	if n := b.m.Status().Carried; n != 0 {
		t.Errorf("%d of %d carried without an end", n, len(pairs))
	}
	b.out = nil
	b.receive(all[18], message{request: 1, id: all[19].ID(), flags: flagRelay}, typeIntroduce)
	if len(b.sent(all[19].ID(), typeIntroduction)) > 0 {
		t.Error("carried over a carried link")
	}
}

// One asker, one prefix, and all together have quotas; one target is not
// drowned. The link of whoever goes too far stays.
func TestIntroducerQuotas(t *testing.T) {
	flood := func(askers, targets int, sameNet bool) (passed int) {
		b := newBench(t, Config{})
		for i := range askers + targets {
			addr := address(i+1, 1)
			if sameNet && i < askers {
				addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{99, 9, 9, byte(i)}), 1)
			}
			b.up(Link{Card: testCard(uint64(i+1), Easy), Addr: addr, Anchor: true})
		}
		for r := range uint32(2000) {
			from, to := testCard(uint64(int(r)%askers+1), Easy), testCard(uint64(askers+int(r)%targets+1), Easy)
			b.receive(from, message{request: r, id: to.ID()}, typeIntroduce)
			in := b.sent(to.ID(), typeIntroduction)
			for _, m := range in {
				b.receive(to, message{request: m.request, answer: answerDeclined}, typeReply)
			}
			if passed += len(in); len(in) == 0 {
				if a := b.sent(from.ID(), typeReply); len(a) == 0 || a[0].answer != answerBusy {
					t.Fatalf("shed without a word: %+v", a)
				}
			}
			b.out = nil
		}
		if s := b.m.Status(); s.Links != askers+targets || int(s.Introducer.Shed) != 2000-passed {
			t.Errorf("%+v", s)
		}
		checkBounds(t, b.m)
		return passed
	}
	for name, c := range map[string]struct {
		askers, targets int
		sameNet         bool
		want            float32
	}{
		"one asker": {1, 40, false, workRate().burst}, "one target": {40, 1, false, soughtRate().burst},
		"one prefix": {20, 40, true, networkRate().burst}, "all": {40, 40, false, totalRate().burst},
	} {
		if got := flood(c.askers, c.targets, c.sameNet); got != int(c.want) {
			t.Errorf("%s: %d passed, want %v", name, got, c.want)
		}
	}
	b := newBench(t, Config{})
	b.up(Link{Card: testCard(1, Easy)})
	answered := 0
	for range 1000 {
		b.receive(testCard(1, Easy), message{count: 16}, typeFind)
		answered += len(b.sent(testCard(1, Easy).ID(), typeCards))
	}
	if answered != int(workRate().burst) {
		t.Errorf("%d questions answered", answered)
	}
}

// Whatever prefixes come, only so many are remembered.
func TestManyPrefixes(t *testing.T) {
	b := newBench(t, Config{})
	for i := range 500 {
		b.m.intro.within(b.now.Add(time.Duration(i)*time.Millisecond), prefix(i+10))
	}
	if n := len(b.m.intro.quotas); n != maxQuotas || b.m.intro.quotas[0].prefix != 500+10-maxQuotas {
		t.Errorf("%d, from %d", n, b.m.intro.quotas[0].prefix)
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
