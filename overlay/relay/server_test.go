// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// The target is asked, agrees, and frames go both ways; it gets what the
// opener has to say. Nothing goes to it before.
func TestOpenAsksTheTarget(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	q := a.ask(r, Request{Target: b.id, Kind: Call, Blob: []byte("sealed")})
	in := last[Invited](b)
	if in.Relay != r.id || in.From != a.id || in.Kind != Call || !bytes.Equal(in.Blob, []byte("sealed")) || in.Nested || in.TwoHop {
		t.Errorf("%+v", in)
	}
	none(a)
	if len(r.carried) != 0 {
		t.Error("a flow before the target agreed")
	}
	if err := b.client.Accept(g.now, in.Request); err != nil {
		t.Fatal(err)
	}
	g.run()
	oa, ob := last[Opened](a), last[Opened](b)
	if oa.Request != q || oa.Peer != b.id || oa.Kind != Call || !oa.Ours || oa.Peak != defaultCallRate || oa.Load != 50 {
		t.Errorf("%+v", oa)
	}
	if ob.Request != in.Request || ob.Peer != a.id || ob.Ours || ob.Peak != defaultCallRate || string(ob.Blob) != "sealed" {
		t.Errorf("%+v", ob)
	}
	if !g.talks(a, oa.At, b, ob.At) {
		t.Error("nothing comes through")
	}
	if err := b.client.Accept(g.now, in.Request); !errors.Is(err, ErrNone) {
		t.Errorf("accepted twice: %v", err)
	}
	consistent(t, r.server)

	if err := b.client.Close(g.now, ob.At); err != nil {
		t.Fatal(err)
	}
	g.run()
	if d := last[Down](a); d.At != oa.At || d.Reason != Closed {
		t.Errorf("%+v", d)
	}
	last[Down](b)
	if g.talks(a, oa.At, b, ob.At) || r.fwd.Flows() != 0 {
		t.Error("the flow outlived its end")
	}
	consistent(t, r.server)
}

// With a voucher the flow is there in one round trip: no question to the
// target, no invitation.
func TestOpenWithVoucher(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	v := b.voucher(r, a, Call)
	info, err := ReadVoucher(v)
	if err != nil || info.Relay != r.id || info.Owner != b.id || info.Peer != a.id || info.Kind != Call || info.Expires.Sub(g.now) != voucherLife {
		t.Errorf("%+v %v", info, err)
	}
	before := g.sent
	q := a.ask(r, Request{Target: b.id, Kind: Call, Voucher: v, Blob: []byte("x")})
	oa, ob := last[Opened](a), last[Opened](b)
	if g.sent-before != 3 { // OPEN, OPENED, INVITE
		t.Errorf("%d messages", g.sent-before)
	}
	if oa.Request != q || ob.Request != 0 || ob.Peer != a.id || string(ob.Blob) != "x" || !g.talks(a, oa.At, b, ob.At) {
		t.Errorf("%+v, %+v", oa, ob)
	}
	consistent(t, r.server)

	// Shown again by the same node, it moves the flow and doesn't double it.
	a.ask(r, Request{Target: b.id, Kind: Call, Voucher: v})
	if d := last[Down](b); d.At != ob.At {
		// the new one is told after the end of the old one
		t.Errorf("%+v", d)
	}
	if c := r.server.Carried(); c.Calls != 1 || r.fwd.Flows() != 2 {
		t.Errorf("%+v", c)
	}
	consistent(t, r.server)
}

func TestReservationIsRenewed(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	first := b.voucher(r, a, Call)
	g.pass(4 * time.Minute)
	second := b.voucher(r, a, Call)
	if bytes.Equal(first, second) || r.server.Carried().Vouchers != 1 {
		t.Error("not renewed")
	}
	g.pass(2 * time.Minute)
	q := a.ask(r, Request{Target: b.id, Kind: Call, Voucher: first})
	a.refused(q, Voucher) // its own time is over
	a.ask(r, Request{Target: b.id, Kind: Call, Voucher: second})
	if oa, ob := last[Opened](a), last[Opened](b); !g.talks(a, oa.At, b, ob.At) {
		t.Error("nothing comes through")
	}
}

// Two relays in a row, for a pair that shares no neighbour.
func TestTwoHops(t *testing.T) {
	g := newRig(t)
	a, r1, r2, b, c := g.node("a", Limits{}), g.node("r1", Limits{}), g.node("r2", Limits{}), g.node("b", Limits{}), g.node("c", Limits{})
	for _, l := range [][2]*node{{a, r1}, {r1, r2}, {r2, b}, {r2, c}} {
		g.link(l[0], l[1])
	}
	q := a.ask(r1, Request{Target: b.id, Kind: Call})
	a.refused(q, NoLink)
	q = a.ask(r1, Request{Target: b.id, Kind: Call, Via: []identity.NodeID{c.id, r2.id}, Blob: []byte("hi")})
	none(a)
	in := last[Invited](b)
	if in.Relay != r2.id || in.From != r1.id || !in.TwoHop || string(in.Blob) != "hi" {
		t.Errorf("%+v", in)
	}
	b.client.Accept(g.now, in.Request)
	g.run()
	oa, ob := last[Opened](a), last[Opened](b)
	if oa.Request != q || oa.Peak != peakTwoHop || ob.Peak != peakTwoHop || !g.talks(a, oa.At, b, ob.At) {
		t.Errorf("%+v %+v", oa, ob)
	}
	if r1.server.Carried().TwoHop != 1 || r2.server.Carried().TwoHop != 1 {
		t.Error("not counted as such")
	}
	// Renewals reach the second relay; both keep the flow while it is used.
	for range 12 * 60 / 20 {
		g.pass(20 * time.Second)
		if !g.talks(a, oa.At, b, ob.At) {
			t.Fatal("the flow ended after", g.now.Sub(g.start))
		}
	}
	// A voucher of the second relay's says nothing here, and nobody is his own relay.
	q = a.ask(r1, Request{Target: c.id, Kind: Call, Via: []identity.NodeID{r2.id}, Voucher: c.voucher(r2, a, Call)})
	a.refused(q, Voucher)
	q = a.ask(r1, Request{Target: c.id, Kind: Call, Via: []identity.NodeID{a.id}})
	a.refused(q, NoLink)
	g.pass(holdTime)
	if !g.talks(a, oa.At, b, ob.At) {
		t.Error("the flow ended")
	}
	// One only: the next is refused by either relay.
	q = a.ask(r1, Request{Target: c.id, Kind: Link, Via: []identity.NodeID{r2.id}})
	a.refused(q, Busy)
	consistent(t, r1.server)
	consistent(t, r2.server)
	b.client.Close(g.now, ob.At)
	g.run()
	if d := last[Down](a); d.At != oa.At || r1.fwd.Flows() != 0 || r2.fwd.Flows() != 0 {
		t.Errorf("%+v", d)
	}
	// The second relay's no comes through, and leaves nothing.
	q = a.ask(r1, Request{Target: c.id, Kind: Call, Via: []identity.NodeID{r2.id}})
	in = last[Invited](c)
	c.client.Decline(g.now, in.Request)
	g.run()
	a.refused(q, Declined)
	consistent(t, r1.server)
	consistent(t, r2.server)

	// Nested flows are two-hop flows as well.
	a.ask(r1, Request{Target: r2.id, Kind: Call, Nested: true})
	in = last[Invited](r2)
	r2.client.Accept(g.now, in.Request)
	g.run()
	if o := last[Opened](a); !o.Nested || !in.Nested || o.Peak != peakTwoHop || r1.server.Carried().TwoHop != 1 || !r1.carried[len(r1.carried)-1].Rates.Nested {
		t.Errorf("%+v", o)
	}
}

func TestEndings(t *testing.T) {
	t.Run("declined", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		q := a.ask(r, Request{Target: b.id, Kind: Call})
		b.client.Decline(g.now, last[Invited](b).Request)
		g.run()
		a.refused(q, Declined)
		consistent(t, r.server)
	})
	t.Run("no answer, then a late one", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		q := a.ask(r, Request{Target: b.id, Kind: Call})
		in := last[Invited](b)
		for _, i := range b.client.invites {
			i.until = g.now.Add(time.Hour) // a client that doesn't keep time
		}
		g.pass(askTime)
		a.refused(q, Timeout)
		consistent(t, r.server)
		b.client.Accept(g.now, in.Request)
		g.run()
		last[Opened](b)
		if d := last[Down](b); d.Reason != Timeout || r.fwd.Flows() != 0 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("no answer of a second relay, then a late one", func(t *testing.T) {
		g := newRig(t)
		a, r1, r2, b := g.node("a", Limits{}), g.node("r1", Limits{}), g.node("r2", Limits{}), g.node("b", Limits{})
		for _, l := range [][2]*node{{a, r1}, {r1, r2}, {r2, b}} {
			g.link(l[0], l[1])
		}
		q := a.ask(r1, Request{Target: b.id, Kind: Call, Via: []identity.NodeID{r2.id}})
		r2.server.asking[0].until = g.now.Add(time.Hour)
		b.client.invites[0].until = g.now.Add(time.Hour)
		g.pass(askTime)
		a.refused(q, Timeout)
		b.client.Accept(g.now, last[Invited](b).Request)
		g.run()
		if d := last[Down](b); d.Reason != Timeout || r2.fwd.Flows() != 0 {
			t.Errorf("%+v", d)
		}
		consistent(t, r1.server)
		consistent(t, r2.server)
	})
	t.Run("a relay that says nothing", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		r.links = nil
		q := a.ask(r, Request{Target: b.id, Kind: Call})
		g.pass(answerTime)
		a.refused(q, Timeout)
	})
	t.Run("link to the opener", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		ha, hb := call(a, r, b)
		g.cut(a, r)
		if d := last[Down](a); d.At != ha || d.Reason != Gone {
			t.Errorf("%+v", d)
		}
		if d := last[Down](b); d.At != hb || d.Reason != Gone {
			t.Errorf("%+v", d)
		}
		consistent(t, r.server)
	})
	t.Run("link to the target while it is asked", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		q := a.ask(r, Request{Target: b.id, Kind: Call})
		g.cut(b, r)
		a.refused(q, Gone)
		consistent(t, r.server)
	})
	t.Run("link to the opener while the target is asked", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		a.ask(r, Request{Target: b.id, Kind: Call})
		g.cut(a, r)
		b.client.Accept(g.now, last[Invited](b).Request)
		g.run()
		last[Opened](b)
		last[Down](b)
		consistent(t, r.server)
	})
	t.Run("never used", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		call(a, r, b)
		g.pass(firstUse - time.Second)
		none(a)
		g.pass(time.Second)
		if d := last[Down](a); d.Reason != Idle {
			t.Errorf("%+v", d)
		}
		last[Down](b)
		consistent(t, r.server)
	})
	t.Run("silent", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		ha, hb := call(a, r, b)
		g.pass(20 * time.Second)
		g.talks(a, ha, b, hb)
		g.pass(idleLife - time.Second)
		none(a)
		g.pass(2 * time.Second)
		if d := last[Down](a); d.Reason != Idle {
			t.Errorf("%+v", d)
		}
	})
	t.Run("not renewed", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		ha, hb := call(a, r, b)
		a.client.at(ha).renewAt = time.Time{}
		a.client.at(ha).until = g.now.Add(time.Hour)
		lasted := 0
		for g.talks(a, ha, b, hb) {
			g.pass(10 * time.Second)
			lasted += 10
		}
		if d := last[Down](a); d.Reason != Idle || lasted != int((flowLife+renewSlack)/time.Second) {
			t.Errorf("%+v after %d s", d, lasted)
		}
	})
	t.Run("lasted too long", func(t *testing.T) {
		g, a, r, b := three(t, Limits{Time: 20 * time.Minute})
		ha, hb := call(a, r, b)
		lasted := 0
		for g.talks(a, ha, b, hb) {
			g.pass(10 * time.Second)
			lasted += 10
		}
		if d := last[Down](a); d.Reason != Over || lasted != 20*60 {
			t.Errorf("%+v after %d s", d, lasted)
		}
	})
	t.Run("a renewal that is refused", func(t *testing.T) {
		g, a, r, b := three(t, Limits{})
		ha, hb := call(a, r, b)
		r.server.end(r.server.flows[0], Closed, a.id) // it forgot to tell
		g.run()
		for range 10 {
			g.talks(a, ha, b, hb)
			g.pass(30 * time.Second)
		}
		if d := last[Down](a); d.Reason != Gone {
			t.Errorf("%+v", d)
		}
	})
}

// What can't be asked is not asked.
func TestClientErrors(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	if _, err := a.client.Open(g.now, b.id, Request{Target: r.id, Kind: Call}); !errors.Is(err, ErrNoLink) {
		t.Error(err)
	}
	for _, q := range []Request{{Blob: make([]byte, MaxBlob+1)}, {Via: make([]identity.NodeID, MaxVia+1)}, {Voucher: make([]byte, maxVoucher+1)}} {
		if _, err := a.client.Open(g.now, r.id, q); err == nil {
			t.Error("oversized request")
		}
	}
	for i := range maxRequests + 1 {
		_, err := a.client.Reserve(g.now, r.id, b.id, Call)
		if want := i == maxRequests; errors.Is(err, ErrMany) != want {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if err := a.client.Close(g.now, Hop{r.id, 1}); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if err := a.client.Decline(g.now, 1); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// An invitation by voucher must be by one that was reserved there, for that
// node and kind.
func TestInvitedByVoucher(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	v, err := parseVoucher(b.voucher(r, a, Call))
	if err != nil {
		t.Fatal(err)
	}
	good := message{typ: typeInvite, request: 1 | relayRequest, node: a.id, kind: Call, label: newLabel(r.id, b.id), serial: v.serial, bySerial: true}
	for name, change := range map[string]func(*message){
		"serial": func(m *message) { m.serial++ }, "peer": func(m *message) { m.node[0]++ }, "kind": func(m *message) { m.kind = Link },
	} {
		m := good
		change(&m)
		b.client.Receive(g.now, r.id, m.encode())
		if out, ok := b.client.Poll(); !ok || !bytes.Equal(out.Body, (&message{typ: typeClose, label: m.label, reason: Declined}).encode()) {
			t.Errorf("%s: not closed", name)
		}
		g.run()
		none(b)
	}
	b.client.Receive(g.now, r.id, good.encode())
	g.run()
	last[Opened](b)
	g.pass(voucherLife)
	good.label ^= 1
	b.client.Receive(g.now, r.id, good.encode())
	g.run()
	none(b)
}

// What a relay says about a flow after its time, or about another one, makes
// none.
func TestStrangeOpened(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	links := r.links
	r.links = nil // its answers come late
	q := a.ask(r, Request{Target: b.id, Kind: Call})
	g.pass(answerTime)
	a.refused(q, Timeout)
	r.links = links
	late := message{typ: typeOpened, request: q, label: newLabel(r.id, a.id), rate: 64, life: 300}
	a.client.Receive(g.now, r.id, late.encode())
	if out, ok := a.client.Poll(); !ok || !bytes.Equal(out.Body, (&message{typ: typeClose, label: late.label, reason: Timeout}).encode()) {
		t.Error("the relay keeps a flow that nobody waits for")
	}
	none(a)

	ha, hb := call(a, r, b)
	f := a.client.at(ha)
	for len(a.client.requests) == 0 { // until it renews
		g.talks(a, ha, b, hb)
		g.now = g.now.Add(time.Second)
		a.client.Advance(g.now)
	}
	until := f.until
	a.client.Receive(g.now, r.id, (&message{typ: typeOpened, request: a.client.requests[0].request, label: ha.Label ^ 1, rate: 64, life: 3000}).encode())
	if f.until != until {
		t.Error("prolonged by the word about another flow")
	}
}

// An end that opens no flow of its own hears nothing, whatever the relay sends.
func TestClientRefusesStrangeMessages(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	good := newLabel(r.id, b.id)
	for name, m := range map[string]message{
		"label of its own giving":      {typ: typeInvite, request: 1 | relayRequest, node: a.id, kind: Call, label: good ^ largerBit},
		"label of a ring":              {typ: typeInvite, request: 1 | relayRequest, node: a.id, kind: Call, label: good | shortBit},
		"kind of a ring":               {typ: typeInvite, request: 1 | relayRequest, node: a.id, kind: Short, label: good},
		"number of a user":             {typ: typeInvite, request: 1, node: a.id, kind: Call, label: good},
		"voucher nobody reserved":      {typ: typeInvite, request: 1 | relayRequest, node: a.id, kind: Call, label: good, serial: 7, bySerial: true},
		"opened what nobody asked for": {typ: typeOpened, request: 77, label: good, rate: 64, life: 300},
		"granted, likewise":            {typ: typeGrant, request: 77, voucher: []byte{1}, life: 300},
		"refused, likewise":            {typ: typeRefused, request: 77},
		"closed, likewise":             {typ: typeClose, label: good},
		"a server's":                   {typ: typeReserve, request: 1, node: a.id, kind: Call},
	} {
		b.client.Receive(g.now, r.id, m.encode())
		g.run()
		if len(b.events) != 0 {
			t.Errorf("%s: %+v", name, b.events)
			b.events = nil
		}
	}
	if n := b.client.Malformed(); n != 9 { // a CLOSE of what is gone is nobody's fault
		t.Errorf("%d counted", n)
	}
	for range 2 * maxInvitesOne {
		b.client.Receive(g.now, r.id, (&message{typ: typeInvite, request: 5 | relayRequest, node: a.id, kind: Call, label: newLabel(r.id, b.id)}).encode())
	}
	if len(b.client.invites) != maxInvitesOne {
		t.Errorf("%d invitations of one relay", len(b.client.invites))
	}
}
