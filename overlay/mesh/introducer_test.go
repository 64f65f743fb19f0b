// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

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

	ask(66, target.ID(), 0)
	in = b.sent(target.ID(), typeIntroduction)
	b.receive(target, message{request: in[0].request, answer: answerDeclined, sealed: []byte("x"), seen: address(66, 6)}, typeReply)
	if r := b.sent(asker.ID(), typeReply); len(r) != 1 || r[0].answer != answerDeclined || len(r[0].sealed) > 0 || r[0].seen.IsValid() {
		t.Errorf("declined with %+v", r)
	}

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

// A node carries 32 links, twenty of them for others than siblings, none over a link that is itself carried, and each
// only while both ends are there.
func TestCarried(t *testing.T) {
	b := newBench(t, Config{NoCaps: true})
	var all []Card
	for i := range 20 {
		all = append(all, testCard(uint64(i+1), Hard))
		b.up(Link{Card: all[i], Ours: true, Relayed: i == 19, Carrier: testCard(99, Open).ID()})
	}
	r, agreed := uint32(0), 0
	for i := range 9 {
		for j := range i {
			r++
			b.receive(all[i], message{request: r, id: all[j].ID(), flags: flagRelay | flagScarce}, typeIntroduce)
			for _, m := range b.sent(all[j].ID(), typeIntroduction) {
				b.receive(all[j], message{request: m.request}, typeReply)
				agreed++
			}
			b.pass(500 * time.Millisecond)
		}
	}
	if agreed != maxCarriedLinks-keptForNear {
		t.Errorf("%d carried for others than siblings", agreed)
	}
	for i := 9; i < 18; i++ {
		for j := range i {
			r++
			b.receive(all[i], message{request: r, id: all[j].ID(), flags: flagRelay | flagNear}, typeIntroduce)
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
