// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenHead is a head whose fields can be told apart.
func goldenHead() head {
	h := head{kind: Ring, flags: flagExact}
	for i := range h.salt {
		h.salt[i] = byte(i)
	}
	for i := range h.key {
		h.key[i], h.lock[i] = 0xaa, 0xbb
	}
	return h
}

const goldenTail = "000102030405060708090a0b0c0d0e0f 01 01" +
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" +
	"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 6869"

func TestGoldenRoute(t *testing.T) {
	h := goldenHead()
	tail := append(h.append(nil), "hi"...)
	var v visited
	v.merge([]uint16{0x1234, 0x5678})
	b := appendRoute(nil, 2, 3, &v, tail)
	if want := unhex(t, "10 02 03 02 1234 5678"+goldenTail); !bytes.Equal(b, want) {
		t.Errorf("% x", b)
	}
	m, err := readRoute(b)
	if err != nil || m.copy != 2 || m.hops != 3 || !slices.Equal(m.seen.list(), []uint16{0x1234, 0x5678}) || !bytes.Equal(m.tail, tail) {
		t.Errorf("%+v %v", m, err)
	}
	var back head
	if back.set(m.tail); back != h {
		t.Errorf("%+v", back)
	}
	if got := hex.EncodeToString(appendAck(nil, new(traceOf(tail)))); got != "11"+goldenTrace {
		t.Errorf("trace %s", got)
	}
	if len(b) != routeSize(&v, tail) {
		t.Error("size")
	}
	if f := fingerprint(&Trace{0: 1, 15: 2}, &ID{0: 3, 31: 4}); f != 0xbb81 {
		t.Errorf("fingerprint %04x", f)
	}
}

const goldenTrace = "4169243ad82c1e75c9724c000bcc57fe"

func TestGoldenAnswers(t *testing.T) {
	trace := Trace{0: 1, 15: 2}
	ack := appendAck(nil, &trace)
	if !bytes.Equal(ack, unhex(t, "11 01000000000000000000000000000002")) {
		t.Errorf("% x", ack)
	}
	if got, err := readAck(ack); err != nil || got != trace {
		t.Error(err)
	}
	refuse := appendRefuse(nil, &trace, refuseStuck, []uint16{0xabcd})
	if !bytes.Equal(refuse, unhex(t, "12 01000000000000000000000000000002 02 01 abcd")) {
		t.Errorf("% x", refuse)
	}
	if got, why, v, err := readRefuse(refuse); err != nil || got != trace || why != refuseStuck || !slices.Equal(v.list(), []uint16{0xabcd}) {
		t.Error(err)
	}
	m := replyMsg{trace: trace, number: 1, hops: 2, secret: []byte{0xcc, 0xdd}, body: []byte("hi")}
	reply := m.append(nil)
	if !bytes.Equal(reply, unhex(t, "13 01000000000000000000000000000002 01 02 02 ccdd 6869")) {
		t.Errorf("% x", reply)
	}
	if got, err := readReply(reply); err != nil || got.trace != trace || got.number != 1 || got.hops != 2 || !bytes.Equal(got.secret, m.secret) || !bytes.Equal(got.body, m.body) {
		t.Error(err)
	}
	if len(reply) != m.size() {
		t.Error("size")
	}
}

// The trace depends on every byte that no hop changes.
func TestTraceNamesContent(t *testing.T) {
	tail := unhex(t, goldenTail)
	seen := map[Trace]bool{traceOf(tail): true}
	for i := range tail {
		b := bytes.Clone(tail)
		b[i] ^= 1
		if x := traceOf(b); seen[x] {
			t.Errorf("byte %d doesn't matter", i)
		} else {
			seen[x] = true
		}
	}
}

func TestMalformed(t *testing.T) {
	h := goldenHead()
	tail := h.append(nil)
	full := visited{n: maxVisited}
	route := appendRoute(nil, 0, maxHops, &full, append(tail, make([]byte, MaxBody)...))
	if _, err := readRoute(route); err != nil {
		t.Errorf("the longest: %v", err)
	}
	trace := Trace{}
	long := replyMsg{number: maxReplies, secret: make([]byte, secretLen), body: make([]byte, MaxBody)}
	if _, err := readReply(long.append(nil)); err != nil {
		t.Errorf("the longest: %v", err)
	}
	g := newRig(t, 1)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"route cut", route[:3], wire.ErrShort},
		{"route without head", route[:4+2*maxVisited+headLen-1], wire.ErrShort},
		{"route of too many visited", append([]byte{typeRoute, 0, 0, maxVisited + 1}, make([]byte, 500)...), errVisited},
		{"route too long", append(slices.Clone(route), 0), errBody},
		{"route of too many hops", appendRoute(nil, 0, maxHops+1, &full, tail), errHops},
		{"ack cut", appendAck(nil, &trace)[:16], wire.ErrShort},
		{"ack too long", append(appendAck(nil, &trace), 0), wire.ErrTrailing},
		{"refusal cut", appendRefuse(nil, &trace, 1, []uint16{1})[:20], wire.ErrShort},
		{"refusal too long", append(appendRefuse(nil, &trace, 1, nil), 0), wire.ErrTrailing},
		{"refusal of too many hints", appendRefuse(nil, &trace, 1, make([]uint16, maxHints+1)), errVisited},
		{"reply cut", long.append(nil)[:19], wire.ErrShort},
		{"reply too long", append(long.append(nil), 0), errBody},
		{"reply of a long secret", (&replyMsg{secret: make([]byte, secretLen+1)}).append(nil), errSecret},
		{"reply of a high number", (&replyMsg{number: maxReplies + 1}).append(nil), errNumber},
	} {
		err := g.m.Receive(g.now, g.peers[0].id, c.b)
		var f *FormatError
		if !errors.As(err, &f) || f.Type != c.b[0] || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for typ := byte(typeReturn + 1); typ < endOfTypes; typ++ { // of a later version
		if err := g.m.Receive(g.now, g.peers[0].id, []byte{typ, 1, 2}); err != nil {
			t.Error(err)
		}
	}
	g.drain()
	g.quiet()
}

func TestVisitedSet(t *testing.T) {
	var v visited
	for i := range uint16(maxVisited) {
		if v.has(i) || v.full() || !v.add(i) || !v.has(i) {
			t.Fatal(i)
		}
	}
	if !v.full() || v.add(99) || v.has(99) {
		t.Error("more than fits")
	}
	v = visited{}
	v.merge([]uint16{1, 2, 1})
	v.merge(make([]uint16, 3))
	if !slices.Equal(v.list(), []uint16{1, 2, 0}) {
		t.Errorf("%v", v.list())
	}
	for i := range uint16(100) {
		v.merge([]uint16{1000 + i})
	}
	if !v.full() {
		t.Error("not full")
	}
	// Fingerprints of one node in two messages, of two nodes in one, have
	// nothing in common.
	same := 0
	for i := range 256 {
		for j := range 256 {
			if fingerprint(&Trace{0: byte(i)}, &ID{31: byte(j)}) == fingerprint(&Trace{0: byte(i)}, &ID{31: byte(j), 24: 1}) ||
				fingerprint(&Trace{0: byte(i)}, &ID{31: byte(j)}) == fingerprint(&Trace{0: byte(i), 7: 1}, &ID{31: byte(j)}) {
				same++
			}
		}
	}
	if same > 10 { // two are to be expected
		t.Errorf("%d of 65,536 alike", same)
	}
}

func FuzzRouteMessage(f *testing.F) {
	h := goldenHead()
	v := visited{}
	v.merge([]uint16{1, 2})
	trace := Trace{3}
	f.Add(appendRoute(nil, 1, 2, &v, append(h.append(nil), "body"...)))
	f.Add(appendAck(nil, &trace))
	f.Add(appendRefuse(nil, &trace, refuseSeen, []uint16{7}))
	f.Add((&replyMsg{trace: trace, number: 1, hops: 1, secret: []byte("s"), body: []byte("b")}).append(nil))
	f.Add([]byte{typeRoute, 0, 0, 32})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		if len(b) == 0 {
			return
		}
		switch b[0] {
		case typeRoute:
			m, err := readRoute(b)
			if err != nil {
				return
			}
			again = appendRoute(nil, m.copy, m.hops, &m.seen, m.tail)
		case typeAck:
			x, err := readAck(b)
			if err != nil {
				return
			}
			again = appendAck(nil, &x)
		case typeRefuse:
			x, why, v, err := readRefuse(b)
			if err != nil {
				return
			}
			again = appendRefuse(nil, &x, why, v.list())
		case typeReturn:
			m, err := readReply(b)
			if err != nil {
				return
			}
			again = m.append(nil)
		default:
			return
		}
		if !bytes.Equal(b, again) {
			t.Errorf("% x became % x", b, again)
		}
	})
}

// FuzzRouter plays neighbours that send anything at all, in any order, to a
// node with traffic of its own.
func FuzzRouter(f *testing.F) {
	h := goldenHead()
	var v visited
	for i := range uint64(30) {
		f.Add(i, appendRoute(nil, 0, 1, &v, append(h.append(nil), "body"...)))
	}
	f.Add(uint64(2), (&replyMsg{number: 1, hops: 1, secret: []byte("s")}).append(nil))
	f.Add(uint64(3), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		g := newRig(t, 6)
		live := []Trace{{}}
		next := func(n int) int { // a stream of choices
			seed = seed*6364136223846793005 + 1442695040888963407
			return int(seed>>33) % n
		}
		for range 60 {
			var in []byte
			switch i := next(len(g.peers)); next(9) {
			case 0:
				in = b
			case 1:
				g.send(g.ring())
			case 2:
				tail, trace := g.message(Kind(next(6)), next(2) == 0, next(9))
				live = append(live, trace)
				in = g.encode(tail, uint16(next(9)))
			case 3:
				in = ackOf(live[next(len(live))])
			case 4:
				in = refusal(live[next(len(live))], reason(next(5)), uint16(next(99)))
			case 5:
				in = g.reply(live[next(len(live))], uint8(next(maxReplies+1)), [][]byte{nil, g.secret, b[:min(len(b), secretLen)]}[next(3)], "x")
			case 6:
				g.pass(time.Duration(next(3000)) * time.Millisecond)
			case 7:
				g.m.LinkDown(g.now, g.peers[i].id)
				g.link(g.peers[i])
			case 8:
				g.m.Reply(g.now, Route(next(5)), g.secret, b[:min(len(b), MaxBody)])
			}
			if len(in) > 0 && (in[0] >= routerTypes && in[0] < endOfTypes) {
				_ = g.m.Receive(g.now, g.peers[next(len(g.peers))].id, in)
			}
			g.drain()
			for _, p := range g.peers {
				for _, o := range p.got {
					if len(o) > 4096 {
						t.Errorf("sent %d bytes", len(o))
					}
					if m, err := readRoute(o); o[0] == typeRoute && err == nil {
						live = append(live, traceOf(m.tail))
					}
				}
				p.got = nil
			}
		}
		g.pass(maxLife + life)
		if len(g.m.trails) != 0 || len(g.m.routes) != 0 || g.m.held != 0 || g.m.own != 0 || len(g.m.timers) != 0 {
			t.Errorf("left over: %d messages, %d routes, %d bytes, %d own", len(g.m.trails), len(g.m.routes), g.m.held, g.m.own)
		}
		for _, n := range g.m.c.table.list {
			if n.score.waiting != 0 {
				t.Errorf("%d waiting", n.score.waiting)
			}
		}
	})
}
