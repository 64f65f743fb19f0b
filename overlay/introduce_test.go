// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

var epoch = time.Unix(1_800_000_000, 0)

func node(b byte) (id identity.NodeID) { id[0] = b; return id }

func parsed(t *testing.T, s toSend, withTag bool) introduction {
	t.Helper()
	in, err := parseIntroduction(s.body, withTag)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestIntroducerCarries(t *testing.T) {
	m := newIntroducer(100)
	a, b := node(1), node(2)
	m.register(epoch, b, []tag{{7}})
	at := netip.MustParseAddrPort("192.0.2.1:1")
	out := m.introduce(epoch, a, at, introduction{request: 5, tag: tag{7}, offer: []byte("q"), seen: netip.MustParseAddrPort("192.0.2.66:6")})
	if len(out) != 1 || out[0].to != b || out[0].typ != frameIntroduction {
		t.Fatalf("sent %+v", out)
	}
	fwd := parsed(t, out[0], true)
	if fwd.request == 5 || string(fwd.offer) != "q" || fwd.tag != (tag{7}) || fwd.seen != at {
		t.Fatalf("carried %+v", fwd)
	}
	// Nobody but the one who was asked may answer.
	if _, ok := m.reply(node(3), netip.AddrPort{}, introduction{request: fwd.request, offer: []byte("r")}); ok {
		t.Fatal("answered by a stranger")
	}
	back, ok := m.reply(b, netip.AddrPort{}, introduction{request: fwd.request, offer: []byte("r")})
	if !ok || back.to != a || back.typ != frameReply {
		t.Fatalf("answer %+v %v", back, ok)
	}
	if r := parsed(t, back, false); r.request != 5 || string(r.offer) != "r" {
		t.Fatalf("answer %+v", r)
	}
	// ... and only once.
	if _, ok := m.reply(b, netip.AddrPort{}, introduction{request: fwd.request, offer: []byte("r")}); ok {
		t.Fatal("answered twice")
	}
}

func TestIntroducerSaysNo(t *testing.T) {
	m := newIntroducer(0)
	a := node(1)
	out := m.introduce(epoch, a, netip.AddrPort{}, introduction{request: 5, tag: tag{7}, offer: []byte("q")})
	if len(out) != 1 || out[0].to != a || out[0].typ != frameReply {
		t.Fatalf("sent %+v", out)
	}
	if r := parsed(t, out[0], false); r.request != 5 || len(r.offer) != 0 {
		t.Fatalf("answer %+v", r)
	}
	// Asking for oneself is asking for nobody.
	m.register(epoch, a, []tag{{7}})
	if out := m.introduce(epoch, a, netip.AddrPort{}, introduction{request: 6, tag: tag{7}}); len(out) != 1 || out[0].to != a {
		t.Fatalf("sent %+v", out)
	}
}

// Of several devices each answer is carried, and a no only when it is the last.
func TestIntroducerDevices(t *testing.T) {
	m := newIntroducer(0)
	a := node(1)
	for i := byte(2); i <= 4; i++ {
		m.register(epoch, node(i), []tag{{7}})
	}
	out := m.introduce(epoch, a, netip.AddrPort{}, introduction{request: 5, tag: tag{7}, offer: []byte("q")})
	if len(out) != 3 {
		t.Fatalf("asked %d", len(out))
	}
	if _, ok := m.reply(out[0].to, netip.AddrPort{}, introduction{request: parsed(t, out[0], true).request}); ok {
		t.Error("a no was carried while others may say yes")
	}
	if _, ok := m.reply(out[1].to, netip.AddrPort{}, introduction{request: parsed(t, out[1], true).request, offer: []byte("r")}); !ok {
		t.Error("a yes was not carried")
	}
	if back, ok := m.reply(out[2].to, netip.AddrPort{}, introduction{request: parsed(t, out[2], true).request}); !ok || back.to != a {
		t.Error("the last no was not carried")
	}
}

func TestIntroducerBounds(t *testing.T) {
	m := newIntroducer(0)
	a := node(1)
	for i := range byte(20) {
		m.register(epoch, node(100+i), []tag{{7}})
	}
	asked := 0
	for i := range 3 * askBurst {
		out := m.introduce(epoch, a, netip.AddrPort{}, introduction{request: uint32(i), tag: tag{7}})
		if len(out) > maxPerTag {
			t.Fatalf("%d targets", len(out))
		}
		asked += len(out)
	}
	if asked != askBurst*maxPerTag {
		t.Errorf("a burst reached %d, want %d", asked, askBurst*maxPerTag)
	}
	// Tokens come back with time.
	if out := m.introduce(epoch.Add(time.Second/askRate), a, netip.AddrPort{}, introduction{tag: tag{7}}); len(out) == 0 {
		t.Error("no token after its time")
	}
	for i := range byte(250) {
		for range askBurst {
			m.introduce(epoch, node(i), netip.AddrPort{}, introduction{tag: tag{7}})
		}
	}
	if len(m.pending) != maxCarried {
		t.Errorf("%d on their way, bound is %d", len(m.pending), maxCarried)
	}
	if d := m.deadline(); !d.After(epoch) {
		t.Errorf("deadline %v", d)
	}
	m.advance(epoch.Add(introductionLife + time.Second))
	if len(m.pending) != 0 || !m.deadline().IsZero() {
		t.Errorf("%d left after their time", len(m.pending))
	}
	tags := make([]tag, maxTags+10)
	for i := range tags {
		tags[i] = tag([]byte(fmt.Sprintf("%016d", i)))
	}
	m.register(epoch, a, tags)
	if n := len(m.peers[a].tags); n != maxTags {
		t.Errorf("%d tags", n)
	}
	m.register(epoch, a, nil)
	for i := range 256 {
		m.forget(node(byte(i)))
	}
	if len(m.byTag) != 0 || len(m.peers) != 0 || len(m.pending) != 0 {
		t.Errorf("left over: %d tags, %d peers, %d on their way", len(m.byTag), len(m.peers), len(m.pending))
	}
}

func FuzzIntroducer(f *testing.F) {
	f.Add([]byte("\x00\x01\x07\x01\x02\x07\x02\x01\x07"))
	f.Fuzz(func(t *testing.T, script []byte) {
		m := newIntroducer(0)
		now := epoch
		for len(script) >= 3 {
			op, who, arg := script[0], node(script[1]%8), script[2]
			script = script[3:]
			switch op % 5 {
			case 0:
				m.register(now, who, []tag{{arg % 4}, {arg % 3}})
			case 1:
				m.introduce(now, who, netip.AddrPort{}, introduction{request: uint32(arg), tag: tag{arg % 4}})
			case 2:
				m.reply(who, netip.AddrPort{}, introduction{request: uint32(arg), offer: []byte("r")[:arg%2]})
			case 3:
				m.forget(who)
			case 4:
				now = now.Add(time.Duration(arg) * time.Second / 8)
				m.advance(now)
			}
			if d := m.deadline(); !d.IsZero() && d.Before(now) && op%5 == 4 {
				t.Fatalf("deadline %v passed at %v", d, now)
			}
		}
	})
}
