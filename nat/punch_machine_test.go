// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// punchRig is one Puncher driven by hand; the test is its peer.
type punchRig struct {
	t      testing.TB
	p      *Puncher
	budget *Budget
	mine   Cred
	theirs Cred
	now    time.Time
	n      byte
	sent   []sentShot
	got    []PunchEvent
	local  int // of the next socket
	keep   bool
}

type sentShot struct {
	at  time.Duration
	s   Shot
	m   message
	len int
}

var (
	punchPeer = netip.MustParseAddrPort("203.0.113.1:4000")
	punchOwn  = netip.MustParseAddrPort("198.51.100.1:4000")
)

func newPunchRig(t testing.TB, mine, theirs string, o PlanOptions, trust Trust) *punchRig {
	k := planKinds()
	o.Friendly = true
	return planRig(t, MakePlan(k[mine], k[theirs], o), trust)
}

func planRig(t testing.TB, plan Plan, trust Trust) *punchRig {
	r := &punchRig{t: t, now: epoch, budget: NewBudget(epoch), local: 100, keep: true}
	r.mine, r.theirs = creds()
	r.p = NewPuncher(epoch, PunchConfig{
		Mine: r.mine, Theirs: r.theirs, Plan: plan, Local: 7, Remote: punchPeer, Trust: trust,
	}, r.budget, rand.New(rand.NewPCG(1, 1)))
	return r
}

// drain opens what is asked for and notes what is sent.
func (r *punchRig) drain() {
	r.t.Helper()
	for {
		if e, ok := r.p.NextEvent(); ok {
			r.got = append(r.got, e)
			if o, ok := e.(OpenSockets); ok {
				var locals []int
				for range o.N {
					locals = append(locals, r.local)
					r.local++
				}
				r.p.SocketsOpened(r.now, locals)
			}
			continue
		}
		s, ok := r.p.Poll()
		if !ok {
			return
		}
		m, ok := parse(s.B)
		k := r.theirs
		if !m.request {
			k = r.mine
		}
		if !ok || !key(k).verify(s.B, m) || m.request && m.tag != r.theirs.Tag || len(s.B) > 64 {
			r.t.Fatalf("sent %x: not a message of ours", s.B)
		}
		if r.keep {
			r.sent = append(r.sent, sentShot{r.now.Sub(epoch), s, m, len(s.B)})
		}
	}
}

// run lets d pass, in the steps that the machine asks for.
func (r *punchRig) run(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for {
		r.drain()
		at := r.p.Deadline()
		if at.IsZero() || at.After(end) {
			r.now = end
			return
		}
		r.now = latest(r.now, at)
		r.p.Advance(r.now)
	}
}

func (r *punchRig) ask(path sock.Path) bool {
	r.n++
	ok := r.p.Receive(r.now, path, appendRequest(nil, [12]byte{9, r.n}, r.mine.Tag, false, key(r.mine)))
	r.drain()
	return ok
}

func (r *punchRig) answer(path sock.Path, tx [12]byte) bool {
	ok := r.p.Receive(r.now, path, appendResponse(nil, tx, punchOwn, key(r.theirs)))
	r.drain()
	return ok
}

func punchEvents[E PunchEvent](r *punchRig) (list []E) {
	for _, e := range r.got {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// The searching side: 500 ports a second from the shared socket, the block
// first, each once, and no more than the address may get.
func TestPuncherSearches(t *testing.T) {
	r := newPunchRig(t, "eim-apdf", "sym-block", PlanOptions{}, Attested)
	r.run(10 * time.Second)
	seen := map[sock.Path]bool{}
	for i, s := range r.sent {
		if s.at != time.Duration(i)*burstEvery || s.s.Path.Local != 7 || s.s.TTL != 0 || s.s.Path.Remote.Addr() != punchPeer.Addr() {
			t.Fatalf("shot %d: %v at %v", i, s.s.Path, s.at)
		}
		if in := (Range{20000, 20511}).Has(s.s.Path.Remote.Port()); in != (i < 512) || seen[s.s.Path] {
			t.Fatalf("shot %d: %v", i, s.s.Path)
		}
		seen[s.s.Path] = true
	}
	if len(r.sent) != mostShots || r.p.Status().Mappings != 0 || r.p.Status().Flows != mostShots {
		t.Errorf("%d shots, %+v", len(r.sent), r.p.Status())
	}
	if e := punchEvents[Ended](r); len(e) != 1 || e[0].Why != Silence || !r.p.Ended() || !r.p.Deadline().IsZero() {
		t.Errorf("ended %v", e)
	}
}

// The opening side: few sockets for the block, more when that is exhausted;
// first shots don't get far.
func TestPuncherOpens(t *testing.T) {
	r := newPunchRig(t, "sym-block", "eim-kept", PlanOptions{LowTTL: true}, Attested)
	r.run(10 * time.Second)
	shots := map[int]int{}
	for _, s := range r.sent {
		if s.s.Path.Remote != punchPeer || s.s.Path.Local < 100 {
			t.Fatalf("shot at %v", s.s.Path)
		}
		if low := s.s.TTL == lowTTL; low != (shots[s.s.Path.Local] == 0) || !low && s.s.TTL != 0 {
			t.Fatalf("shot %d of socket %d with TTL %d", shots[s.s.Path.Local], s.s.Path.Local, s.s.TTL)
		}
		shots[s.s.Path.Local]++
		if s.at < widenAt && s.s.Path.Local >= 108 {
			t.Fatalf("socket %d used at %v", s.s.Path.Local, s.at)
		}
	}
	for l := 100; l < 228; l++ {
		if shots[l] != openPasses {
			t.Errorf("socket %d: %d shots", l, shots[l])
		}
	}
	if u := r.budget.Use(); u.Mappings != 128 || u.MostLive != 128 || len(shots) != 128 {
		t.Errorf("%d sockets, %+v", len(shots), u)
	}
	closed := punchEvents[CloseSockets](r)
	if len(closed) != 1 || len(closed[0].Locals) != 128 {
		t.Errorf("closed %v", closed)
	}
}

// A genuine request is answered and checked in return; the answer to that is a
// hit. The rest stays open for a second, so that both sides mean the same path.
func TestPuncherHit(t *testing.T) {
	r := newPunchRig(t, "sym-block", "eim-apdf", PlanOptions{}, Attested)
	r.run(50 * time.Millisecond)
	r.sent = nil
	path := sock.Path{Local: 103, Remote: punchPeer}
	if !r.ask(path) || len(r.sent) != 2 || r.sent[0].m.request || !r.sent[1].m.request || r.sent[1].s.Path != path {
		t.Fatalf("in return: %+v", r.sent)
	}
	if len(punchEvents[Hit](r)) != 0 {
		t.Fatal("a hit without an answer")
	}
	tx := r.sent[1].m.tx
	other := sock.Path{Local: 104, Remote: punchPeer}
	if r.answer(other, tx) {
		t.Error("an answer from elsewhere is taken (RFC 8445 §7.2.5.2.1)")
	}
	forged := tx
	forged[5]++
	if r.answer(path, forged) || [4]byte(tx[:]) != r.p.Handle() {
		t.Error("an answer to nothing is taken")
	}
	if !r.answer(path, tx) {
		t.Fatal("the answer is refused")
	}
	if h := punchEvents[Hit](r); len(h) != 1 || h[0] != (Hit{Path: path, Extra: true}) {
		t.Fatalf("hits %v", h)
	}
	if r.ask(path) {
		t.Error("a request to a socket that was handed over is kept from Paths")
	}
	if !r.ask(other) {
		t.Error("a request within the grace is refused")
	}
	r.sent = nil
	r.run(grace - time.Millisecond)
	if len(r.sent) != 0 || len(punchEvents[Ended](r)) != 0 {
		t.Errorf("after the hit: %d shots, %v", len(r.sent), r.got)
	}
	r.run(time.Millisecond)
	closed := punchEvents[CloseSockets](r)
	if len(closed) != 1 || slices.Contains(closed[0].Locals, 103) || len(closed[0].Locals) != 7 {
		t.Errorf("closed %v", closed)
	}
	if e := punchEvents[Ended](r); len(e) != 1 || e[0].Why != Won || e[0].Status.Hits != 1 {
		t.Errorf("ended %v", e)
	}
	if r.ask(other) {
		t.Error("a request after the end is taken")
	}
}

// What comes to the shared socket is Paths', but for answers to our shots.
func TestPuncherLeavesPathsAlone(t *testing.T) {
	r := newPunchRig(t, "eim-apdf", "sym-block", PlanOptions{}, Attested)
	r.run(10 * time.Millisecond)
	path := r.sent[3].s.Path
	if r.ask(path) {
		t.Error("a request to the shared socket is taken")
	}
	tx := r.sent[3].m.tx
	if r.p.Receive(r.now, path, appendResponse(nil, tx, punchOwn, key(r.mine))) {
		t.Error("an answer with the wrong key is taken")
	}
	if !r.answer(path, tx) || len(punchEvents[Hit](r)) != 1 || punchEvents[Hit](r)[0].Extra {
		t.Errorf("events %v", r.got)
	}
	// A second copy changes nothing.
	if !r.answer(path, tx) || len(punchEvents[Hit](r)) != 1 {
		t.Error("two hits on one path")
	}
}

// Nothing is searched at an address that nobody attests, and three packets are
// the most it gets.
func TestPuncherStranger(t *testing.T) {
	for _, c := range []struct {
		mine, theirs string
		most         int
		why          End
	}{
		{"eim-apdf", "sym-block", 0, NoBudget}, {"sym-block", "eim-apdf", 3, NoBudget},
		{"adm-block", "adm-block", 0, NoBudget}, {"sym-counter", "sym-counter", 0, NoBudget},
		{"sym-block", "sym-block", 0, NoBudget}, {"sym-chosen", "eim-apdf", 3, NoBudget},
	} {
		r := newPunchRig(t, c.mine, c.theirs, PlanOptions{}, Stranger)
		r.p.SetRelayed(r.now, true)
		r.run(time.Hour)
		if len(r.sent) != c.most {
			t.Errorf("%s × %s: %d packets to a stranger, want %d", c.mine, c.theirs, len(r.sent), c.most)
		}
		if e := punchEvents[Ended](r); len(e) != 1 || e[0].Why != c.why {
			t.Errorf("%s × %s: ended %v", c.mine, c.theirs, e)
		}
	}
	r := newPunchRig(t, "sym-block", "sym-block", PlanOptions{}, Remembered)
	r.p.SetRelayed(r.now, true)
	if r.run(time.Hour); len(r.sent) != 0 {
		t.Errorf("%d packets without end to a remembered address", len(r.sent))
	}
	r = newPunchRig(t, "eim-apdf", "sym-block", PlanOptions{}, Remembered)
	if r.run(time.Hour); len(r.sent) != packetsRemembered {
		t.Errorf("%d packets to a remembered address", len(r.sent))
	}
}

// A rolling search goes on beside a relayed call only, at 30 packets a second,
// within the share.
func TestPuncherRolls(t *testing.T) {
	r := newPunchRig(t, "sym-block", "sym-block", PlanOptions{}, Attested)
	r.run(time.Minute)
	if len(r.sent) != 0 {
		t.Fatalf("%d packets without a relayed call", len(r.sent))
	}
	r.p.SetRelayed(r.now, true)
	r.run(5 * time.Second)
	if n := len(r.sent); n != 128 {
		t.Errorf("%d packets at first, the share is 128", n)
	}
	aims := map[uint16]int{}
	for _, s := range r.sent {
		aims[s.s.Path.Remote.Port()]++
	}
	want := newAgreement(r.mine, r.theirs).burst(Range{20000, 20511}, false)
	if len(aims) != 1 || aims[want] != 128 {
		t.Errorf("the first round aims at %v, agreed is %d", aims, want)
	}
	r.run(2 * time.Minute)
	for i := 30; i < len(r.sent); i++ {
		if gap := r.sent[i].at - r.sent[i-30].at; gap < 990*time.Millisecond {
			t.Fatalf("31 packets within %v", gap)
		}
	}
	if n := len(r.sent); n < 128*4 || n > 128*5 {
		t.Errorf("%d packets in 2 min", n)
	}
	r.p.SetRelayed(r.now, false)
	n := len(r.sent)
	r.run(10 * time.Minute)
	if len(r.sent) != n {
		t.Errorf("%d packets after the call", len(r.sent)-n)
	}
	r.run(rollFor)
	if e := punchEvents[Ended](r); len(e) != 1 || len(punchEvents[CloseSockets](r)) != 1 {
		t.Errorf("ended %v", r.got)
	}
	if u := r.budget.Use(); u.MostLive > 128 {
		t.Errorf("%d mappings at a time", u.MostLive)
	}
}
