// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// The bytes on the wire.
func TestTestBytes(t *testing.T) {
	k := key(testCred)
	tx := [12]byte{0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae}
	four, six := netip.MustParseAddrPort("192.0.2.1:32853"), netip.MustParseAddrPort("[2001:db8::1]:32853")
	answer := appendAnswer(nil, tx, four, Abilities{Second: 4001, OtherPort: true, OtherPeer: true}, k)
	for _, c := range []struct {
		name string
		b    []byte
		size int
		part string // the new attribute
	}{
		{"test", appendTest(nil, tx, testCred.Tag, FromOtherPeer, 590*time.Second, k), 64, "c0b3000402024e00"},
		{"answer", answer, 64, "c0b200040fa10300"},
		{"answer6", appendAnswer(nil, tx, six, Abilities{}, k), 76, "c0b2000400000000"},
		{"forward", appendForward(nil, tx, testCred.Tag, answer, k), 124, "c0b40040" + hex.EncodeToString(answer)},
	} {
		if len(c.b) != c.size {
			t.Errorf("%s has %d bytes, want %d", c.name, len(c.b), c.size)
		}
		end := len(c.b) - integrityLen
		if got := hex.EncodeToString(c.b[end-len(c.part)/2 : end]); got != c.part {
			t.Errorf("%s: %s, want %s", c.name, got, c.part)
		}
		m, x, ok := parseTest(c.b)
		if !ok || !k.verify(c.b, m) || m.tx != tx {
			t.Errorf("%s doesn't parse and verify", c.name)
		}
		switch c.name {
		case "test":
			if !x.wanted || x.want != FromOtherPeer || x.delay != 590*time.Second {
				t.Errorf("test reads as %+v", x)
			}
		case "answer":
			if x.able != (Abilities{4001, true, true}) || m.mapped != four {
				t.Errorf("answer reads as %+v %+v", m, x)
			}
		case "forward":
			if string(x.forward) != string(answer) {
				t.Errorf("forward has %x", x.forward)
			}
		}
		if _, _, ok := parseTest(c.b[:len(c.b)-4]); ok {
			t.Errorf("%s parses when cut short", c.name)
		}
	}
	// Nodes that don't know tests take one for a probe.
	if m, ok := parse(appendTest(nil, tx, testCred.Tag, Here, 0, k)); !ok || !m.request || m.use {
		t.Errorf("a test reads as %+v", m)
	}
}

// vantageRig is a Vantage with three peers.
type vantageRig struct {
	*Vantage
	now  time.Time
	path []sock.Path
	n    byte
}

func newVantageRig() *vantageRig {
	v := &vantageRig{Vantage: NewVantage(rand.New(rand.NewPCG(1, 1))), now: epoch}
	v.SetSecond(Second{Local: 2, Port: 4001, On: true})
	for i, a := range []string{"198.51.100.1:1000", "203.0.113.1:1000", "203.0.113.2:1000"} {
		v.path = append(v.path, sock.Path{Remote: netip.MustParseAddrPort(a)})
		v.SetPeer(Peer(i), pairCred(9, byte(i)), pairCred(byte(i), 9), v.path[i])
	}
	return v
}

// ask sends a test of a peer's, and returns all that comes of it.
func (v *vantageRig) ask(peer byte, path sock.Path, want Want, delay time.Duration) []Datagram {
	v.n++
	c := pairCred(9, peer)
	v.Receive(v.now, path, appendTest(nil, [12]byte{v.n}, c.Tag, want, delay, key(c)))
	return v.drain()
}

func (v *vantageRig) drain() (out []Datagram) {
	for {
		d, ok := v.Poll()
		if !ok {
			return out
		}
		d.B = append([]byte(nil), d.B...)
		out = append(out, d)
	}
}

func TestVantage(t *testing.T) {
	v := newVantageRig()
	fresh := sock.Path{Local: 0, Remote: netip.MustParseAddrPort("198.51.100.1:7777")}

	got := v.ask(0, fresh, Here, 0)
	if len(got) != 1 || got[0].Path != fresh {
		t.Fatalf("plain test: %v", got)
	}
	m, x, ok := parseTest(got[0].B)
	if !ok || !key(pairCred(9, 0)).verify(got[0].B, m) || m.mapped != fresh.Remote || x.able != (Abilities{4001, true, true}) {
		t.Errorf("answer %+v %+v", m, x)
	}

	got = v.ask(0, fresh, FromOtherPort, 0)
	if len(got) != 1 || got[0].Path != (sock.Path{Local: 2, Remote: fresh.Remote}) {
		t.Errorf("other port: %v", got)
	}

	// Two other peers in turn, and what they make of it.
	for i := byte(1); i <= 2; i++ {
		got = v.ask(0, fresh, FromOtherPeer, 0)
		if len(got) != 1 || got[0].Path != v.path[i] {
			t.Fatalf("other peer: %v", got)
		}
		other := NewVantage(rand.New(rand.NewPCG(2, 2)))
		other.SetPeer(7, pairCred(i, 9), pairCred(9, i), sock.Path{Remote: netip.MustParseAddrPort("192.0.2.99:1")})
		if !other.Receive(epoch, sock.Path{Local: 3, Remote: netip.MustParseAddrPort("192.0.2.99:1")}, got[0].B) {
			t.Fatal("the other peer refuses")
		}
		d, ok := other.Poll()
		m, _ := parse(d.B)
		if !ok || d.Path != (sock.Path{Local: 3, Remote: fresh.Remote}) || m.mapped != fresh.Remote || !key(pairCred(9, 0)).verify(d.B, m) {
			t.Errorf("the other peer sends %v to %v", m, d.Path)
		}
	}

	// A late answer goes out when it is due, in order.
	if got = v.ask(0, fresh, Here, 20*time.Second); len(got) != 0 {
		t.Errorf("late answer at once: %v", got)
	}
	v.ask(0, v.path[0], Here, 10*time.Second)
	if at := v.Deadline(); at != epoch.Add(10*time.Second) {
		t.Errorf("deadline %v", at)
	}
	for i, want := range []sock.Path{v.path[0], fresh} {
		v.Advance(v.Deadline().Add(-time.Millisecond))
		if early := v.drain(); len(early) != 0 {
			t.Errorf("early: %v", early)
		}
		v.Advance(v.Deadline())
		if got = v.drain(); len(got) != 1 || got[0].Path != want {
			t.Errorf("late answer %d: %v", i, got)
		}
	}
	if !v.Deadline().IsZero() {
		t.Error("still waits")
	}

	// What is not a test of a peer's is left to others or dropped.
	c := pairCred(9, 0)
	for what, b := range map[string][]byte{
		"a probe":       appendRequest(nil, [12]byte{1}, c.Tag, false, key(c)),
		"a wrong key":   appendTest(nil, [12]byte{1}, c.Tag, Here, 0, key(pairCred(9, 1))),
		"a wrong tag":   appendTest(nil, [12]byte{1}, [8]byte{5}, Here, 0, key(c)),
		"an answer":     appendAnswer(nil, [12]byte{1}, fresh.Remote, Abilities{}, key(c)),
		"no such thing": appendTest(nil, [12]byte{1}, c.Tag, 3, 0, key(c)),
	} {
		if v.Receive(v.now, fresh, b) || len(v.drain()) > 0 {
			t.Errorf("takes %s", what)
		}
	}
	v.ask(0, fresh, Here, 20*time.Second)
	v.RemovePeer(0)
	if got = v.ask(0, fresh, Here, 0); len(got) != 0 || !v.Deadline().IsZero() {
		t.Error("a peer that was removed is served")
	}
}

// One test causes one packet at most; it goes to where the test came from or
// to a peer; and of them there are few.
func TestVantageBudgets(t *testing.T) {
	v := newVantageRig()
	from := sock.Path{Remote: netip.MustParseAddrPort("198.51.100.9:53")} // spoofed, perhaps
	sent := 0
	for i := range 1000 {
		got := v.ask(0, from, Want(i%3), 0)
		if len(got) > 1 {
			t.Fatalf("%d packets for one", len(got))
		}
		sent += len(got)
	}
	if sent != testBurst {
		t.Errorf("%d answers in a burst, want %d", sent, testBurst)
	}
	v.now = v.now.Add(10 * testRefill)
	for range 20 {
		sent += len(v.ask(0, from, Here, 0))
	}
	if sent != testBurst+10 {
		t.Errorf("%d answers after a while", sent-testBurst)
	}
	for range 100 { // late ones
		v.ask(1, v.path[1], Here, maxDelay)
	}
	if len(v.queue) != maxDelayedEach {
		t.Errorf("%d late answers wait", len(v.queue))
	}
	v.now = v.now.Add(20 * time.Minute)
	v.Advance(v.now)
	if n := len(v.drain()); n > maxTestOut {
		t.Errorf("%d at once", n)
	}
	if v.ask(2, sock.Path{Remote: netip.MustParseAddrPort("192.168.3.4:5")}, FromOtherPeer, 0); len(v.drain()) > 0 {
		t.Error("has others write to an inside address")
	}
}

// A lying peer can't make us send anybody more than a few packets, nor anything
// but an answer, nor anywhere but to the address in it.
func TestVantageForward(t *testing.T) {
	c := pairCred(9, 0)
	forward := func(v *vantageRig, inner []byte) []Datagram {
		v.n++
		v.Receive(v.now, v.path[0], appendForward(nil, [12]byte{v.n}, c.Tag, inner, key(c)))
		return v.drain()
	}
	answerTo := func(a string) []byte {
		return appendAnswer(nil, [12]byte{3}, netip.MustParseAddrPort(a), Abilities{}, key(pairCred(1, 2)))
	}
	v := newVantageRig()
	for i := range 10 {
		want := 0
		if i < maxVictim {
			want = 1
		}
		if got := forward(v, answerTo("192.0.2.7:53")); len(got) != want {
			t.Errorf("packet %d to one address: %d sent", i, len(got))
		}
	}
	v = newVantageRig()
	n := 0
	for i := range 100 {
		n += len(forward(v, answerTo(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 53).String())))
	}
	if n != forwardBurst {
		t.Errorf("%d packets to all addresses", n)
	}
	v = newVantageRig()
	for what, b := range map[string][]byte{
		"a request":       appendTest(nil, [12]byte{3}, c.Tag, Here, 0, key(c)),
		"an inside one":   answerTo("192.168.1.1:53"),
		"a carrier's":     answerTo("100.64.0.1:53"),
		"multicast":       answerTo("224.0.0.1:53"),
		"loopback":        answerTo("127.0.0.1:53"),
		"another family":  answerTo("[2001:db8::1]:53"),
		"something else":  {1, 2, 3, 4},
		"too much":        make([]byte, maxAnswer+4),
		"the unspecified": answerTo("0.0.0.0:53"),
	} {
		if got := forward(v, b); len(got) != 0 {
			t.Errorf("sends %s on", what)
		}
	}
}

func TestAsker(t *testing.T) {
	a := NewAsker(rand.New(rand.NewPCG(1, 1)))
	if _, _, ok := a.Datagram(Ask{ID: 1, Peer: 4, To: seen}); ok {
		t.Error("asks an unknown peer")
	}
	c := pairCred(4, 0)
	a.SetPeer(4, c)
	to, b, ok := a.Datagram(Ask{ID: 1, Peer: 4, To: seen, Want: FromOtherPort, Delay: 5 * time.Second})
	m, x, _ := parseTest(b)
	if !ok || to != seen || m.tag != c.Tag || x.want != FromOtherPort || x.delay != 5*time.Second || !key(c).verify(b, m) || [4]byte(m.tx[:]) != a.Handle() {
		t.Fatalf("datagram %+v %+v", m, x)
	}
	from := sock.Path{Local: 3, Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:9")}
	for what, b := range map[string][]byte{
		"another key":         appendAnswer(nil, m.tx, seen, Abilities{}, key(pairCred(5, 0))),
		"another transaction": appendAnswer(nil, [12]byte{1}, seen, Abilities{}, key(c)),
		"a question":          appendTest(nil, m.tx, c.Tag, Here, 0, key(c)),
	} {
		if _, ok := a.Receive(from, 77, b); ok {
			t.Errorf("takes %s", what)
		}
	}
	r, ok := a.Receive(from, 77, appendAnswer(nil, m.tx, seen, Abilities{Second: 5}, key(c)))
	if want := (Reply{ID: 1, From: netip.MustParseAddrPort("192.0.2.1:9"), Seen: seen, Port: 77, Able: Abilities{Second: 5}}); !ok || r != want {
		t.Errorf("reply %+v, want %+v", r, want)
	}
	// A hairpin probe is proved by its own key, and answers itself.
	_, b, _ = a.Datagram(Ask{ID: 2, Kind: AskHairpin, To: seen})
	if r, ok := a.Receive(from, 78, b); !ok || r.ID != 2 || r.Seen.IsValid() {
		t.Errorf("hairpin %+v %v", r, ok)
	}
	a.RemovePeer(4)
	if _, ok := a.Receive(from, 77, appendAnswer(nil, m.tx, seen, Abilities{}, key(c))); ok {
		t.Error("takes a removed peer's answer")
	}
}

func FuzzTest(f *testing.F) {
	c := pairCred(9, 0)
	a := appendAnswer(nil, [12]byte{3}, seen, Abilities{1, true, true}, key(c))
	f.Add(a)
	f.Add(appendTest(nil, [12]byte{3}, c.Tag, FromOtherPeer, time.Second, key(c)))
	f.Add(appendForward(nil, [12]byte{3}, c.Tag, a, key(c)))
	f.Add(appendForward(nil, [12]byte{3}, c.Tag, appendTest(nil, [12]byte{3}, c.Tag, Here, 0, key(c)), key(c)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, ok := parseTest(b)
		if ok { // as if its sender knew the key
			b = key(c).sign(b[:m.signed:m.signed], 0)
			copy(b[headerLen+4:], c.Tag[:])
			b = key(c).sign(b[:m.signed:m.signed], 0)
		}
		v := newVantageRig()
		path := sock.Path{Remote: netip.MustParseAddrPort("198.51.100.1:7777")}
		taken := v.Receive(epoch, path, b)
		got := v.drain()
		if len(got) > 1 || len(got) > 0 && !taken {
			t.Fatalf("%d packets for one", len(got))
		}
		for _, d := range got {
			if !outside(d.Path.Remote.Addr()) {
				t.Fatalf("sends to %v", d.Path)
			}
			if _, _, ok := parseTest(d.B); !ok || !sock.ValidSTUN(d.B) || len(d.B) > len(b)+72 {
				t.Fatalf("sends %x", d.B)
			}
		}
		NewAsker(rand.New(rand.NewPCG(1, 1))).Receive(path, 1, b)
	})
}
