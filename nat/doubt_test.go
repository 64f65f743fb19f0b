// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// call returns a rig in mid-call over A with B as a spare.
func call(t *testing.T, controlling bool) *rig {
	r := newRig(t, controlling, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms}, pathA, pathB)
	r.p.SetMedia(r.now, true)
	r.talk(pathA, time.Second)
	r.forget()
	return r
}

// 140 ms of silence cast doubt, three probes later the path is dead.
func TestSilenceKills(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		r := call(t, controlling)
		r.alive(-1, pathA)
		start := r.now.Add(-20 * ms) // of the last packet
		r.run(start.Add(139 * ms).Sub(r.now))
		r.expect("in time", r.events(), "")
		r.run(ms)
		r.expect("silent", r.events(), "doubt:A")
		r.expect("both", r.active(), name(pathA, pathB))
		r.run(440 * ms)
		r.expect("still in doubt", r.active(), name(pathA, pathB))
		r.run(20 * ms)
		r.expect("dead", r.events(), "A>B:dead:replay")
		if n := len(strings.Fields(r.probes(pathA))); n != doubtTries {
			t.Errorf("%d probes", n)
		}
		if got := r.probes(pathB); !strings.HasSuffix(got, "U") || strings.Count(got, "U") != 1 {
			t.Errorf("B: %q", got)
		}
	}
}

// Media over a second path that stops is no reason to leave the first, but the
// second is asked at once whether it still stands, not at its next keepalive.
func TestSecondFades(t *testing.T) {
	for _, dead := range []bool{true, false} {
		r := call(t, true)
		for range 50 {
			r.p.Heard(r.now, pathB)
			r.talk(pathA, 20*ms)
		}
		r.forget()
		if dead {
			r.alive(-1, pathB)
		}
		r.talk(pathA, fadeAfter-60*ms)
		r.expect("at first", r.probes(pathB), "")
		r.talk(pathA, 500*ms)
		want, tries := Valid, 1
		if dead {
			want, tries = Failed, doubtTries
		}
		for _, q := range r.p.Snapshot() {
			if q.Path == pathB && q.State != want {
				t.Errorf("dead %t: B is %v", dead, q.State)
			}
		}
		if got := r.probes(pathB); len(strings.Fields(got)) != tries || strings.Contains(got, "U") {
			t.Errorf("dead %t: probes %q", dead, got)
		}
		r.expect("the first", r.events(), "")
		r.forget()
		r.talk(pathA, time.Second)
		if got := r.probes(pathB); !dead && got != "" {
			t.Errorf("asked again: %q", got)
		}
	}
}

// An answer, or media, ends doubt.
func TestDoubtCleared(t *testing.T) {
	r := call(t, false)
	r.run(150 * ms)
	r.expect("answered", r.events(), "doubt:A cleared:A")
	r.expect("active", r.active(), name(pathA))

	r = call(t, false)
	r.alive(-1, pathA)
	r.run(200 * ms)
	r.p.Heard(r.now, pathA)
	r.expect("heard", r.events(), "doubt:A cleared:A")
	r.talk(pathA, 900*ms)
	r.expect("the probes don't matter any more", r.events(), "")
	r.alive(10*ms, pathA)
	r.talk(pathA, 5*time.Second)
	r.expect("and well", r.events(), "")
}

// A muted peer costs a few probes, not ten a second for ever.
func TestMuted(t *testing.T) {
	r := call(t, true)
	r.run(time.Minute)
	got := r.events()
	if n := strings.Count(got, "doubt:A"); n < 20 || n > 40 || n != strings.Count(got, "cleared:A") || strings.Contains(got, ">") {
		t.Errorf("events %q", got)
	}
	// As soon as it speaks again, silence counts again.
	r.talk(pathA, time.Second)
	r.forget()
	r.run(140 * ms)
	if got := r.events(); !strings.HasPrefix(got, "doubt:A") {
		t.Errorf("events %q", got)
	}
}

// DTX sends every 100 ms, and a bad radio jitters: no doubt.
func TestPausesAreNotSilence(t *testing.T) {
	r := call(t, false)
	for range 50 {
		r.run(100 * ms)
		r.p.Heard(r.now, pathA)
	}
	r.expect("DTX", r.events(), "")

	r = call(t, false)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 { // learn the jitter
		r.run(time.Duration(rng.IntN(60)) * ms)
		r.p.Heard(r.now, pathA)
	}
	r.forget()
	r.run(150 * ms)
	r.expect("jitter", r.events(), "")
	r.run(200 * ms)
	if got := r.events(); !strings.HasPrefix(got, "doubt:A") {
		t.Errorf("events %q", got)
	}
}

// With nothing else to send on, doubt still finds the path dead.
func TestSilenceOnTheOnlyPath(t *testing.T) {
	r := newRig(t, true, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms}, pathA)
	r.p.SetMedia(r.now, true)
	r.talk(pathA, time.Second)
	r.forget()
	r.alive(-1, pathA)
	r.run(time.Second)
	r.expect("events", r.events(), "doubt:A down")
	r.alive(10*ms, pathA)
	r.run(time.Second)
	r.expect("back", r.events()[:10], "up:A:again")
}

// The second path is one that works: it changes when another answers.
func TestSecondPath(t *testing.T) {
	r := newRig(t, false, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms, pathC: 30 * ms}, pathA, pathB, pathC)
	r.p.SetMedia(r.now, true)
	r.talk(pathA, time.Second)
	r.forget()
	r.alive(-1, pathA, pathB)
	r.run(125 * ms)
	r.expect("the faster", r.active(), name(pathA, pathB))
	r.run(60 * ms)
	r.expect("the one that answers", r.active(), name(pathA, pathC))
	r.run(450 * ms)
	r.expect("events", r.events(), "doubt:A doubt:A A>C:dead:replay")
}

// The two sides disagree: the one that doesn't decide follows, the other says
// so again.
func TestMediaComesElsewhere(t *testing.T) {
	r := call(t, false)
	r.talk(pathB, 500*ms)
	r.expect("follows", r.events(), "doubt:A A>B:followed:replay")
	r = call(t, true)
	r.talk(pathB, 200*ms)
	r.expect("stays", r.events(), "doubt:A cleared:A")
	if got := r.probes(pathA); !strings.HasSuffix(got, "U") {
		t.Errorf("A: %q", got)
	}
}

// A keepalive in flight when the media stops is not waited for.
func TestDoubtTakesOverKeepalive(t *testing.T) {
	r := call(t, false)
	r.alive(-1, pathA)
	for r.probes(pathA) == "" {
		r.talk(pathA, 20*ms)
	}
	r.forget()
	r.run(700 * ms)
	r.expect("events", r.events(), "doubt:A A>B:dead:replay")
}

// In the steady state nothing is allocated: not by media, a keepalive of ours,
// nor one of the peer's.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	step := steady()
	if n := testing.AllocsPerRun(200, step); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeepaliveBothWays(b *testing.B) {
	step := steady()
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

// steady returns one period of an idle link: a probe each way, both answered.
func steady() func() {
	mine, theirs := creds()
	p := NewPaths(mine, theirs, rand.New(rand.NewPCG(1, 1)), Options{})
	now := epoch
	p.Add(now, pathA)
	k, ours := key(theirs), key(mine)
	buf := make([]byte, 0, maxMessage)
	turn := func() {
		for d, ok := p.Poll(); ok; d, ok = p.Poll() {
			if m, ok := parse(d.B); ok && m.request {
				buf = appendResponse(buf[:0], m.tx, seen, k)
				p.Receive(now, d.Path, buf)
			}
		}
		for _, ok := p.NextEvent(); ok; _, ok = p.NextEvent() {
		}
	}
	step := func() {
		if at := p.Deadline(); at.After(now) {
			now = at
		}
		p.Advance(now)
		turn()
		buf = appendRequest(buf[:0], testTx, mine.Tag, false, ours)
		p.Receive(now, pathA, buf)
		p.Heard(now, pathA)
		turn()
	}
	for range 20 {
		step()
	}
	return step
}

// A driver that looks now and then tells each arrival once: media that came before
// the last look is no sign of life.
func TestHeardAt(t *testing.T) {
	r := call(t, true)
	at := r.now
	r.p.HeardAt(r.now, pathA, at)
	for range 10 {
		r.run(14 * ms)
		r.p.HeardAt(r.now, pathA, at)
	}
	r.expect("an old arrival", r.events(), "doubt:A")
	r.p.HeardAt(r.now, pathA, r.now)
	r.expect("a new one", r.events(), "cleared:A")
}

// Of several holes to one place all may end at once. So the call stays on the relay
// that took over until one of them answers again.
func TestDeadSpareIsNotBetter(t *testing.T) {
	kinds := func(p sock.Path) Kind {
		if p == pathC {
			return Relay
		}
		return Direct
	}
	for _, back := range []bool{false, true} {
		r := newRig(t, true, Options{Kind: kinds})
		r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms, pathC: 50 * ms}, pathA, pathB, pathC)
		r.p.SetMedia(r.now, true)
		r.talk(pathA, time.Second)
		r.alive(-1, pathA, pathB)
		for range 30 { // the other side has moved to the relay
			r.talk(pathC, 20*ms)
		}
		r.forget()
		if back {
			r.alive(12*ms, pathB)
		}
		for range 150 {
			if back {
				r.p.Heard(r.now, pathB) // the other side follows
			}
			r.talk(pathC, 20*ms)
		}
		want := ""
		if back {
			want = "C>B:better"
		}
		r.expect(fmt.Sprintf("back %t", back), r.events(), want)
	}
}
