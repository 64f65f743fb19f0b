// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A rig is one machine whose neighbours are played by the test.
type rig struct {
	tb     testing.TB
	m      *Machine
	now    time.Time
	peers  []*rigPeer // nearest to key first
	key    ID
	secret []byte
	lock   [32]byte
}

type rigPeer struct {
	card Card
	id   ID
	got  [][]byte
}

// newRig returns a machine with n links of 100 ms round trip. A message to key
// goes to them in their order: up to 20, each is a bit nearer to it than the
// next, and the machine itself is farthest.
func newRig(tb testing.TB, n int) *rig {
	rng := rand.New(rand.NewPCG(9, 9))
	g := &rig{tb: tb, now: time.Unix(1e9, 0), secret: []byte("0123456789abcdef0123456789abcdef")}
	g.lock = sha256.Sum256(g.secret)
	var self Card
	for i := range self.Key {
		self.Key[i] = byte(rng.Uint32())
	}
	self.Class = Open
	g.key = self.ID()
	g.key[0] ^= 0x80
	g.m = New(g.now, Config{Self: self, NoCaps: true, Links: 1 << 10}, rng)
	seen := map[int]bool{}
	for len(g.peers) < n {
		p := &rigPeer{card: Card{Class: Open}}
		for i := range p.card.Key {
			p.card.Key[i] = byte(rng.Uint32())
		}
		p.id = p.card.ID()
		if bits := prefixLen(&g.key, &p.id); bits > 0 && (!seen[bits] || n > 20) {
			seen[bits] = true
			g.peers = append(g.peers, p)
		}
	}
	slices.SortFunc(g.peers, func(a, b *rigPeer) int {
		if nearer(&g.key, &a.id, &b.id) {
			return -1
		}
		return 1
	})
	for _, p := range g.peers {
		g.link(p)
	}
	g.drain()
	return g
}

func (g *rig) link(p *rigPeer) {
	g.m.LinkUp(g.now, Link{Card: p.card, RTT: 100 * time.Millisecond, Ours: true, Addr: netip.MustParseAddrPort("198.51.100.1:1")})
}

// drain hands what the machine sends to its neighbours and returns the events
// of routing.
func (g *rig) drain() (list []Event) {
	for {
		if o, ok := g.m.Poll(); ok {
			i := slices.IndexFunc(g.peers, func(p *rigPeer) bool { return p.id == o.To })
			if o.Body[0] >= routerTypes && o.Body[0] < endOfTypes {
				g.peers[i].got = append(g.peers[i].got, o.Body)
			}
			continue
		}
		e, ok := g.m.NextEvent()
		if !ok {
			return list
		}
		switch e.(type) {
		case Delivered, Answered, Undelivered, Passed:
			list = append(list, e)
		}
	}
}

// in gives the machine a message from neighbour i.
func (g *rig) in(i int, b []byte) []Event {
	g.tb.Helper()
	if err := g.m.Receive(g.now, g.peers[i].id, b); err != nil {
		g.tb.Fatal(err)
	}
	return g.drain()
}

// pass lets time pass, in steps that a driver would take.
func (g *rig) pass(d time.Duration) (list []Event) {
	for end := g.now.Add(d); ; {
		at := g.m.Deadline()
		if at.IsZero() || at.After(end) {
			g.now = end
			return list
		}
		if at.After(g.now) {
			g.now = at
		}
		g.m.Advance(g.now)
		list = append(list, g.drain()...)
	}
}

// got returns what neighbour i was sent since the last call: its only message.
func (g *rig) got(i int) []byte {
	g.tb.Helper()
	p := g.peers[i]
	if len(p.got) != 1 {
		g.tb.Fatalf("neighbour %d got %d messages: % x", i, len(p.got), p.got)
	}
	b := p.got[0]
	p.got = nil
	return b
}

func (g *rig) route(i int) routeMsg {
	g.tb.Helper()
	m, err := readRoute(g.got(i))
	if err != nil {
		g.tb.Fatal(err)
	}
	return m
}

func (g *rig) want(i int, b []byte) {
	g.tb.Helper()
	if got := g.got(i); !bytes.Equal(got, b) {
		g.tb.Fatalf("neighbour %d got % x, want % x", i, got, b)
	}
}

// quiet fails when somebody got a message that the test didn't look at.
func (g *rig) quiet() {
	g.tb.Helper()
	for i, p := range g.peers {
		if len(p.got) > 0 {
			g.tb.Fatalf("neighbour %d got % x", i, p.got)
		}
	}
}

// message returns a message to key as another origin would make it, n telling
// one from the other.
func (g *rig) message(kind Kind, exact bool, n int) (tail []byte, trace Trace) {
	h := head{kind: kind, key: g.key, lock: g.lock, salt: [saltLen]byte{byte(n), byte(n >> 8)}}
	if exact {
		h.flags = flagExact
	}
	tail = append(h.append(nil), "body"...)
	return tail, traceOf(tail)
}

func (g *rig) encode(tail []byte, fp ...uint16) []byte {
	var v visited
	v.merge(fp)
	return appendRoute(nil, 0, 1, &v, tail)
}

func (g *rig) reply(trace Trace, number uint8, secret []byte, body string) []byte {
	m := replyMsg{trace: trace, number: number, hops: 1, secret: secret, body: []byte(body)}
	return m.append(nil)
}

func refusal(trace Trace, why reason, hints ...uint16) []byte {
	return appendRefuse(nil, &trace, why, hints)
}

func ackOf(trace Trace) []byte { return appendAck(nil, &trace) }
