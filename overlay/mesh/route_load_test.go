// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"net/netip"
	"testing"
	"time"
)

// flood lets neighbour i bring n messages and returns how many were taken.
func (g *rig) flood(i, n int, salt byte) (taken int) {
	g.tb.Helper()
	for k := range n {
		h := head{kind: Ring, flags: flagExact, key: g.key, lock: g.lock, salt: [saltLen]byte{byte(k), byte(k >> 8), salt, byte(i)}}
		tail := h.append(nil)
		trace := traceOf(tail)
		g.in(i, g.encode(tail))
		b := g.peers[i].got
		if len(b) == 0 {
			g.tb.Fatal("no answer")
		}
		switch b[len(b)-1][0] {
		case typeAck:
			taken++
			for j, p := range g.peers { // whoever has it next takes it
				if j != i && len(p.got) > 0 {
					g.in(j, ackOf(trace))
				}
			}
		case typeRefuse:
			if _, why, _, _ := readRefuse(b[len(b)-1]); why != refuseBusy {
				g.tb.Fatalf("refused for %d", why)
			}
		}
		for _, p := range g.peers {
			p.got = nil
		}
	}
	return taken
}

// Who floods is refused; everybody else is served as before, and it again
// when it has calmed down.
func TestFlood(t *testing.T) {
	g := newRig(t, 4)
	burst := int(bringRate().burst)
	if n := g.flood(3, 1000, 1); n != burst {
		t.Errorf("%d of a flood taken", n)
	}
	if n := g.flood(2, 10, 2); n != 10 {
		t.Errorf("%d of another's ten taken", n)
	}
	g.pass(time.Second)
	if n := g.flood(3, 100, 3); n != int(bringRate().perSecond) {
		t.Errorf("%d taken a second later", n)
	}
	if s := g.m.Status().Routing; int(s.Busy) != 1000-burst+90 {
		t.Errorf("%+v", s)
	}
}

// When nobody acknowledges any more, what others bring is not given to one
// neighbour after the other: all nodes would do that, and each message would go to
// the whole network.
func TestDetoursBounded(t *testing.T) {
	g := newRig(t, 10)
	const brought = 400
	for i := range brought {
		h := head{kind: Ring, flags: flagExact, key: g.key, lock: g.lock, salt: [saltLen]byte{byte(i), byte(i >> 8)}}
		g.m.c.table.find(g.peers[9].id).score.in = tokens{}
		g.in(9, g.encode(h.append(nil)))
		for _, p := range g.peers {
			g.m.c.table.find(p.id).score.waiting = 0 // the window is not what bounds here
		}
	}
	g.pass(life)
	given := 0
	for _, p := range g.peers {
		for _, b := range p.got {
			given += btoi(b[0] == typeRoute)
		}
	}
	most := brought + int(detourRate().burst+detourRate().perSecond*float32(life.Seconds()))
	if s := g.m.Status().Routing; given > most || given <= brought || s.Dropped == 0 {
		t.Errorf("%d copies of %d messages, at most %d: %+v", given, brought, most, s)
	}
}

// All nodes of one prefix flood no more than two of them may.
func TestFloodFromPrefix(t *testing.T) {
	for _, noCaps := range []bool{false, true} {
		g := newRig(t, 7)
		g.m.c.noCaps = noCaps
		for i := range 5 {
			g.m.c.table.find(g.peers[2+i].id).addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 9)
		}
		taken := 0
		for i := range 5 {
			taken += g.flood(2+i, 200, byte(i))
		}
		want := int(prefixRate().burst)
		if noCaps { // a private network knows everybody
			want = 5 * int(bringRate().burst)
		}
		if taken != want {
			t.Errorf("caps %v: %d taken, want %d", !noCaps, taken, want)
		}
		if n := g.flood(1, 50, 9); n != 50 {
			t.Errorf("%d of a stranger's 50 taken", n)
		}
	}
}

// Bodies and messages kept are bounded; copies beyond the first three go first.
func TestFull(t *testing.T) {
	g := newRig(t, 3)
	g.m.c.table.find(g.peers[0].id).score.waiting = 0
	body := make([]byte, MaxBody)
	bring := func(i int, copies uint8) byte {
		for _, p := range g.peers {
			s := &g.m.c.table.find(p.id).score
			s.in, s.waiting = tokens{}, 0
			p.got = nil
		}
		h := head{kind: Store, key: g.key, salt: [saltLen]byte{byte(i), byte(i >> 8)}}
		var v visited
		tail := append(h.append(nil), body...)
		trace := traceOf(tail)
		g.in(2, appendRoute(nil, copies, 1, &v, tail))
		g.in(0, ackOf(trace))
		return g.peers[2].got[0][0]
	}
	i, size := 0, headLen+MaxBody
	for ; bring(i, firstCopies) == typeAck; i++ {
	}
	if i != maxHeld/2/size {
		t.Errorf("%d late copies taken", i)
	}
	for i++; bring(i, 0) == typeAck; i++ {
	}
	if n := len(g.m.trails); n != maxHeld/size || g.m.held > maxHeld {
		t.Errorf("%d messages, %d bytes", n, g.m.held)
	}
	g.pass(life)
	if len(g.m.trails) != 0 || g.m.held != 0 {
		t.Errorf("%d messages, %d bytes left", len(g.m.trails), g.m.held)
	}
	body = nil
	for i = 0; bring(i, 0) == typeAck; i++ {
	}
	if i != maxTrails {
		t.Errorf("%d messages", i)
	}
	g.pass(life)
	if n := len(g.m.free); n != keepTrails || g.m.timers != nil {
		t.Errorf("%d trails, room for %d timers kept", n, cap(g.m.timers))
	}
}
