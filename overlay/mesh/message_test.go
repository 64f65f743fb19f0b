// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// links of a test table, for entries.
func entry(c Card, relayed bool, rtt time.Duration) []byte {
	return appendEntry(nil, &neighbour{card: c, relayed: relayed, rtt: rtt})
}

// The bytes on the wire, drawn in message.go.
func TestMessageBytes(t *testing.T) {
	card := Card{Key: [32]byte{0: 0xaa, 31: 0xbb}, Class: Hard, Leaf: true}
	key := "aa" + strings.Repeat("00", 30) + "bb"
	id := ID{0: 0x11, 31: 0x22}
	idHex := "11" + strings.Repeat("00", 30) + "22"
	for _, c := range []struct {
		name string
		typ  byte
		m    message
		want string
	}{
		{"find", typeFind, message{request: 7, id: id, bits: 5, count: 16, flags: flagScarce}, "01 01 0004 00000007 02 0020 " + idHex + " 03 0003 05 10 04"},
		{"cards", typeCards, message{request: 7, cards: entry(card, true, 9*time.Millisecond), load: 3, carried: 2}, "02 01 0004 00000007 02 0022 " + key + " 1b 03 03 0002 03 02"},
		{"no cards", typeCards, message{request: 7}, "02 01 0004 00000007 02 0000 03 0002 00 00"},
		{"introduce", typeIntroduce, message{request: 8, id: id, flags: flagRelay, sealed: []byte("abc")}, "03 01 0004 00000008 02 0020 " + idHex + " 03 0001 02 04 0003 616263"},
		{"introduction", typeIntroduction, message{request: 9, card: card, flags: flagNear | flagScarce, sealed: []byte("abc"), seen: netip.MustParseAddrPort("1.2.3.4:5")},
			"04 01 0004 00000009 02 0021 " + key + " 0b 03 0001 05 04 0003 616263 05 0007 06 01020304 0005"},
		{"introduction, address unknown", typeIntroduction, message{request: 9, card: Card{Key: card.Key}, sealed: []byte{}}, "04 01 0004 00000009 02 0021 " + key + " 00 03 0001 00 04 0000"},
		{"agreed", typeReply, message{request: 8, sealed: []byte("xyz"), seen: netip.MustParseAddrPort("[2001:db8::1]:443")},
			"05 01 0004 00000008 02 0001 00 03 0003 78797a 04 0013 12 20010db8000000000000000000000001 01bb"},
		{"busy", typeReply, message{request: 8, answer: answerBusy}, "05 01 0004 00000008 02 0001 03 03 0000"},
		{"card", typeCard, message{state: byte(Easy) | byte(claimSibling|claimScarce)<<claimShift, room: 5}, "06 01 0001 32 02 0004 00000005"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(c.name, err)
		}
		got := c.m.append(nil, c.typ)
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, got, want)
		}
		var back message
		if known, err := back.parse(want); err != nil || !known {
			t.Errorf("%s: %v", c.name, err)
		}
		if back.cards == nil && c.m.cards == nil {
			back.cards = nil
		}
		if again := back.append(nil, c.typ); !bytes.Equal(again, want) {
			t.Errorf("%s: came back as %x", c.name, again)
		}
		// A field of a later version is skipped; a piece of a message is not taken.
		var later message
		if _, err := later.parse(wire.AppendField(bytes.Clone(want), 200, []byte("new"))); err != nil || !reflect.DeepEqual(later, back) {
			t.Errorf("%s with a later field: %v", c.name, err)
		}
		for n := 1; n < len(want); n++ {
			var cut message
			if _, err := cut.parse(want[:n]); err == nil && !(c.m.seen.IsValid() && n > len(want)-3-len(appendSeen(nil, 1, c.m.seen))) {
				t.Errorf("%s: %d of %d bytes taken", c.name, n, len(want))
			}
		}
	}
}

func TestMessageRefused(t *testing.T) {
	u32 := []byte{0, 0, 0, 1}
	fields := func(typ byte, f ...any) []byte {
		b := []byte{typ}
		for i := 0; i < len(f); i += 2 {
			b = wire.AppendField(b, uint8(f[i].(int)), f[i+1].([]byte))
		}
		return b
	}
	id, card := make([]byte, 32), make([]byte, 33)
	for name, b := range map[string][]byte{
		"short number":   fields(typeFind, 1, []byte{1}, 2, id, 3, []byte{0, 1, 0}),
		"short point":    fields(typeFind, 1, u32, 2, id[1:], 3, []byte{0, 1, 0}),
		"no scope":       fields(typeFind, 1, u32, 2, id),
		"short scope":    fields(typeFind, 1, u32, 2, id, 3, []byte{0, 1}),
		"half a card":    fields(typeCards, 1, u32, 2, make([]byte, entryLen+1), 3, []byte{0, 0}),
		"too many cards": fields(typeCards, 1, u32, 2, make([]byte, (maxCards+1)*entryLen), 3, []byte{0, 0}),
		"long offer":     fields(typeIntroduce, 1, u32, 2, id, 3, []byte{0}, 4, make([]byte, maxSealed+1)),
		"short card":     fields(typeIntroduction, 1, u32, 2, card[1:], 3, []byte{0}, 4, []byte{}),
		"long card":      fields(typeIntroduction, 1, u32, 2, append(card, 0), 3, []byte{0}, 4, []byte{}),
		"no address":     fields(typeIntroduction, 1, u32, 2, card, 3, []byte{0}, 4, []byte{}, 5, []byte{5, 1, 2, 3, 4, 5}),
		"long address":   fields(typeReply, 1, u32, 2, []byte{0}, 3, []byte{}, 4, []byte{6, 1, 2, 3, 4, 5, 6, 7}),
		"long answer":    fields(typeReply, 1, u32, 2, []byte{0}, 3, make([]byte, maxSealed+1)),
		"no state":       fields(typeCard),
		"empty state":    fields(typeCard, 1, []byte{}, 2, u32),
		"no room":        fields(typeCard, 1, []byte{0}),
		"long room":      fields(typeCard, 1, []byte{0}, 2, make([]byte, 5)),
		"out of order":   fields(typeFind, 2, id, 1, u32, 3, []byte{0, 1, 0}),
	} {
		b0 := newBench(t, Config{})
		b0.m.LinkUp(b0.now, Link{Card: testCard(5, Open)})
		err := b0.m.Receive(b0.now, testCard(5, Open).ID(), b)
		var f *FormatError
		if !errors.As(err, &f) || f.Type != b[0] || !strings.HasPrefix(err.Error(), "mesh: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := newBench(t, Config{})
	b.m.LinkUp(b.now, Link{Card: testCard(5, Open)})
	for _, typ := range []byte{0, 0x07, 0x0f, 0x20, 0xff} {
		if err := b.m.Receive(b.now, testCard(5, Open).ID(), []byte{typ, 9, 9}); err != nil {
			t.Errorf("unknown type 0x%02x: %v", typ, err)
		}
	}
	if err := b.m.Receive(b.now, testCard(5, Open).ID(), nil); !errors.Is(err, errEmpty) {
		t.Errorf("empty message: %v", err)
	}
	if err := b.m.Receive(b.now, testCard(6, Open).ID(), []byte{typeFind}); err != nil {
		t.Errorf("message of a node without a link: %v", err)
	}
}

// A class of a later version is unknown, not an error.
func TestCardState(t *testing.T) {
	for s := range 256 {
		var c Card
		c.setState(byte(s))
		if c.Class > Blocked || c.Leaf != (s&leafBit != 0) || s&classMask <= int(Blocked) && c.state() != byte(s)&(classMask|leafBit) {
			t.Errorf("state %02x: %+v", s, c)
		}
	}
	for d, want := range map[time.Duration]byte{0: 0, -5: 0, 1: 1, rttUnit: 1, rttUnit + 1: 2, time.Hour: 255} {
		if got := rttByte(d); got != want {
			t.Errorf("%v is %d", d, got)
		}
	}
}

// fuzzTown is a machine amid a few neighbours, in the middle of everything it
// can do.
func fuzzTown() (*Machine, []Card, time.Time) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := New(now, Config{Self: testCard(0, Easy)}, rand.New(rand.NewPCG(1, 2)))
	var who []Card
	for i := range 12 {
		c := testCard(uint64(i+1), Class(i%5))
		who = append(who, c)
		m.LinkUp(now, Link{Card: c, Addr: address(i, 1), RTT: 20 * time.Millisecond, Ours: i%2 == 0, Relayed: i == 11})
	}
	return m, who, now
}

// FuzzReceive gives a machine rows of messages from several neighbours, and
// answers its events as a driver would.
func FuzzReceive(f *testing.F) {
	card, id := testCard(40, Hard), testCard(3, Easy).ID()
	var cards []byte
	for i := range 6 {
		cards = append(cards, entry(testCard(uint64(50+i), Class(i%5)), i == 2, 30*time.Millisecond)...)
	}
	frame := func(from byte, typ byte, m message) []byte {
		return wire.AppendVec16([]byte{from}, m.append(nil, typ))
	}
	var all []byte
	for i, m := range []struct {
		typ byte
		m   message
	}{
		{typeFind, message{request: 1, id: id, count: 16}},
		{typeCards, message{request: 1, cards: cards, load: 200, carried: 1}},
		{typeIntroduce, message{request: 2, id: id, flags: flagNear, sealed: []byte("offer")}},
		{typeIntroduction, message{request: 3, card: card, flags: flagNear, sealed: []byte("offer"), seen: address(77, 1)}},
		{typeReply, message{request: 5, sealed: []byte("answer"), seen: address(78, 1)}},
		{typeCard, message{state: byte(Hard) | leafBit}},
	} {
		one := frame(byte(i), m.typ, m.m)
		f.Add(one)
		all = append(all, one...)
	}
	for r := range uint32(8) {
		all = append(all, frame(byte(r), typeCards, message{request: r, cards: cards})...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, who, now := fuzzTown()
		for r := wire.NewReader(b); r.Len() > 0; {
			from, msg := r.U8(), r.Vec16()
			if r.Err() != nil {
				break
			}
			if from&0x40 != 0 {
				now = now.Add(time.Duration(from&0x3f) * time.Second / 4)
				m.Advance(now)
			}
			err := m.Receive(now, who[int(from)%len(who)].ID(), msg)
			var format *FormatError
			if err != nil && !errors.As(err, &format) {
				t.Fatalf("%T: %v", err, err)
			}
			answerAll(t, m, now)
		}
		for range 40 {
			if at := m.Deadline(); !at.IsZero() && at.After(now) {
				now = at
			}
			m.Advance(now)
			answerAll(t, m, now)
		}
		checkBounds(t, m)
	})
}

// answerAll drains a machine; of introductions every other one is declined.
func answerAll(t testing.TB, m *Machine, now time.Time) {
	for range 10_000 {
		o, ok := m.Poll()
		if ok && len(o.Body) > 4096 {
			t.Fatalf("message of %d bytes", len(o.Body))
		}
		e, more := m.NextEvent()
		switch e := e.(type) {
		case Wanted:
			if e.Request%2 == 0 {
				m.Decline(now, e.Request)
			} else {
				m.Introduce(now, e.Request, []byte("offer"))
			}
		case Asked:
			if e.Request%2 == 0 {
				m.Decline(now, e.Request)
			} else {
				m.Accept(now, e.Request, []byte("answer"))
				m.LinkUp(now, Link{Card: e.From, Via: e.Via, Addr: e.Seen})
			}
		case Agreed:
			m.Failed(now, e.Node)
		case Surplus:
			m.LinkDown(now, e.Node)
		case Delivered:
			m.Reply(now, e.Route, nil, nil)
		}
		if !ok && !more {
			return
		}
	}
	t.Fatal("machine talks without end")
}

// checkBounds holds the machine to its named limits.
func checkBounds(t testing.TB, m *Machine) {
	t.Helper()
	for name, c := range map[string][2]int{
		"links": {m.c.table.links, m.c.limit() + nearSlack}, "guests": {m.c.table.guests, maxGuests + maxTries}, "tries": {len(m.fill.tries), maxTries},
		"offers": {len(m.fill.asks), maxOffers}, "candidates": {len(m.fill.cands), maxCandidates}, "questions": {len(m.fill.questions), maxQuestions},
		"failures": {len(m.c.failed.list), maxFailed}, "passages": {len(m.intro.pending), maxPassages}, "carried": {len(m.intro.carried), maxCarriedLinks},
		"quotas": {len(m.intro.quotas), maxQuotas},
	} {
		if c[0] > c[1] {
			t.Errorf("%d %s, limit %d", c[0], name, c[1])
		}
	}
	if s := m.Status(); s.DroppedOut+s.DroppedEvents > 0 {
		t.Errorf("queues overflow: %d, %d", s.DroppedOut, s.DroppedEvents)
	}
}
