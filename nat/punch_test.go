// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"testing"
	"time"
)

// EIM × EIM with port-restricted filters: simultaneous probes open both.
func TestPunch(t *testing.T) {
	for _, skew := range []time.Duration{0, 30e6, 120e6, 400e6} {
		w, a, b := natted(t, 1, 0, false, skew)
		w.run(skew + 160*time.Millisecond) // 2 RTT and one retry
		if a.active() != "0/203.0.113.1:40007" || b.active() != "0/198.51.100.1:40007" {
			t.Errorf("skew %v: a uses %q, b %q", skew, a.active(), b.active())
		}
		if count[Up](a) != 1 || count[Up](b) != 1 {
			t.Errorf("skew %v: events %v, %v", skew, a.got, b.got)
		}
	}
}

// Whatever is lost, two sides that are vouched for meet, and on one pair of
// paths.
func TestPunchConverges(t *testing.T) {
	var slow int
	for seed := range uint64(300) {
		loss := []float64{0, 0.05, 0.1, 0.2}[seed%4]
		w, a, b := natted(t, seed, loss, true, time.Duration(seed%5)*50*time.Millisecond)
		w.run(2 * time.Second)
		if a.active() == "" || b.active() == "" {
			slow++
		}
		w.run(18 * time.Second)
		if a.active() != "0/203.0.113.1:40007" || b.active() != "0/198.51.100.1:40007" {
			t.Errorf("seed %d, loss %v: a uses %q, b %q", seed, loss, a.active(), b.active())
		}
	}
	if slow > 9 { // 3 % of pairs, three quarters of which lose packets
		t.Errorf("%d of 300 pairs took more than 2 s", slow)
	}
}

// Nobody vouches: three packets each, and what the other's set off.
func TestPunchUnattested(t *testing.T) {
	var failed [2]int
	for seed := range uint64(400) {
		loss := []float64{0.05, 0.2}[seed%2]
		w, a, b := natted(t, seed/2, loss, false, time.Duration(seed%5)*30*time.Millisecond)
		w.run(20 * time.Second)
		if a.active() == "" || b.active() == "" {
			failed[seed%2]++
		}
	}
	if failed[0] > 2 || failed[1] > 20 { // of 200 each
		t.Errorf("%d of 200 pairs failed at 5 %% loss, %d at 20 %%", failed[0], failed[1])
	}
}

// An open side and a symmetric NAT: the symmetric side just sends, and the
// other learns where from.
func TestPunchLearnsSource(t *testing.T) {
	w := newWorld(t, 1)
	ca, cb := creds()
	n := &natBox{ip: netip.MustParseAddr("203.0.113.1"), symmetric: true}
	a := w.peer("a", ca, cb, Options{}, behind(nil, "198.51.100.1:5000"))
	b := w.peer("b", cb, ca, Options{}, behind(n, "192.168.0.2:6000"))
	n.send(b.socks[0].addr, netip.MustParseAddrPort("192.0.2.9:9"))
	a.add(false, 0, "203.0.113.1:40007") // right for the introducer alone
	b.add(false, 0, "198.51.100.1:5000")
	w.run(200 * time.Millisecond)
	if a.active() != "0/203.0.113.1:40014" || b.active() != "0/198.51.100.1:5000" {
		t.Errorf("a uses %q, b %q", a.active(), b.active())
	}
}

// Several sockets and addresses with different delays: both sides end on the
// two ends of one path, and stay there.
func TestPeersMeetOnOnePath(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		w.loss = float64(seed%5) * 0.05
		delays := map[netip.AddrPort]time.Duration{}
		w.delay = func(from, to netip.AddrPort) time.Duration {
			return 5*time.Millisecond + delays[from] + delays[to] + time.Duration(w.rng.IntN(int(4*time.Millisecond)))
		}
		ca, cb := creds()
		if seed%2 == 1 {
			ca, cb = cb, ca
		}
		a := w.peer("a", ca, cb, Options{}, behind(nil, "198.51.100.1:1"), behind(nil, "198.51.100.1:2"))
		b := w.peer("b", cb, ca, Options{}, behind(nil, "203.0.113.1:1"), behind(nil, "203.0.113.1:2"))
		for i, h := range []*peer{a, b} {
			for j, s := range h.socks {
				delays[s.addr] = time.Duration((int(seed)+3*i+5*j)%9) * 6 * time.Millisecond
			}
		}
		for i := range 2 {
			a.add(true, i, "203.0.113.1:1", "203.0.113.1:2")
			b.add(true, i, "198.51.100.1:1", "198.51.100.1:2")
		}
		w.talk(a, b)
		w.run(30 * time.Second)
		pa, _, oka := a.p.Active()
		pb, _, okb := b.p.Active()
		if !oka || !okb || a.socks[pa.Local].addr != pb.Remote || b.socks[pb.Local].addr != pa.Remote {
			t.Errorf("seed %d: a on %v, b on %v", seed, pa, pb)
		}
		if n := count[Switched](a) + count[Switched](b); n > 8 {
			t.Errorf("seed %d: %d switches in half a minute", seed, n)
		}
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	trace := func(seed uint64) (uint64, int) {
		w, a, b := natted(t, seed, 0.2, true, 50*time.Millisecond)
		w.talk(a, b)
		w.run(30 * time.Second)
		return w.sum(), w.sent
	}
	one, n := trace(4)
	if two, m := trace(4); one != two || n != m {
		t.Errorf("seed 4 gave %x (%d sent), then %x (%d sent)", one, n, two, m)
	}
	if two, _ := trace(6); one == two {
		t.Error("another seed gave the same trace")
	}
}

// A cable pulled in mid-call: the rest of the call goes over the other socket,
// and the pause is a round trip of the news, not a timeout.
func TestSocketPulledInCall(t *testing.T) {
	for _, first := range []bool{true, false} { // the deciding side's, then the other's
		w := newWorld(t, 3)
		ca, cb := creds()
		a := w.peer("a", ca, cb, Options{}, behind(nil, "198.51.100.1:1"), behind(nil, "198.51.100.1:2"))
		b := w.peer("b", cb, ca, Options{}, behind(nil, "203.0.113.1:1"))
		for i := range 2 {
			a.add(true, i, "203.0.113.1:1")
		}
		if !first {
			a.p.mine, b.p.mine = cb, ca
			a.p.theirs, b.p.theirs = ca, cb
			a.p.myMAC, a.p.theirMAC, b.p.myMAC, b.p.theirMAC = key(cb), key(ca), key(ca), key(cb)
		}
		w.talk(a, b)
		w.run(5 * time.Second)
		pa, _, _ := a.p.Active()
		a.gap, b.gap = 0, 0
		a.socks[pa.Local].down = true
		a.p.SocketDown(w.now, pa.Local)
		w.drain(a)
		w.run(5 * time.Second)
		na, _, ok := a.p.Active()
		if !ok || na.Local == pa.Local || b.active() != "0/"+a.socks[na.Local].addr.String() {
			t.Errorf("a went from %v to %v, b uses %q", pa, na, b.active())
		}
		// 20 ms of news, 20 ms of the first packet, 20 ms of its pace.
		if a.gap > 85*time.Millisecond || b.gap > 45*time.Millisecond {
			t.Errorf("deciding %v: pauses of %v at a, %v at b", first, a.gap, b.gap)
		}
		for _, i := range a.p.Snapshot() {
			if i.Path.Local == pa.Local {
				t.Errorf("dead socket's path %v is still there", i.Path)
			}
		}
	}
}

// A path dies silently in mid-call; a spare one is at hand.
func TestPathDiesInCall(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(t, seed)
		ca, cb := creds()
		if seed%2 == 1 {
			ca, cb = cb, ca
		}
		a := w.peer("a", ca, cb, Options{}, behind(nil, "198.51.100.1:1"), behind(nil, "198.51.100.1:2"))
		b := w.peer("b", cb, ca, Options{}, behind(nil, "203.0.113.1:1"))
		a.add(true, 0, "203.0.113.1:1")
		a.add(true, 1, "203.0.113.1:1")
		w.talk(a, b)
		w.run(3*time.Second + time.Duration(seed)*7*time.Millisecond)
		pa, _, _ := a.p.Active()
		dead := a.socks[pa.Local].addr
		oneWay := seed%4 >= 2 // only towards b
		w.cut = func(from, to netip.AddrPort) bool { return from == dead || to == dead && !oneWay }
		a.gap, b.gap = 0, 0
		w.run(3 * time.Second)
		na, _, ok := a.p.Active()
		if !ok || a.socks[na.Local].addr == dead || b.active() != "0/"+a.socks[na.Local].addr.String() {
			t.Errorf("seed %d: a went from %v to %v, b uses %q", seed, pa, na, b.active())
		}
		if a.gap > 400*time.Millisecond || b.gap > 700*time.Millisecond {
			t.Errorf("seed %d one way %v: pauses of %v at a, %v at b", seed, oneWay, a.gap, b.gap)
		}
		if n := count[Switched](a) + count[Switched](b); n > 6 {
			t.Errorf("seed %d: %d switches", seed, n)
		}
	}
}
