// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// chain returns n nodes in a row and how a ring passed along them.
func chain(t *testing.T, n int) (*rig, []*node) {
	g := newRig(t)
	var nodes []*node
	for i := range n {
		nodes = append(nodes, g.node(string(rune('a'+i)), Limits{}))
		if i > 0 {
			g.link(nodes[i-1], nodes[i])
		}
	}
	return g, nodes
}

// rang does what the mesh's events do when a ring has gone along the nodes.
func rang(nodes []*node, trace [16]byte) {
	for i, n := range nodes {
		now := n.rig.now
		switch i {
		case 0:
			n.client.Ring(now, nodes[1].id, trace, true)
		case len(nodes) - 1:
			n.client.Ring(now, nodes[i-1].id, trace, false)
		default:
			n.server.Passed(now, nodes[i-1].id, nodes[i+1].id, trace)
		}
		n.rig.run()
	}
}

// A ring leaves a flow at each hop that both ends can use at once: not one
// message is sent for it.
func TestRingLeavesAFlow(t *testing.T) {
	for hops := 2; hops <= 6; hops++ {
		g, n := chain(t, hops)
		first, end := n[0], n[hops-1]
		before := g.sent
		rang(n, [16]byte{7})
		if g.sent != before {
			t.Errorf("%d messages", g.sent-before)
		}
		oa, ob := last[Opened](first), last[Opened](end)
		if oa.Kind != Short || !oa.Ours || ob.Ours || oa.At.Label&shortBit == 0 {
			t.Errorf("%+v %+v", oa, ob)
		}
		// Used every few seconds it stays; 10 s after the last frame it is gone
		// everywhere.
		for range 30 {
			if !g.talks(first, oa.At, end, ob.At) {
				t.Fatalf("%d nodes: nothing comes through", hops)
			}
			g.pass(5 * time.Second)
		}
		g.pass(shortIdle - 5*time.Second + time.Second)
		for i, x := range n {
			if x.fwd.Flows() != 0 {
				t.Errorf("%d nodes: %s keeps its flow", hops, x.name)
			}
			consistent(t, x.server)
			if i == 0 || i == hops-1 {
				if d := last[Down](x); d.Reason != Idle {
					t.Errorf("%+v", d)
				}
			}
		}
	}
}

// Told again, the flow lives on; after shortLife it ends in any case.
func TestRingProlonged(t *testing.T) {
	g, n := chain(t, 3)
	for range 5 {
		rang(n, [16]byte{7})
		g.pass(8 * time.Second)
	}
	if f := n[1].server.flows[0]; f.born != g.start {
		t.Error("the flow was made anew")
	}
	oa, ob := last[Opened](n[0]), last[Opened](n[2])
	for g.talks(n[0], oa.At, n[2], ob.At) {
		g.pass(5 * time.Second)
	}
	if d := g.now.Sub(g.start); d < shortLife || d > shortLife+10*time.Second {
		t.Errorf("it lasted %v", d)
	}
	last[Down](n[0])
}

// The relay keeps to that when the ends don't, and listens to no message about
// a ring's flow.
func TestRingFlowEndsAtTheRelay(t *testing.T) {
	g, r, n := star(t, Limits{}, 2)
	r.server.Passed(g.now, n[0].id, n[1].id, [16]byte{1})
	g.run()
	at := r.server.flows[0].a
	for _, m := range []message{{typ: typeClose, label: at.Label}, {typ: typeRenew, request: 1, label: at.Label}} {
		r.server.Receive(g.now, n[0].id, m.encode())
	}
	if len(r.server.flows) != 1 || r.server.counts.refused[Gone] != 1 {
		t.Error("a message changed the flow")
	}
	for len(r.server.flows) > 0 && g.now.Sub(g.start) < 2*shortLife {
		r.fwd.Forward(g.now.Sub(g.start)+1, at.Node, frame(at.Label, 128))
		g.pass(5 * time.Second)
	}
	if d := g.now.Sub(g.start); d != shortLife {
		t.Errorf("it lasted %v", d)
	}
}

// A ring that had to turn aside leaves its flow where it went in the end.
func TestRingTurnsAside(t *testing.T) {
	g := newRig(t)
	a, r, b, c := g.node("a", Limits{}), g.node("r", Limits{}), g.node("b", Limits{}), g.node("c", Limits{})
	for _, x := range []*node{a, b, c} {
		g.link(r, x)
	}
	trace := [16]byte{1}
	rang([]*node{a, r, b}, trace)
	r.server.Passed(g.now, a.id, c.id, trace)
	c.client.Ring(g.now, r.id, trace, false)
	g.run()
	oa, oc := last[Opened](a), last[Opened](c)
	if !g.talks(a, oa.At, c, oc.At) || r.server.Carried().Short != 1 {
		t.Error("the flow didn't follow the ring")
	}
	consistent(t, r.server)
}

// Labels of a ring: equal at both ends, different everywhere else.
func TestShortLabel(t *testing.T) {
	a, b := identity.NodeID{1}, identity.NodeID{2}
	if got := ShortLabel(Salt{3}, [16]byte{4}, a, b); got != 0x83809b99 {
		t.Errorf("%#x", got)
	}
	seen := map[Label]bool{}
	for i := range byte(50) {
		for _, l := range []Label{
			ShortLabel(Salt{i}, [16]byte{}, a, b), ShortLabel(Salt{}, [16]byte{i + 1}, a, b),
			ShortLabel(Salt{}, [16]byte{}, identity.NodeID{9, i}, b), ShortLabel(Salt{}, [16]byte{}, a, identity.NodeID{9, i}),
			ShortLabel(Salt{i}, [16]byte{}, b, a),
		} {
			if seen[l] || l&shortBit == 0 {
				t.Errorf("label %x", l)
			}
			seen[l] = true
		}
	}
}

// A label that is taken is not taken over: the newer ring has other routes.
func TestLabelCollision(t *testing.T) {
	g, n := chain(t, 3)
	rang(n, [16]byte{1})
	s := n[1].server
	f := s.flows[0]
	f.trace = [16]byte{2} // as if another ring's had the same labels
	s.Passed(g.now, n[0].id, n[2].id, [16]byte{1})
	if s.counts.collisions != 1 || len(s.flows) != 1 || s.flows[0] != f {
		t.Error("the label was given twice")
	}
	consistent(t, s)
}

// Rings on their way: at most eight flows, half of them of one neighbour; the
// unused ones make room, the used ones stay.
func TestManyRings(t *testing.T) {
	g, r, n := star(t, Limits{}, 30)
	// The test holds both ends itself.
	use := func(f *flow) { r.fwd.Forward(g.now.Sub(g.start)+1, f.a.Node, frame(f.a.Label, 128)) }
	pass := func(from, to int, i byte) { r.server.Passed(g.now, n[from].id, n[to].id, [16]byte{i}); g.run() }
	for i := range byte(8) {
		pass(2*int(i), 2*int(i)+1, i)
	}
	for _, f := range r.server.flows[:3] {
		use(f)
	}
	pass(16, 17, 100)
	if r.server.Carried().Short != 8 || r.server.counts.noShort != 1 {
		t.Errorf("%+v: nobody had to wait", r.server.Carried())
	}
	g.pass(shortGrace)
	pass(16, 17, 100)
	pass(18, 19, 101)
	var kept []byte
	for _, f := range r.server.flows {
		kept = append(kept, f.trace[0])
	}
	if want := []byte{0, 1, 2, 5, 6, 7, 100, 101}; string(kept) != string(want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	consistent(t, r.server)

	// One that brings ring after ring makes room among its own.
	g.pass(shortIdle)
	for i := range byte(3) {
		pass(2*int(i), 2*int(i)+1, i)
	}
	for i := range byte(40) {
		pass(20, 21+int(i)%8, 50+i)
	}
	own := 0
	for _, f := range r.server.flows {
		if f.a.Node == n[20].id {
			own++
		}
	}
	if own != perPeer(Short, defaultShort) || len(r.server.flows) != own+3 {
		t.Errorf("%d of %d flows are the greedy one's", own, len(r.server.flows))
	}
	consistent(t, r.server)

	// When all are used, a silent one goes.
	g.pass(shortIdle)
	for i := range byte(8) {
		pass(2*int(i), 2*int(i)+1, i)
	}
	for _, f := range r.server.flows {
		use(f)
	}
	g.pass(time.Second)
	use(r.server.flows[0])
	g.pass(shortQuiet + time.Second)
	for _, f := range r.server.flows[2:] {
		use(f)
	}
	pass(16, 17, 100) // the first is silent as well, but not for as long as the second
	if len(r.server.flows) != 8 || r.server.flows[0].trace[0] != 0 || r.server.flows[1].trace[0] != 2 {
		t.Error("the one that was silent for longest stayed")
	}
	use(r.server.flows[0])
	pass(18, 19, 101)
	if r.server.flows[7].trace[0] != 100 {
		t.Error("a flow in use made room")
	}
}

func TestPassedNowhere(t *testing.T) {
	g, r, n := star(t, Limits{}, 2)
	r.server.Passed(g.now, n[0].id, n[0].id, [16]byte{})
	r.server.Passed(g.now, n[0].id, identity.NodeID{9}, [16]byte{})
	r.server.Passed(g.now, identity.NodeID{9}, n[0].id, [16]byte{})
	n[0].client.Ring(g.now, identity.NodeID{9}, [16]byte{}, true)
	g.run()
	none(n[0])
	g2, r2, n2 := star(t, Limits{Short: -1}, 2)
	r2.server.Passed(g2.now, n2[0].id, n2[1].id, [16]byte{})
	if len(r.server.flows)+len(r2.server.flows) != 0 || r2.server.counts.noShort != 1 {
		t.Error("a flow to nowhere")
	}
}

// A caller's many copies and many rings: the node's own flows are bounded, and
// those in use stay.
func TestOwnRingFlowsAreBounded(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	a.client.Ring(g.now, r.id, [16]byte{200}, true)
	g.run()
	first := last[Opened](a)
	a.used[first.At] = g.now
	for i := range byte(3 * maxOwnShort) {
		a.client.Ring(g.now, r.id, [16]byte{i}, true)
		g.run()
	}
	if len(a.client.flows) != maxOwnShort || a.client.at(first.At) == nil {
		t.Errorf("%d flows", len(a.client.flows))
	}
	// Nobody can end them by a message.
	a.client.Receive(g.now, r.id, (&message{typ: typeClose, label: first.At.Label}).encode())
	if a.client.at(first.At) == nil {
		t.Error("a ring's flow was closed by a message")
	}
	if err := a.client.Close(g.now, first.At); err != nil || a.client.at(first.At) != nil {
		t.Error(err)
	}
	_ = b
}
