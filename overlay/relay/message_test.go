// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// samples are messages of each type with everything they may have.
func samples() []message {
	n := identity.NodeID{0xaa, 31: 0xbb}
	return []message{
		{typ: typeReserve, request: 1, node: n, kind: Call},
		{typ: typeGrant, request: 1, voucher: []byte("voucher"), life: 300, load: 50},
		{typ: typeOpen, request: 2, node: n, kind: Link, voucher: []byte("v"), via: []identity.NodeID{n, {1}}, flags: flagNested, blob: []byte("blob")},
		{typ: typeInvite, request: 3 | relayRequest, node: n, kind: Call, label: 0x40000001, flags: flagLast, blob: []byte("blob"), rate: 256, life: 300, serial: 9, bySerial: true},
		{typ: typeAccept, request: 3 | relayRequest, label: 0x40000001},
		{typ: typeOpened, request: 2, label: 0x12345678, rate: 64, life: 300, load: 7},
		{typ: typeRefused, request: 2, reason: Busy, load: 100},
		{typ: typeRenew, request: 4, label: 0x12345678},
		{typ: typeClose, label: 0x12345678, reason: Idle},
	}
}

// The bytes of each type, written down.
func TestGoldenMessages(t *testing.T) {
	node := "aa" + strings.Repeat("00", 30) + "bb"
	one := "01" + strings.Repeat("00", 31)
	for i, want := range []string{
		"01 010004 00000001 020020 " + node + " 030001 01",
		"02 010004 00000001 050007 766f7563686572 0b0004 0000012c 0c0001 32",
		"03 010004 00000002 020020 " + node + " 030001 02 050001 76 060040 " + node + one + " 070001 01 080004 626c6f62",
		"04 010004 80000003 020020 " + node + " 030001 01 040004 40000001 070001 02 080004 626c6f62 0a0004 00000100 0b0004 0000012c 0d0008 0000000000000009",
		"05 010004 80000003 040004 40000001",
		"06 010004 00000002 040004 12345678 0a0004 00000040 0b0004 0000012c 0c0001 07",
		"07 010004 00000002 090001 01 0c0001 64",
		"08 010004 00000004 040004 12345678",
		"09 040004 12345678 090001 0b",
	} {
		m := samples()[i]
		b, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.encode(); !bytes.Equal(got, b) {
			t.Errorf("type %d: %x, want %x", m.typ, got, b)
		}
		if got, err := parseMessage(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("type %d: %+v %v", m.typ, got, err)
		}
		// A later version's field is skipped.
		if got, err := parseMessage(append(bytes.Clone(b), 200, 0, 1, 9)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("type %d with more: %+v %v", m.typ, got, err)
		}
	}
}

func TestGoldenVoucher(t *testing.T) {
	v := voucher{
		relay: keyOf("r").Public().(ed25519.PublicKey), owner: identity.NodeID{1}, peer: identity.NodeID{2},
		kind: Call, expires: 1795435200, serial: 0x0102030405060708,
	}
	b := v.sign(keyOf("r"))
	want := "01 010020 " + hex.EncodeToString(v.relay) + " 020020 01" + strings.Repeat("00", 31) + " 030020 02" + strings.Repeat("00", 31) +
		" 040001 01 050008 000000006b042ac0 060008 0102030405060708 "
	if got, want := hex.EncodeToString(b[:len(b)-64]), strings.ReplaceAll(want, " ", ""); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Ed25519 is deterministic (RFC 8032): the signature is golden as well.
	if got := sha256.Sum256(b); hex.EncodeToString(got[:8]) != "68698addc0c81bea" {
		t.Errorf("%x", got[:8])
	}
}

func TestMalformedMessages(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":        nil,
		"unknown type":   {typeLast + 1},
		"type 0":         {0},
		"no fields":      {typeClose},
		"too long":       make([]byte, maxMessage+1),
		"short request":  {typeAccept, 1, 0, 3, 0, 0, 0},
		"cut":            {typeAccept, 1, 0, 4, 0, 0, 0},
		"half a via":     append((&message{typ: typeOpen, kind: Call}).encode(), 6, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"many vias":      append(append((&message{typ: typeOpen, kind: Call}).encode(), 6, 0, 160), make([]byte, 160)...),
		"long blob":      append(append((&message{typ: typeOpen, kind: Call}).encode(), 8, 2, 1), make([]byte, 513)...),
		"long voucher":   append(append((&message{typ: typeOpen, kind: Call}).encode(), 5, 1, 1), make([]byte, 257)...),
		"fields go back": {typeClose, 9, 0, 1, 1, 4, 0, 4, 1, 1, 1, 1},
	} {
		if m, err := parseMessage(b); err == nil || !reflect.DeepEqual(m, message{}) {
			t.Errorf("%s: %+v", name, m)
		}
	}
	// Fields that a type doesn't have are none of its business.
	m, err := parseMessage([]byte{typeClose, 1, 0, 1, 9, 4, 0, 4, 0, 0, 0, 1, 9, 0, 1, 2})
	if err != nil || m.label != 1 || m.reason != Share || m.request != 0 {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := parseMessage(nil); !errors.Is(err, errMessage) {
		t.Error(err)
	}
}

func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for r := range Over + 2 {
		seen[r.String()] = true
	}
	for k := range Kind(kinds) {
		seen[k.String()] = true
	}
	if len(seen) != int(Over)+2+kinds {
		t.Errorf("%v", seen)
	}
	if s := (&RefusedError{Busy}).Error(); s != "relay: refused: relay is full" {
		t.Error(s)
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.encode())
	}
	f.Add([]byte{})
	f.Add([]byte{typeOpen, 6, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again, err := parseMessage(m.encode())
		if err != nil || !bytes.Equal(again.encode(), m.encode()) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzVoucher(f *testing.F) {
	f.Add((&voucher{relay: make([]byte, 32)}).sign(keyOf("r")))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ReadVoucher(b)
		if err == nil && info.Relay.IsZero() {
			t.Error("a voucher of nobody")
		}
	})
}

// FuzzMachines gives a relay and its users whatever bytes say: messages of
// anybody, links that come and go, rings, time. The books stay in order, and
// whatever was opened is closed in the end.
func FuzzMachines(f *testing.F) {
	for _, m := range samples() {
		f.Add(append([]byte{0, 0, byte(len(m.encode()))}, m.encode()...), uint64(1))
	}
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}, uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if len(b) > 2000 {
			return
		}
		machines(t, b, seed)
	})
}

// The same with random steps, long enough to fill every table.
func TestMachinesAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := make([]byte, 1500)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		machines(t, b, seed)
	}
}

func machines(t *testing.T, script []byte, seed uint64) {
	g, r, n := star(t, Limits{}, 6)
	r2 := g.node("r2", Limits{})
	g.link(r, r2)
	last := g.node("last", Limits{})
	g.link(r2, last)
	all := append([]*node{r, r2, last}, n...)
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var vouchers [][]byte
	for len(script) > 0 {
		a, b := n[next()%len(n)], all[next()%len(all)]
		kind := []Kind{Call, Link, Short}[rng.IntN(3)]
		switch next() % 10 {
		case 0: // bytes from a neighbour
			size := min(next(), len(script))
			r.server.Receive(g.now, a.id, script[:size])
			a.receive(r, script[:size])
			script = script[size:]
		case 1, 2:
			q := Request{Target: b.id, Kind: kind, Nested: rng.IntN(9) == 0, Via: []identity.NodeID{r2.id}}
			if len(vouchers) > 0 && rng.IntN(2) == 0 {
				q.Voucher = vouchers[rng.IntN(len(vouchers))]
			}
			_, _ = a.client.Open(g.now, r.id, q) // too many, or no link
		case 3:
			_, _ = b.client.Reserve(g.now, r.id, a.id, kind)
		case 4, 5:
			r.server.Passed(g.now, a.id, b.id, [16]byte{byte(rng.IntN(4))})
			a.client.Ring(g.now, r.id, [16]byte{byte(rng.IntN(4))}, rng.IntN(2) == 0)
		case 6:
			g.pass(time.Duration(rng.IntN(40)) * time.Second)
		case 7:
			if rng.IntN(4) == 0 {
				g.cut(r, a)
				g.link(r, a)
			}
		case 8:
			for _, x := range all {
				for _, f := range x.client.flows {
					x.say(f.at, "x")
				}
			}
		case 9:
			if len(a.client.flows) > 0 {
				_ = a.client.Close(g.now, a.client.flows[rng.IntN(len(a.client.flows))].at)
			}
		}
		g.run()
		for _, x := range all {
			for _, e := range x.events {
				switch e := e.(type) {
				case Granted:
					vouchers = append(vouchers, e.Voucher)
				case Invited:
					if rng.IntN(4) > 0 {
						_ = x.client.Accept(g.now, e.Request) // out of time
					}
				}
			}
			x.events = nil
		}
		g.run()
		consistent(t, r.server)
		consistent(t, r2.server)
	}
	for _, x := range n {
		g.cut(r, x)
	}
	g.pass(15 * time.Minute)
	for _, x := range all {
		if len(x.server.flows)+len(x.server.asking)+len(x.server.book)+len(x.client.flows)+len(x.client.requests)+len(x.client.invites)+len(x.client.granted)+x.fwd.Flows() != 0 {
			t.Errorf("%s keeps %d flows, %d questions, %d vouchers; its client %d flows; %d directions", x.name,
				len(x.server.flows), len(x.server.asking), len(x.server.book), len(x.client.flows), x.fwd.Flows())
		}
		consistent(t, x.server)
	}
}
