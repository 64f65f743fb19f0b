// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// rig is a few nodes and their links, all driven by hand: messages arrive at
// once and in order, and frames go through real Forwarders.
type rig struct {
	t     *testing.T
	start time.Time
	now   time.Time
	nodes []*node // in order of making: nothing here follows map order
	byID  map[identity.NodeID]*node
	sent  int // messages
}

type node struct {
	rig     *rig
	name    string
	key     ed25519.PrivateKey
	id      identity.NodeID
	addr    netip.Addr
	server  *Server
	client  *Client
	fwd     *Forwarder[identity.NodeID]
	links   []*node
	used    map[Hop]time.Time // of own flows
	events  []Event           // of the client
	heard   []string          // inner datagrams that ended here, with their hop
	mute    bool              // its client ignores what comes
	carried []FlowUp
}

func newRig(t *testing.T) *rig {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return &rig{t: t, start: start, now: start, byID: make(map[identity.NodeID]*node)}
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// node adds a node with limits; its address is 45.n.0.1.
func (r *rig) node(name string, l Limits) *node {
	n := &node{rig: r, name: name, key: keyOf(name), used: make(map[Hop]time.Time)}
	n.id = identity.NodeIDOf(n.key.Public().(ed25519.PublicKey))
	n.addr = netip.AddrFrom4([4]byte{45, byte(len(r.nodes)), 0, 1})
	n.fwd = NewForwarder[identity.NodeID](l.TotalRate())
	n.server = NewServer(ServerConfig{Key: n.key, Limits: l, LastUsed: func(h Hop) time.Time {
		u, ok := n.fwd.Usage(End[identity.NodeID]{Peer: h.Node, Label: h.Label})
		if !ok || u.Last == 0 {
			return time.Time{}
		}
		return r.start.Add(u.Last)
	}})
	n.client = NewClient(ClientConfig{
		Self: n.id, Rand: rand.New(rand.NewPCG(1, 1)), LastUsed: func(h Hop) time.Time { return n.used[h] },
	})
	r.nodes = append(r.nodes, n)
	r.byID[n.id] = n
	return n
}

func (r *rig) link(a, b *node) {
	sum := sha256.Sum256([]byte(min(a.name, b.name) + max(a.name, b.name)))
	salt := Salt(sum[:16])
	for _, x := range [][2]*node{{a, b}, {b, a}} {
		x[0].links = append(x[0].links, x[1])
		x[0].server.LinkUp(r.now, x[1].id, Neighbour{Addr: x[1].addr, Salt: salt})
		x[0].client.LinkUp(r.now, x[1].id, salt)
	}
	r.run()
}

func (r *rig) cut(a, b *node) {
	for _, x := range [][2]*node{{a, b}, {b, a}} {
		x[0].links = slices.DeleteFunc(x[0].links, func(n *node) bool { return n == x[1] })
		x[0].server.LinkDown(r.now, x[1].id)
		x[0].client.LinkDown(r.now, x[1].id)
	}
	r.run()
}

// run carries messages until nobody has anything to say.
func (r *rig) run() {
	for busy := true; busy; {
		busy = false
		for _, n := range r.nodes {
			for _, poll := range []func() (Out, bool){n.server.Poll, n.client.Poll} {
				for m, ok := poll(); ok; m, ok = poll() {
					busy = true
					r.sent++
					if to := r.byID[m.To]; slices.Contains(n.links, to) {
						to.receive(n, m.Body)
					}
				}
			}
			for e, ok := n.server.NextEvent(); ok; e, ok = n.server.NextEvent() {
				n.drive(e)
			}
			for e, ok := n.client.NextEvent(); ok; e, ok = n.client.NextEvent() {
				n.own(e)
			}
		}
	}
}

func (n *node) receive(from *node, body []byte) {
	if !n.server.Receive(n.rig.now, from.id, body) && !n.mute {
		n.client.Receive(n.rig.now, from.id, body)
	}
}

// drive does what a driver does for a Server.
func (n *node) drive(e Event) {
	switch e := e.(type) {
	case FlowUp:
		if err := n.fwd.Open(End[identity.NodeID]{Peer: e.A.Node, Label: e.A.Label}, End[identity.NodeID]{Peer: e.B.Node, Label: e.B.Label}, e.Rates); err != nil {
			n.rig.t.Errorf("%s: %v", n.name, err)
		}
		n.carried = append(n.carried, e)
	case FlowDown:
		n.fwd.Close(End[identity.NodeID]{Peer: e.A.Node, Label: e.A.Label})
	}
}

// own does what a driver does for a Client; here frames for this node need no
// Conn.
func (n *node) own(e Event) {
	n.events = append(n.events, e)
	switch e := e.(type) {
	case Opened:
		if err := n.fwd.Open(End[identity.NodeID]{Peer: e.At.Node, Label: e.At.Label}, End[identity.NodeID]{}, Rates{Nested: e.Nested}); err != nil {
			n.rig.t.Errorf("%s: own flow: %v", n.name, err)
		}
	case Down:
		n.fwd.Close(End[identity.NodeID]{Peer: e.At.Node, Label: e.At.Label})
	}
}

// pass lets time pass, second by second.
func (r *rig) pass(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(min(time.Second, end.Sub(r.now)))
		for _, n := range r.nodes {
			for _, m := range []interface {
				Advance(time.Time)
				Deadline() time.Time
			}{n.server, n.client} {
				for d := m.Deadline(); !d.IsZero() && !r.now.Before(d); d = m.Deadline() {
					m.Advance(r.now)
				}
			}
		}
		r.run()
	}
}

// say sends a datagram into one of the node's own flows; it comes out in heard
// of whoever it reaches.
func (n *node) say(at Hop, text string) {
	n.used[at] = n.rig.now
	b := AppendFrame(nil, at.Label, append([]byte{128}, text...))
	for from, at := n, n.rig.byID[at.Node]; slices.Contains(at.links, from); {
		to, ok := at.fwd.Forward(n.rig.now.Sub(n.rig.start)+1, from.id, b)
		switch {
		case !ok:
			return
		case to == identity.NodeID{}:
			l, _ := LabelOf(b)
			at.used[Hop{from.id, l}] = n.rig.now
			at.heard = append(at.heard, string(b[HeaderLen+1:]))
			return
		}
		from, at = at, n.rig.byID[to]
	}
}

// talks checks that a datagram goes both ways between two own flows.
func (r *rig) talks(a *node, ha Hop, b *node, hb Hop) bool {
	r.sent++
	there, back := fmt.Sprintf("there %d", r.sent), fmt.Sprintf("back %d", r.sent)
	a.say(ha, there)
	b.say(hb, back)
	return slices.Contains(b.heard, there) && slices.Contains(a.heard, back)
}

// last returns the latest event of a kind at a node's client and forgets all
// up to it; the test fails when there is none.
func last[E Event](n *node) (e E) {
	n.rig.t.Helper()
	for i := len(n.events) - 1; i >= 0; i-- {
		if e, ok := n.events[i].(E); ok {
			n.events = n.events[i+1:]
			return e
		}
	}
	n.rig.t.Fatalf("%s: no %T in %+v", n.name, e, n.events)
	return e
}

// none checks that a node's client had nothing to say.
func none(n *node) {
	n.rig.t.Helper()
	if len(n.events) > 0 {
		n.rig.t.Errorf("%s: %+v", n.name, n.events)
		n.events = nil
	}
}

// ask opens a flow and lets messages run.
func (n *node) ask(relay *node, q Request) (request uint32) {
	n.rig.t.Helper()
	request, err := n.client.Open(n.rig.now, relay.id, q)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.rig.run()
	return request
}

// refused checks that a request was refused with a reason, and nothing opened.
func (n *node) refused(request uint32, why Reason) {
	n.rig.t.Helper()
	e := last[Refused](n)
	if e.Request != request || e.Reason != why {
		n.rig.t.Errorf("%s: request %d refused with %v; want %d, %v", n.name, e.Request, e.Reason, request, why)
	}
	none(n)
}

// voucher has n reserve at a relay for a peer.
func (n *node) voucher(relay, peer *node, k Kind) []byte {
	n.rig.t.Helper()
	if _, err := n.client.Reserve(n.rig.now, relay.id, peer.id, k); err != nil {
		n.rig.t.Fatal(err)
	}
	n.rig.run()
	return last[Granted](n).Voucher
}

// call opens a flow for a call from a to b through r with a voucher.
func call(a, r, b *node) (ha, hb Hop) {
	a.rig.t.Helper()
	a.ask(r, Request{Target: b.id, Kind: Call, Voucher: b.voucher(r, a, Call)})
	return last[Opened](a).At, last[Opened](b).At
}

// three returns a - r - b.
func three(t *testing.T, l Limits) (g *rig, a, r, b *node) {
	g = newRig(t)
	a, r, b = g.node("a", Limits{}), g.node("r", l), g.node("b", Limits{})
	g.link(a, r)
	g.link(r, b)
	return g, a, r, b
}

// consistent checks that a server's books agree with each other.
func consistent(t *testing.T, s *Server) {
	t.Helper()
	want := newLedger(s.cfg.Limits)
	for _, f := range s.flows {
		want.add(f.kind, f.twoHop, f.parties...)
		if s.ends[f.a] != f || s.ends[f.b] != f || f.booking != nil && f.booking.flow != f {
			t.Errorf("flow %+v is not where it should be", f)
		}
	}
	for _, a := range s.asking {
		want.add(a.kind, a.twoHop, a.from, a.next)
	}
	for _, b := range s.book {
		if !b.holds.IsZero() {
			want.add(b.kind, false, b.owner)
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(s.ledger) {
		t.Errorf("ledger\n%+v\nwant\n%+v", s.ledger, want)
	}
	if len(s.ends) != 2*len(s.flows) {
		t.Errorf("%d ends of %d flows", len(s.ends), len(s.flows))
	}
	for _, k := range []Kind{Call, Link, Short} {
		if s.ledger.all[k] > s.cfg.Limits.most(k) {
			t.Errorf("%d %v flows", s.ledger.all[k], k)
		}
	}
}
