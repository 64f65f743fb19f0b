// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const ms = time.Millisecond

// An address nobody vouches for gets three packets, one that somebody does the
// whole schedule and then one more every five seconds for ten minutes.
func TestFirstSchedule(t *testing.T) {
	r := newRig(t, true, Options{})
	r.p.Add(r.now, pathA)
	r.run(time.Hour)
	r.expect("unattested", r.probes(pathA), "0 50 150")
	r.p.Add(r.now, pathA)
	r.run(time.Minute)
	r.expect("unattested, added again", r.probes(pathA), "")

	r = newRig(t, true, Options{})
	r.p.AddAttested(r.now, pathA)
	r.run(4 * time.Second)
	r.expect("attested", r.probes(pathA), "0 50 150 350 750 1550 3150")
	r.run(time.Hour)
	if n := len(r.sent); n < 60 || n > 200 {
		t.Errorf("%d retries in an hour", n)
	}
	for i := range r.sent[1:] {
		if gap := r.sent[i+1].at - r.sent[i].at; i > 6 && gap < 3*time.Second {
			t.Errorf("retry %d after %v", i, gap)
		}
	}
	if last := r.sent[len(r.sent)-1].at; last > giveUpAfter+10*time.Second {
		t.Errorf("still probing after %v", last)
	}
	if at := r.p.Deadline(); !at.IsZero() {
		t.Errorf("deadline %v with nothing left to do", at.Sub(epoch))
	}
	r.expect("events", r.events(), "")
}

// RFC 8445 §14.2: probes of different paths are Ta apart.
func TestPace(t *testing.T) {
	r := newRig(t, true, Options{})
	for i := range 40 { // more than fit
		r.p.AddAttested(r.now, sock.Path{Remote: netip.AddrPortFrom(pathA.Remote.Addr(), uint16(i+1))})
		r.drain()
	}
	if n := len(r.p.Snapshot()); n != maxPaths {
		t.Errorf("%d paths", n)
	}
	r.run(10 * time.Second)
	for i := range r.sent[1:] {
		if gap := r.sent[i+1].at - r.sent[i].at; gap < ta {
			t.Errorf("probe %d only %v after the one before", i+1, gap)
		}
	}
	if len(r.sent) < maxPaths*maxTries {
		t.Errorf("%d probes", len(r.sent))
	}
}

// The first answer brings the path up; nothing is used before.
func TestUpAfterAnswer(t *testing.T) {
	r := newRig(t, true, Options{})
	r.p.Add(r.now, pathA)
	r.alive(30*ms, pathA)
	r.run(29 * ms)
	r.expect("active before the answer", r.active(), "")
	r.run(ms)
	r.expect("events", r.events(), "bound:A seen:0/198.51.100.1:4000 up:A")
	r.expect("active", r.active(), name(pathA))
	r.run(time.Second)
	r.expect("probes, the second tells the peer", r.probes(pathA), "0 30U")
	if i := r.p.Snapshot()[0]; i.RTT != 30*ms || i.State != Valid || i.Reflexive != seen || i.Kind != Direct || i.Age != 60*ms {
		t.Errorf("snapshot %+v", i)
	}
	// The other side leaves it to the first.
	r = newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.alive(30*ms, pathA)
	r.run(time.Second)
	r.expect("probes", r.probes(pathA), "0")
}

// Each try is a transaction of its own: the round trip is right whichever is
// answered, and a late answer counts.
func TestRoundTripOfRetry(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p.AddAttested(r.now, pathA)
	r.alive(120*ms, pathA)
	r.run(time.Second)
	r.expect("probes", r.probes(pathA), "0 50")
	if got := r.p.Snapshot()[0].RTT; got != 120*ms {
		t.Errorf("round trip %v", got)
	}
	r = newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.alive(5*time.Second, pathA) // long after giving up
	r.run(6 * time.Second)
	r.expect("active", r.active(), name(pathA))
}

func TestReceiveRefuses(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.drain()
	tx := r.sent[0].m.tx
	other := tx
	other[5]++
	late := tx
	late[11] ^= 1 // a try that was never sent
	tests := map[string][]byte{
		"garbage":             []byte("\x00\x01garbage"),
		"unknown transaction": appendResponse(nil, other, seen, key(r.theirs)),
		"unsent try":          appendResponse(nil, late, seen, key(r.theirs)),
		"answer, wrong key":   appendResponse(nil, tx, seen, key(r.mine)),
		"request, wrong key":  appendRequest(nil, testTx, r.mine.Tag, true, key(r.theirs)),
		"request, wrong tag":  appendRequest(nil, testTx, r.theirs.Tag, true, key(r.mine)),
	}
	for what, b := range tests {
		if r.receive(pathA, b) {
			t.Errorf("%s is taken for genuine", what)
		}
	}
	if !r.p.Pending(tx) || r.p.Pending(other) || r.p.Pending(late) || [4]byte(tx[:]) != r.p.Handle() {
		t.Error("Pending or Handle doesn't know the probe's id")
	}
	// RFC 8445 §7.2.5.2.1: from elsewhere it validates neither path.
	if !r.receive(pathB, appendResponse(nil, tx, seen, key(r.theirs))) {
		t.Error("genuine answer from elsewhere is refused")
	}
	r.expect("active", r.active(), "")
	r.expect("events", r.events(), "")
	if n := len(r.p.Snapshot()); n != 1 {
		t.Errorf("%d paths", n)
	}
	// The right one still counts, once.
	for range 3 {
		if !r.receive(pathA, appendResponse(nil, tx, seen, key(r.theirs))) {
			t.Error("genuine answer is refused")
		}
	}
	r.expect("events", r.events(), "bound:A seen:0/198.51.100.1:4000 up:A")
	if got := r.p.list[0].rtt.samples; got != 1 {
		t.Errorf("%d samples of one answer", got)
	}
}

// A genuine request from a new source is answered, and teaches a path that is
// used only when it has answered in its turn.
func TestLearnsPath(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.alive(10*ms, pathA)
	r.run(time.Second)
	r.forget()
	if !r.receive(pathB, r.request(false)) {
		t.Fatal("refused")
	}
	r.run(100 * ms)
	r.expect("answer and triggered check", r.probes(pathB), "1000R 1000 1050")
	r.expect("events", r.events(), "")
	r.alive(10*ms, pathB)
	r.run(time.Second)
	r.expect("events", r.events(), "bound:B seen:1/198.51.100.1:4000")
	r.expect("active", r.active(), name(pathA))
}

// RFC 8445 §7.3.1.4: the peer's probe got through, so ours will now.
func TestTriggeredCheckHurries(t *testing.T) {
	for _, attested := range []bool{true, false} {
		r := newRig(t, false, Options{})
		if attested {
			r.p.AddAttested(r.now, pathA)
		} else {
			r.p.Add(r.now, pathA)
		}
		r.run(80 * ms)
		r.receive(pathA, r.request(false))
		r.receive(pathA, r.request(false)) // one probe for each, minGap apart
		r.run(5 * ms)
		r.expect("probes", r.probes(pathA), "0 50 80R 80 80R")
		r.run(95 * ms)
		r.expect("the second's", r.probes(pathA), "100")
	}
}

// Replayed requests from invented sources: bounded paths, packets and memory,
// and nothing of use is lost.
func TestReplayFlood(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.p.AddAttested(r.now, pathL)
	r.alive(10*ms, pathA)
	r.run(time.Second)
	r.forget()
	b := r.request(false)
	for i := range 2000 {
		r.now = r.now.Add(ms)
		r.receive(sock.Path{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 9)}, b)
		r.run(0)
	}
	r.run(10 * time.Second)
	if n := len(r.sent); n > coldBurst+12*int(time.Second/coldRefill)+20 {
		t.Errorf("%d packets to strangers", n)
	}
	r.expect("events", r.events(), "")
	if n := len(r.p.Snapshot()); n > 2+maxLearned {
		t.Errorf("%d paths", n)
	}
	r.expect("active", r.active(), name(pathA))
	if r.p.find(pathL) == nil {
		t.Error("the attested candidate was crowded out")
	}
	// One invented source again and again: three packets and four provoked,
	// a new key in between or not.
	r.now = r.now.Add(time.Minute)
	r.p.Advance(r.now)
	r.drain()
	r.forget()
	for i := range 500 {
		r.receive(pathC, b)
		if i == 1 {
			r.theirs.Key[3]++
			r.p.SetRemote(r.now, r.theirs)
		}
		r.run(60 * ms)
	}
	n := 0
	for _, s := range r.sent {
		if s.path == pathC && s.m.request {
			n++
		}
	}
	if n > triesProvoked {
		t.Errorf("%d probes to an address that never answered", n)
	}
}

// USE-CANDIDATE: the peer's side changed, so ours does, once that is proved.
func TestNomination(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p.Add(r.now, pathA)
	r.p.Add(r.now, pathB)
	r.alive(10*ms, pathA, pathB)
	r.run(time.Second)
	r.forget()

	first := r.request(true)
	r.receive(pathB, first)
	r.expect("valid path", r.events(), "A>B:peer:replay")
	r.run(time.Second)
	r.expect("the path left is checked", r.probes(pathA), "1000")

	r.receive(pathA, first) // replayed elsewhere
	r.receive(pathA, r.request(false))
	r.expect("replay", r.events(), "")

	older := r.request(true)
	r.receive(pathA, r.request(true))
	r.expect("next", r.events(), "B>A:peer:replay")
	r.receive(pathB, older) // overtaken on the way
	r.expect("older", r.events(), "")

	r.receive(pathC, r.request(true)) // not known yet
	r.expect("unproved path", r.active(), name(pathA))
	r.alive(10*ms, pathC)
	r.run(200 * ms)
	r.expect("proved", r.events(), "bound:C seen:1/198.51.100.1:4000 A>C:peer:replay")

	// A path the peer left is the last resort until it answers again.
	r.run(time.Minute)
	r.expect("settled", r.events(), "")
	r.p.AddAttested(r.now, pathL)
	r.alive(5*ms, pathL)
	r.run(time.Second)
	r.receive(pathL, r.request(true))
	r.alive(-1, pathL)
	r.run(time.Second)
	r.forget()
	r.receive(pathC, r.request(true))
	r.p.SocketDown(r.now, 1)
	r.expect("not the best kind, but not left", r.events(), "L>C:peer:replay C>A:socket:replay unbound:B unbound:C")
}

func TestNominationTriesShareANumber(t *testing.T) {
	var ours, theirs nomination
	k := key(testCred)
	now := epoch
	for range 50 {
		id := [12]byte{1, 2, 3, 4, 5}
		ours.stamp(now, &id, k)
		for try := range maxTries {
			c := check{base: id}
			tx := c.tx(try)
			if theirs.newer(&tx, k) != (try == 0) {
				t.Fatalf("try %d of number %d", try, ours.last)
			}
		}
	}
	// A new Paths with the same Cred starts above, a minute later.
	var again nomination
	id := [12]byte{7}
	again.stamp(now.Add(time.Minute), &id, k)
	if !theirs.newer(&id, k) {
		t.Error("a restarted peer's nomination is taken for old")
	}
}

// Both change over at once: the deciding side's choice stands.
func TestNominationsCross(t *testing.T) {
	r := newRig(t, true, Options{})
	r.p.Add(r.now, pathA)
	r.p.Add(r.now, pathB)
	r.alive(40*ms, pathA, pathB)
	r.run(time.Second)
	r.p.AddAttested(r.now, pathC)
	r.alive(41*ms, pathC)
	r.run(time.Second)
	r.forget()
	r.p.SocketDown(r.now, 0)
	r.expect("ours", r.events(), "A>B:socket:replay unbound:A")
	r.receive(pathC, r.request(true))
	r.expect("crossing", r.events(), "")
	r.run(time.Second)
	r.expect("answered", r.active(), name(pathB))

	// Unless it isn't answered: then the peer's, before our five tries of
	// more than a second are over.
	r.p.Add(r.now, pathA)
	faster := pathC
	faster.Local = 7
	r.p.AddAttested(r.now, faster)
	r.alive(40*ms+500*time.Microsecond, faster)
	r.run(time.Second)
	r.receive(pathA, r.request(true))
	r.run(time.Second)
	r.forget()
	r.alive(-1, pathB)
	r.p.SocketDown(r.now, 0)
	r.expect("ours", r.events(), "A>B:socket:replay unbound:A")
	r.receive(pathC, r.request(true))
	r.run(300 * ms)
	r.expect("the peer's", r.events(), "B>C:dead:replay")
}

func TestSocketDown(t *testing.T) {
	r := newRig(t, true, Options{})
	for _, p := range []sock.Path{pathA, pathB, pathC} {
		r.p.Add(r.now, p)
	}
	r.alive(10*ms, pathA)
	r.alive(15*ms, pathB)
	r.alive(16*ms, pathC)
	r.run(time.Second)
	r.forget()
	r.p.SocketDown(r.now, 0)
	r.drain()
	r.expect("at once", r.events(), "A>B:socket:replay unbound:A")
	r.expect("and the peer is told", r.probes(pathB), "1000U")
	r.p.SocketDown(r.now, 0)
	r.expect("twice", r.events(), "")
	r.p.SocketDown(r.now, 1)
	r.expect("the last", r.events(), "down unbound:B unbound:C")
	r.expect("active", r.active(), "")
	if at := r.p.Deadline(); !at.IsZero() {
		t.Errorf("deadline %v without paths", at)
	}
	r.p.Add(r.now, pathA) // the socket is open again
	r.run(time.Second)
	r.expect("again", r.events(), "bound:A seen:0/198.51.100.1:4000 up:A:again")
}

// The peer's Cred may come later: until then only answers are sent.
func TestSetRemote(t *testing.T) {
	r := newRig(t, false, Options{})
	r.p = NewPaths(r.mine, Cred{}, r.p.rng, Options{})
	r.p.Add(r.now, pathA)
	if !r.receive(pathB, r.request(true)) {
		t.Error("request refused")
	}
	r.run(time.Second)
	r.expect("A", r.probes(pathA), "")
	r.expect("B", r.probes(pathB), "0R")
	r.p.SetRemote(r.now, r.theirs)
	r.alive(10*ms, pathB)
	r.run(100 * ms)
	r.expect("A", r.probes(pathA), "1000 1050")
	r.expect("B", r.probes(pathB), "1005")
	r.expect("events", r.events(), "bound:B seen:1/198.51.100.1:4000 up:B")

	// Another key: what is in use stays so while it is checked anew.
	r.theirs.Key[31] ^= 1
	r.p.SetRemote(r.now, r.theirs)
	r.run(time.Second)
	r.expect("events", r.events(), "")
	r.expect("active", r.active(), name(pathB))
}

// 40 paths in turn: bounded, and the valid one stays.
func TestTableKeepsWhatWorks(t *testing.T) {
	r := newRig(t, true, Options{})
	r.p.Add(r.now, pathA)
	r.alive(10*ms, pathA)
	r.run(time.Second)
	for i := range 40 {
		r.p.Add(r.now, sock.Path{Remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:5", i+1))})
		r.run(3 * time.Second)
	}
	if n := len(r.p.Snapshot()); n != maxPaths {
		t.Errorf("%d paths", n)
	}
	r.expect("active", r.active(), name(pathA))
	for _, bad := range []string{"0.0.0.0:1", "203.0.113.1:0", "224.0.0.1:1", "255.255.255.255:1"} {
		r.p.Add(r.now, sock.Path{Remote: netip.MustParseAddrPort(bad)})
		if r.p.find(sock.Path{Remote: netip.MustParseAddrPort(bad)}) != nil {
			t.Errorf("%s is probed", bad)
		}
	}
	r.p.Add(r.now, sock.Path{Remote: netip.MustParseAddrPort("[::ffff:203.0.113.1]:1")})
	if n := r.p.find(pathA); n == nil || len(r.p.Snapshot()) != maxPaths {
		t.Error("a mapped address is not the plain one")
	}
}

// A driver that doesn't drain loses what is oldest, and nothing else happens.
func TestQueuesAreBounded(t *testing.T) {
	r := newRig(t, true, Options{})
	for i := range 200 {
		r.now = r.now.Add(100 * ms)
		path := pathA
		path.Local = i
		r.p.AddAttested(r.now, path)
		for d, ok := r.p.Poll(); ok; d, ok = r.p.Poll() {
			if m, _ := parse(d.B); m.request {
				r.p.Receive(r.now, d.Path, appendResponse(nil, m.tx, seen, key(r.theirs)))
			}
		}
		r.p.SocketDown(r.now, i)
	}
	for range 3 * maxOut {
		r.p.Receive(r.now, pathB, r.request(false))
	}
	if n := len(r.p.events); n != maxEvents {
		t.Errorf("%d events kept", n)
	}
	n := 0
	for _, ok := r.p.Poll(); ok; _, ok = r.p.Poll() {
		n++
	}
	if n != maxOut {
		t.Errorf("%d datagrams kept", n)
	}
	for range maxEvents - 1 {
		r.p.NextEvent()
	}
	if e, _ := r.p.NextEvent(); e == nil {
		t.Error("the latest event is gone")
	}
}

func TestWords(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"lan": LAN, "direct": Direct, "relay": Relay, "tcp": TCP,
		"waiting": Waiting, "checking": Checking, "valid": Valid, "failed": Failed,
		"dead": Dead, "socket": LostSock, "peer": PeerSaid, "better": Better, "followed": Followed,
		"host": HostCandidate, "reflexive": ReflexiveCandidate, "mapped": MappedCandidate,
	} {
		if got.String() != want {
			t.Errorf("%T says %q, want %q", got, got, want)
		}
	}
	for addr, want := range map[string]Kind{
		"192.168.1.1": LAN, "10.1.1.1": LAN, "127.0.0.1": LAN, "fd00::1": LAN, "fe80::1": LAN, "::1": LAN, "169.254.1.1": LAN,
		"100.64.0.1": Direct, "8.8.8.8": Direct, "2001:db8::1": Direct,
	} {
		if got := KindOf(sock.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 1)}); got != want {
			t.Errorf("%s is %v, want %v", addr, got, want)
		}
	}
}
