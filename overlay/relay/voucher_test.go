// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// A voucher is good for the two nodes, the relay, the kind and the time that
// it names, and for as long as its owner wants.
func TestVouchersOfOthers(t *testing.T) {
	g := newRig(t)
	a, r, b, x, r2 := g.node("a", Limits{}), g.node("r", Limits{}), g.node("b", Limits{}), g.node("x", Limits{}), g.node("r2", Limits{})
	for _, n := range []*node{a, b, x} {
		g.link(r, n)
		g.link(r2, n)
	}
	good := b.voucher(r, a, Call)
	other := b.voucher(r2, a, Call)
	flip := func(i int) []byte {
		v := bytes.Clone(good)
		v[i] ^= 1
		return v
	}
	forged := func(change func(*voucher)) []byte {
		v, err := parseVoucher(good)
		if err != nil {
			t.Fatal(err)
		}
		change(&v)
		return v.sign(r.key) // by the relay itself, so that nothing but the books tells
	}
	own := func() []byte { // signed by x, who names itself as the relay
		v, _ := parseVoucher(good)
		v.relay = x.key.Public().(ed25519.PublicKey)
		return v.sign(x.key)
	}
	for _, c := range []struct {
		name   string
		who    *node
		target *node
		kind   Kind
		v      []byte
	}{
		{"shown by somebody else", x, b, Call, good},
		{"for somebody else", a, x, Call, good},
		{"for another kind", a, b, Link, good},
		{"of another relay", a, b, Call, other},
		{"of a relay that is none", a, b, Call, own()},
		{"key changed", a, b, Call, flip(5)},
		{"owner changed", a, b, Call, flip(40)},
		{"peer changed", a, b, Call, flip(75)},
		{"kind changed", a, b, Call, flip(108)},
		{"expiry changed", a, b, Call, flip(115)},
		{"serial changed", a, b, Call, flip(128)},
		{"signature changed", a, b, Call, flip(140)},
		{"cut", a, b, Call, good[:len(good)-1]},
		{"longer", a, b, Call, append(bytes.Clone(good), 0)},
		{"version", a, b, Call, append([]byte{2}, good[1:]...)},
		{"signed, but not in the book", a, b, Call, forged(func(v *voucher) { v.serial++ })},
		{"signed, for another owner", a, x, Call, forged(func(v *voucher) { v.owner = x.id })},
		{"signed, for another peer", x, b, Call, forged(func(v *voucher) { v.peer = x.id })},
		{"signed, and expired", a, b, Call, forged(func(v *voucher) { v.expires = g.now.Unix() })},
		{"empty version", a, b, Call, make([]byte, VoucherLen)},
	} {
		q := c.who.ask(r, Request{Target: c.target.id, Kind: c.kind, Voucher: c.v})
		if e := last[Refused](c.who); e.Request != q || e.Reason != Voucher {
			t.Errorf("%s: %+v", c.name, e)
		}
		none(b)
		none(x)
		g.pass(time.Second) // its allowance of messages
	}
	// With a second relay in between a voucher says nothing: it names the opener.
	if r.server.Receive(g.now, a.id, (&message{typ: typeOpen, request: 9 | relayRequest, node: b.id, kind: Call, flags: flagLast, voucher: good}).encode()); r.server.counts.refused[Malformed] != 1 {
		t.Error("a voucher from a relay")
	}
	g.run()
	consistent(t, r.server)

	a.ask(r, Request{Target: b.id, Kind: Call, Voucher: good})
	last[Opened](a)
	if err := b.client.Close(g.now, last[Opened](b).At); err != nil {
		t.Fatal(err)
	}
	g.run()
	last[Down](a)
	a.refused(a.ask(r, Request{Target: b.id, Kind: Call, Voucher: good}), Voucher) // replayed after the end

	late := b.voucher(r, a, Call)
	g.pass(voucherLife)
	a.refused(a.ask(r, Request{Target: b.id, Kind: Call, Voucher: late}), Voucher)
	gone := b.voucher(r, a, Call)
	g.cut(b, r)
	g.link(b, r)
	a.refused(a.ask(r, Request{Target: b.id, Kind: Call, Voucher: gone}), Voucher)
	consistent(t, r.server)
}

// Whoever holds a voucher learns whether it is one.
func TestReadVoucher(t *testing.T) {
	v := voucher{relay: keyOf("r").Public().(ed25519.PublicKey), owner: identity.NodeID{1}, peer: identity.NodeID{2}, kind: Link, expires: 3, serial: 4}
	b := v.sign(keyOf("r"))
	if len(b) != VoucherLen {
		t.Errorf("%d bytes", len(b))
	}
	info, err := ReadVoucher(b)
	if want := (VoucherInfo{identity.NodeIDOf(v.relay), v.owner, v.peer, Link, time.Unix(3, 0)}); err != nil || info != want {
		t.Errorf("%+v %v", info, err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if info, err := ReadVoucher(c); err == nil || info != (VoucherInfo{}) {
			t.Errorf("byte %d changed: %+v", i, info)
		}
	}
}

// A relay's voucher that says something else than was asked for is not handed
// on.
func TestGrantIsChecked(t *testing.T) {
	g, a, r, b := three(t, Limits{})
	r.links = nil // the test answers in its place
	for name, change := range map[string]func(*voucher){
		"owner": func(v *voucher) { v.owner = a.id }, "peer": func(v *voucher) { v.peer = r.id },
		"kind": func(v *voucher) { v.kind = Link }, "relay": func(v *voucher) { v.relay = a.key.Public().(ed25519.PublicKey) },
	} {
		q, _ := b.client.Reserve(g.now, r.id, a.id, Call)
		v := voucher{relay: r.key.Public().(ed25519.PublicKey), owner: b.id, peer: a.id, kind: Call}
		change(&v)
		key := r.key
		if name == "relay" {
			key = a.key
		}
		b.client.Receive(g.now, r.id, (&message{typ: typeGrant, request: q, voucher: v.sign(key), life: 300}).encode())
		g.run()
		b.refused(q, Malformed)
	}
	// A voucher is no answer to OPEN.
	q, _ := b.client.Open(g.now, r.id, Request{Target: a.id, Kind: Call})
	v := voucher{relay: r.key.Public().(ed25519.PublicKey), owner: b.id, peer: a.id, kind: Call}
	b.client.Receive(g.now, r.id, (&message{typ: typeGrant, request: q, voucher: v.sign(r.key), life: 300}).encode())
	g.run()
	b.refused(q, Malformed)
}

// Who reserves and never uses keeps room from others for half a minute, and
// after the third time not at all.
func TestReservedAndNeverUsed(t *testing.T) {
	g, r, n := star(t, Limits{Calls: 1}, 3)
	for i := range maxLapses {
		n[0].voucher(r, n[1], Call)
		q, _ := n[2].client.Reserve(g.now, r.id, n[1].id, Call)
		g.run()
		n[2].refused(q, Busy) // this one's room is kept
		g.pass(holdTime)
		n[2].ask(r, Request{Target: n[1].id, Kind: Call})
		n[1].client.Decline(g.now, last[Invited](n[1]).Request)
		g.run()
		last[Refused](n[2])
		if got := r.server.links[n[0].id].lapses; got != i+1 {
			t.Errorf("%d lapses", got)
		}
		consistent(t, r.server)
		g.pass(voucherLife)
	}
	n[0].voucher(r, n[1], Call) // still a voucher, and no room
	n[2].voucher(r, n[1], Call)
	g.pass(lapseMemory + voucherLife)
	n[0].voucher(r, n[1], Call)
	q, _ := n[2].client.Reserve(g.now, r.id, n[1].id, Call)
	g.run()
	n[2].refused(q, Busy)
}

func TestVoucherBounds(t *testing.T) {
	g, r, n := star(t, Limits{Calls: 1000, Rate: 1e9}, 40)
	for i := range maxOwn {
		n[0].voucher(r, n[1+i], Call)
	}
	q, _ := n[0].client.Reserve(g.now, r.id, n[30].id, Call)
	g.run()
	n[0].refused(q, Share)
	for i := 1; len(r.server.book) < maxBook; i++ {
		for j := range maxOwn {
			n[i].voucher(r, n[(i+j+1)%len(n)], Call)
		}
	}
	q, _ = n[39].client.Reserve(g.now, r.id, n[0].id, Call)
	g.run()
	n[39].refused(q, Busy)
	consistent(t, r.server)
	g.pass(voucherLife)
	if len(r.server.book) != 0 || r.server.ledger.all[Call] != 0 {
		t.Errorf("%d vouchers are left", len(r.server.book))
	}
}
