// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// up brings the paths up in this order, with their round trips.
func (r *rig) up(rtts map[sock.Path]time.Duration, paths ...sock.Path) {
	r.t.Helper()
	for _, p := range paths {
		r.p.AddAttested(r.now, p)
		r.alive(rtts[p], p)
		r.run(200 * time.Millisecond)
	}
	r.run(time.Second)
	r.forget()
}

// talk lets media come over path every 20 ms for d.
func (r *rig) talk(path sock.Path, d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now.Before(end); {
		r.p.Heard(r.now, path)
		r.run(20 * ms)
	}
}

// Kind goes before speed, and is worth a change in mid-call.
func TestBetterKind(t *testing.T) {
	r := newRig(t, true, Options{Kind: func(p sock.Path) Kind {
		if p == pathB {
			return Relay
		}
		return KindOf(p)
	}})
	r.p.SetMedia(r.now, true)
	r.p.Add(r.now, pathB)
	r.alive(20*ms, pathB)
	r.talk(pathB, time.Second)
	r.expect("relay first", r.events(), "bound:B seen:1/198.51.100.1:4000 up:B")
	r.p.Add(r.now, pathA)
	r.alive(60*ms, pathA)
	r.talk(pathB, 200*ms)
	r.expect("not at once", r.active(), name(pathB))
	r.talk(pathB, 200*ms)
	r.expect("direct", r.events(), "bound:A seen:0/198.51.100.1:4000 B>A:better")
	r.p.Add(r.now, pathL)
	r.alive(70*ms, pathL)
	r.talk(pathA, 500*ms)
	r.expect("lan", r.events(), "bound:L seen:0/198.51.100.1:4000 A>L:better")
	r.expect("told", r.probes(pathL), "1400 1450 1720U")
}

// A faster path must be faster by enough for long enough.
func TestBetterRoundTrip(t *testing.T) {
	tests := []struct {
		name       string
		now, other time.Duration
		switches   bool
	}{
		{"much", 80 * ms, 20 * ms, true},
		{"10 ms and a fifth", 50 * ms, 40 * ms, true},
		{"9 ms", 30 * ms, 21 * ms, false},
		{"less than a fifth", 200 * ms, 165 * ms, false},
		{"slower", 20 * ms, 80 * ms, false},
	}
	for _, tt := range tests {
		for _, controlling := range []bool{true, false} {
			r := newRig(t, controlling, Options{})
			r.p.AddAttested(r.now, pathA)
			r.alive(tt.now, pathA)
			r.run(time.Second)
			r.p.AddAttested(r.now, pathB)
			r.alive(tt.other, pathB)
			r.run(1500 * ms)
			r.forget()
			r.run(3 * time.Second)
			want := ""
			if tt.switches && controlling {
				want = "A>B:better"
			}
			r.expect(tt.name, r.events(), want)
		}
	}
}

// Two paths whose round trips cross all the time: no flapping.
func TestNoFlapping(t *testing.T) {
	r := newRig(t, true, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 40 * ms, pathB: 41 * ms}, pathA, pathB)
	r.reply = func(p sock.Path) time.Duration {
		slow := r.now.Sub(epoch)/(7*time.Second)%2 == 0
		if slow == (p == pathA) {
			return 70 * ms
		}
		return 40 * ms
	}
	r.run(10 * time.Minute)
	if n := strings.Count(r.events(), ">"); n > 20 {
		t.Errorf("%d changes in ten minutes", n)
	}
	if n := len(r.sent); n > 600 {
		t.Errorf("%d probes in ten minutes to compare two paths", n)
	}
	// One that fails again and again while in use is left alone for longer
	// each time, though it is of the better kind.
	r = newRig(t, true, Options{})
	r.up(map[sock.Path]time.Duration{pathL: 5 * ms, pathA: 40 * ms}, pathL, pathA)
	r.p.SetMedia(r.now, true)
	r.alive(40*ms, pathA)
	r.reply = func(p sock.Path) time.Duration {
		if p == pathL && r.now.Sub(epoch)%(4*time.Second) > 2*time.Second {
			return -1
		}
		return 10 * ms
	}
	for end := r.now.Add(10 * time.Minute); r.now.Before(end); {
		if p, _, ok := r.p.Active(); ok && r.reply(p) >= 0 {
			r.p.Heard(r.now, p)
		}
		r.run(20 * ms)
	}
	if n := strings.Count(r.events(), ">"); n > 40 {
		t.Errorf("%d changes in ten minutes", n)
	}
}

// Keepalives: every 15 s and a tenth, on the primary path and three spares;
// the peer's own probes count as ours.
func TestKeepalive(t *testing.T) {
	r := newRig(t, false, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms}, pathA, pathB)
	r.run(2 * time.Minute)
	for _, p := range []sock.Path{pathA, pathB} {
		if n := len(strings.Fields(r.probes(p))); n < 7 || n > 9 {
			t.Errorf("%d keepalives in two minutes", n)
		}
	}
	for range 24 {
		r.receive(pathA, r.request(false))
		r.run(5 * time.Second)
	}
	got := strings.Fields(strings.ReplaceAll(r.probes(pathA), "R", ""))
	if n := len(got) - 24; n < 1 || n > 3 {
		t.Errorf("%d keepalives in two minutes beside the peer's", n)
	}
	r.expect("events", r.events(), "")
}

func TestSparesAreFew(t *testing.T) {
	r := newRig(t, false, Options{})
	rtts := map[sock.Path]time.Duration{}
	var paths []sock.Path
	for i := range 9 {
		p := pathA
		p.Local = i
		rtts[p] = time.Duration(10+i) * ms
		paths = append(paths, p)
	}
	r.up(rtts, paths...)
	r.run(3 * time.Minute)
	valid := 0
	for _, i := range r.p.Snapshot() {
		if i.State == Valid {
			valid++
		}
	}
	if valid != 1+maxSpares {
		t.Errorf("%d valid paths are kept", valid)
	}
	if n := strings.Count(r.events(), "unbound"); n != 9-1-maxSpares {
		t.Errorf("%d paths let go", n)
	}
}

// Without media a dead path is found within 3 s of the first unanswered probe.
func TestIdlePathDies(t *testing.T) {
	r := newRig(t, false, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms}, pathA, pathB)
	r.alive(-1, pathA)
	for r.probes(pathA) == "" { // the first unanswered
		r.run(10 * ms)
	}
	r.run(700 * ms)
	r.expect("one lost probe is nothing", r.events(), "")
	r.run(200 * ms)
	r.expect("two are", r.events(), "doubt:A")
	r.expect("a second path meanwhile", r.active(), name(pathA, pathB))
	r.run(2100 * ms)
	r.expect("dead", r.events(), "A>B:dead:replay")
	r.run(time.Minute)
	if n := len(strings.Fields(r.probes(pathA))); n < 5 || n > 12 {
		t.Errorf("%d retries of a dead path in a minute", n)
	}
	r.run(15 * time.Minute)
	r.expect("forgotten", r.events(), "unbound:A")
}

// With no path left, the last ones are tried, at most every 5 s; the first
// answer brings them up again.
func TestDownAndUp(t *testing.T) {
	r := newRig(t, false, Options{})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 12 * ms}, pathA, pathB)
	r.alive(-1, pathA, pathB)
	r.run(25 * time.Second)
	got := r.events()
	if strings.Count(got, "down") != 1 || !strings.HasSuffix(got, "down") {
		t.Errorf("events %q", got)
	}
	r.expect("active", r.active(), "")
	r.run(10 * time.Second)
	r.sent = nil
	r.run(time.Minute)
	for _, p := range []sock.Path{pathA, pathB} {
		if n := len(strings.Fields(r.probes(p))); n < 10 || n > 14 {
			t.Errorf("%d tries in a minute", n)
		}
	}
	r.alive(10*ms, pathB)
	r.run(6 * time.Second)
	r.expect("up", r.events(), "up:B:again")
	r.alive(-1, pathB)
	r.run(time.Hour)
	if at := r.p.Deadline(); !at.IsZero() {
		t.Errorf("still waiting for %v after an hour of silence", at.Sub(r.now))
	}
	r.forget()
	r.alive(10*ms, pathA)
	r.receive(pathA, r.request(false)) // the peer is back
	r.run(time.Second)
	r.expect("up after all", r.events(), "up:A:again")
}

// A path that turns out to be a relay's is left for a direct one that is slower.
func TestRejudge(t *testing.T) {
	relayed := false
	r := newRig(t, true, Options{Kind: func(p sock.Path) Kind {
		if relayed && p == pathA {
			return Relay
		}
		return Direct
	}})
	r.up(map[sock.Path]time.Duration{pathA: 10 * ms, pathB: 60 * ms}, pathA, pathB)
	r.run(20 * time.Second)
	r.forget()
	relayed = true
	r.p.Rejudge(r.now)
	r.run(20 * time.Second)
	r.expect("told", r.events(), "A>B:better")
	for _, q := range r.p.Snapshot() {
		if q.Kind == Relay != (q.Path == pathA) {
			t.Errorf("%v: %v", q.Path, q.Kind)
		}
	}
}
