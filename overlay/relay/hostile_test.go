// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// star returns a relay with n neighbours, each in a network of its own.
func star(t *testing.T, l Limits, n int) (g *rig, r *node, others []*node) {
	g = newRig(t)
	r = g.node("r", l)
	for i := range n {
		x := g.node(fmt.Sprint("n", i), Limits{})
		g.link(r, x)
		others = append(others, x)
	}
	return g, r, others
}

// flow opens one with the target's consent and returns the reason when it is
// refused.
func (n *node) flow(relay, target *node, k Kind) Reason {
	n.ask(relay, Request{Target: target.id, Kind: k})
	for _, e := range n.events {
		if e, ok := e.(Refused); ok {
			n.events = nil
			return e.Reason
		}
	}
	target.client.Accept(n.rig.now, last[Invited](target).Request)
	n.rig.run()
	last[Opened](n)
	last[Opened](target)
	return Closed
}

func TestQuotas(t *testing.T) {
	t.Run("calls", func(t *testing.T) {
		_, r, n := star(t, Limits{}, 6)
		for i, want := range []Reason{Closed, Closed, Busy} {
			if got := n[2*i].flow(r, n[2*i+1], Call); got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
		if c := r.server.Carried(); c.Calls != 2 || c.Load != 100 || c.Promised != 4*promisedCall {
			t.Errorf("%+v", c)
		}
		consistent(t, r.server)
	})
	t.Run("one neighbour", func(t *testing.T) {
		_, r, n := star(t, Limits{}, 3)
		for i, want := range []Reason{Closed, Share} {
			if got := n[0].flow(r, n[i+1], Call); got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
		if got := n[2].flow(r, n[1], Call); got != Share { // as target
			t.Error(got)
		}
	})
	t.Run("links", func(t *testing.T) {
		g, r, n := star(t, Limits{}, 34)
		open := 0
		for i := range n {
			for j := range i {
				if g.pass(time.Second); n[i].flow(r, n[j], Link) == Closed {
					open++
				}
				for _, x := range r.carried { // keep them used
					r.fwd.Forward(g.now.Sub(g.start), x.A.Node, frame(x.A.Label, 128))
				}
			}
		}
		if open != defaultLinks {
			t.Errorf("%d links", open)
		}
		for _, c := range r.server.ledger.peers {
			if c[Link] > defaultLinks/4 {
				t.Errorf("%d of one neighbour", c[Link])
			}
		}
		consistent(t, r.server)
	})
	t.Run("one network", func(t *testing.T) {
		_, r, n := star(t, Limits{}, 5)
		for i, x := range n[:2] { // two neighbours in 45.200.0.0/24
			r.server.LinkDown(r.rig.now, x.id)
			r.server.LinkUp(r.rig.now, x.id, Neighbour{Addr: netip.AddrFrom4([4]byte{45, 200, 0, byte(i)})})
		}
		for i, want := range []Reason{Closed, Share} {
			if got := n[i].flow(r, n[2+i], Call); got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
	})
	t.Run("both ends in one network, or none", func(t *testing.T) {
		for _, addr := range []string{"45.200.0.7", "192.168.1.7", "::1", "2001:db8::1"} {
			_, r, n := star(t, Limits{}, 2)
			for _, x := range n {
				r.server.LinkDown(r.rig.now, x.id)
				r.server.LinkUp(r.rig.now, x.id, Neighbour{Addr: netip.MustParseAddr(addr)})
			}
			if got := n[0].flow(r, n[1], Call); got != Closed {
				t.Errorf("%s: %v", addr, got)
			}
			consistent(t, r.server)
		}
	})
	t.Run("calls within one network count once", func(t *testing.T) {
		_, r, n := star(t, Limits{Calls: 4}, 6)
		for i, x := range n {
			r.server.LinkDown(r.rig.now, x.id)
			r.server.LinkUp(r.rig.now, x.id, Neighbour{Addr: netip.AddrFrom4([4]byte{45, 200, 0, byte(i)})})
		}
		for i, want := range []Reason{Closed, Closed, Share} {
			if got := n[2*i].flow(r, n[2*i+1], Call); got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
	})
	t.Run("more than there is room for", func(t *testing.T) {
		l := Limits{Calls: 1 << 30, Links: 1 << 30, Short: 1 << 30}
		if n := l.most(Call) + l.most(Link) + l.most(Short); n > MaxFlows {
			t.Errorf("%d flows", n)
		}
	})
	t.Run("rate", func(t *testing.T) {
		_, r, n := star(t, Limits{Calls: 10, Rate: 300_000}, 6)
		for i, want := range []Reason{Closed, Closed, Busy} { // 128 kbit/s each, both ways
			if got := n[2*i].flow(r, n[2*i+1], Call); got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		for _, l := range []Limits{{Calls: -1}, {Rate: -1}} {
			g, r, n := star(t, l, 2)
			if got := n[0].flow(r, n[1], Call); got != Off {
				t.Errorf("%+v: %v", l, got)
			}
			q, _ := n[0].client.Reserve(g.now, r.id, n[1].id, Call)
			g.run()
			n[0].refused(q, Off)
			if got := n[0].flow(r, n[1], Link) == Closed; got != (l.Rate == 0) {
				t.Errorf("%+v: link %v", l, got)
			}
		}
		_, r, n := star(t, Limits{TwoHop: -1}, 2)
		n[0].refused(n[0].ask(r, Request{Target: n[1].id, Kind: Call, Nested: true}), Off)
	})
}

// What makes no sense is refused, and leaves nothing behind.
func TestStrangeRequests(t *testing.T) {
	g, r, n := star(t, Limits{}, 2)
	a, b := n[0], n[1]
	for name, m := range map[string]message{
		"to itself":                  {typ: typeOpen, node: a.id, kind: Call},
		"to the relay":               {typ: typeOpen, node: r.id, kind: Call},
		"for a ring's flow":          {typ: typeOpen, node: b.id, kind: Short},
		"for nothing":                {typ: typeOpen, node: b.id},
		"a relay's number":           {typ: typeOpen, node: b.id, kind: Call, request: relayRequest},
		"a relay without its number": {typ: typeOpen, node: b.id, kind: Call, flags: flagLast},
		"a relay that goes further":  {typ: typeOpen, node: b.id, kind: Call, flags: flagLast, request: relayRequest, via: []identity.NodeID{b.id}},
		"reserve for itself":         {typ: typeReserve, node: a.id, kind: Call},
		"reserve for the relay":      {typ: typeReserve, node: r.id, kind: Call},
		"reserve a ring's flow":      {typ: typeReserve, node: b.id, kind: Short},
	} {
		m.request |= 5
		before := r.server.counts.refused[Malformed]
		r.server.Receive(g.now, a.id, m.encode())
		if r.server.counts.refused[Malformed] != before+1 {
			t.Errorf("%s was not refused", name)
		}
		g.pass(time.Second)
	}
	for name, m := range map[string]message{
		"accept of nothing":  {typ: typeAccept, request: 3 | relayRequest, label: 9},
		"opened, nothing":    {typ: typeOpened, request: 3 | relayRequest, label: 9, rate: 1, life: 1},
		"refused, nothing":   {typ: typeRefused, request: 3 | relayRequest},
		"renewal of nothing": {typ: typeRenew, request: 3, label: 9},
	} {
		r.server.Receive(g.now, a.id, m.encode())
		g.run()
		if len(r.server.flows) != 0 {
			t.Errorf("%s made a flow", name)
		}
	}
	r.server.Receive(g.now, a.id, []byte{99})
	r.server.Receive(g.now, identity.NodeID{9}, (&message{typ: typeOpen, request: 1, node: b.id, kind: Call}).encode())
	if len(r.server.asking) != 0 || r.server.counts.malformed != 1 {
		t.Error("a stranger was served")
	}
	consistent(t, r.server)
}

// A target's yes must be its own, and to what it was asked.
func TestForgedConsent(t *testing.T) {
	g, r, n := star(t, Limits{}, 3)
	a, b, x := n[0], n[1], n[2]
	b.mute = true
	q := a.ask(r, Request{Target: b.id, Kind: Call})
	asked := r.server.asking[0]
	for _, m := range []message{
		{typ: typeAccept, request: asked.number, label: asked.label},
		{typ: typeOpened, request: asked.number, label: newLabel(x.id, r.id), rate: 1, life: 1},
		{typ: typeRefused, request: asked.number},
	} {
		for _, who := range []*node{x, a} {
			r.server.Receive(g.now, who.id, m.encode())
			g.run()
			if len(r.server.flows) != 0 || len(r.server.asking) != 1 {
				t.Fatalf("%s answered for b with type %d", who.name, m.typ)
			}
		}
	}
	r.server.Receive(g.now, b.id, (&message{typ: typeAccept, request: asked.number, label: asked.label ^ 1}).encode())
	g.run()
	a.refused(q, Declined)
	consistent(t, r.server)

	// A target can't choose the label.
	g.pass(time.Second)
	q = a.ask(r, Request{Target: b.id, Kind: Call})
	asked = r.server.asking[0]
	r.server.Receive(g.now, b.id, (&message{typ: typeOpened, request: asked.number, label: newLabel(b.id, r.id), rate: 1, life: 1}).encode())
	g.run()
	a.refused(q, Malformed)
	consistent(t, r.server)

	// A next relay's label must be one that it may give out.
	r.links = []*node{a} // the test speaks for b
	a.ask(r, Request{Target: identity.NodeID{7}, Kind: Call, Via: []identity.NodeID{b.id}})
	asked = r.server.asking[0]
	r.server.Receive(g.now, b.id, (&message{typ: typeOpened, request: asked.number, label: newLabel(r.id, b.id), rate: 1, life: 1}).encode())
	g.run()
	if e := last[Refused](a); e.Reason != Malformed {
		t.Errorf("%+v", e)
	}
	consistent(t, r.server)
}

// Nobody but a flow's ends can end or prolong it.
func TestFlowsOfOthers(t *testing.T) {
	g, r, n := star(t, Limits{}, 3)
	a, b, x := n[0], n[1], n[2]
	ha, hb := call(a, r, b)
	for _, l := range []Label{ha.Label, hb.Label} {
		r.server.Receive(g.now, x.id, (&message{typ: typeClose, label: l}).encode())
		r.server.Receive(g.now, x.id, (&message{typ: typeRenew, request: 1, label: l}).encode())
		g.run()
		b := frame(l, 128, 1, 2, 3)
		if _, ok := r.fwd.Forward(1, x.id, b); ok {
			t.Error("a third party's frame went into the flow")
		}
	}
	if !g.talks(a, ha, b, hb) || r.server.counts.refused[Gone] != 2 {
		t.Error("a third party reached the flow")
	}
}

// Guessing labels is hopeless where it isn't impossible: 30 bits for who
// forges a neighbour's address, and nothing at all for a neighbour.
func TestLabels(t *testing.T) {
	a, b := identity.NodeID{1}, identity.NodeID{2}
	seen := map[Label]bool{}
	for range 1000 {
		la, lb := newLabel(a, b), newLabel(b, a)
		if !given(b, a, la) || given(a, b, la) || !given(a, b, lb) || given(b, a, lb) || la&shortBit != 0 {
			t.Fatalf("%x %x", la, lb)
		}
		seen[la], seen[lb] = true, true
	}
	if len(seen) != 2000 {
		t.Errorf("%d labels of 2000", len(seen))
	}
	var or, and Label = 0, 1<<32 - 1
	for l := range seen {
		or, and = or|l, and&l
	}
	if or != 1<<31-1 || and != 0 {
		t.Errorf("bits that never change: %x %x", or, and)
	}
}

// A neighbour that floods with messages is heard a few times a second, and
// others as ever.
func TestFloodOfMessages(t *testing.T) {
	g, r, n := star(t, Limits{}, 3)
	m := (&message{typ: typeReserve, request: 1, node: n[1].id, kind: Call}).encode()
	for range 1000 {
		r.server.Receive(g.now, n[0].id, m)
	}
	if c := r.server.counts; c.granted+c.refused[Share] != controlBurst || c.flooded != 1000-controlBurst {
		t.Errorf("%+v", c)
	}
	g.run()
	g.pass(10 * time.Second)
	before := r.server.counts.granted
	for range 1000 {
		r.server.Receive(g.now, n[0].id, m)
	}
	if got := r.server.counts.granted - before; got != min(controlBurst, 10*controlRate) {
		t.Errorf("%d after ten seconds", got)
	}
	n[2].voucher(r, n[1], Call)
	for i := range 2 * maxAskingOwn {
		n[2].ask(r, Request{Target: n[1].id, Kind: Link})
		if got := len(r.server.asking); got > maxAskingOwn {
			t.Errorf("%d open questions after %d", got, i)
		}
	}
	consistent(t, r.server)
}
