// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// rig drives a race by hand and writes down what it asks for and tells.
type rig struct {
	t     *testing.T
	r     *race
	start time.Time
	now   time.Time
	out   []task
	told  []Event
}

func newRig(t *testing.T, methods ...Method) *rig {
	t.Helper()
	if len(methods) == 0 {
		methods = []Method{PCP, NATPMP, UPnP}
	}
	x := &rig{t: t, start: time.Unix(1_000_000, 0)}
	x.now = x.start
	x.r = newRace(x.now, home4, methods, time.Hour, rand.New(rand.NewPCG(1, 2)))
	x.drain()
	return x
}

func (x *rig) drain() {
	for t, ok := x.r.Poll(); ok; t, ok = x.r.Poll() {
		for _, o := range x.out {
			if o.method == t.method {
				x.t.Fatalf("two errands of %s are out", t.method)
			}
		}
		x.out = append(x.out, t)
	}
	for e, ok := x.r.NextEvent(); ok; e, ok = x.r.NextEvent() {
		x.told = append(x.told, e)
	}
}

// pass lets time go by, stopping at every deadline.
func (x *rig) pass(d time.Duration) {
	end := x.now.Add(d)
	for steps := 0; ; steps++ {
		due := x.r.Deadline()
		if due.IsZero() || due.After(end) {
			break
		}
		if due.After(x.now) {
			x.now = due
			steps = 0
		} else if steps > 10 {
			x.t.Fatal("the race is due for ever")
		}
		x.r.Advance(x.now)
		x.drain()
	}
	x.now = end
	x.r.Advance(x.now)
	x.drain()
}

// next waits for the next errand of a method, of this kind.
func (x *rig) next(m Method, v verb) {
	x.t.Helper()
	for range 100 {
		for _, t := range x.out {
			if t.method == m && t.verb == v {
				return
			}
		}
		due := x.r.Deadline()
		if due.IsZero() {
			break
		}
		if due.After(x.now) {
			x.now = due
		}
		x.r.Advance(x.now)
		x.drain()
	}
	x.t.Fatalf("no errand %d of %s; out: %+v", v, m, x.out)
}

func (x *rig) done(m Method, g grant, err error) {
	x.t.Helper()
	for i, t := range x.out {
		if t.method == m {
			x.out = slices.Delete(x.out, i, i+1)
			x.r.Done(x.now, t, g, err)
			x.drain()
			return
		}
	}
	x.t.Fatalf("%s has no errand out", m)
}

// wants compares what is out and what was told since the last call.
func (x *rig) wants(out, told string) {
	x.t.Helper()
	var o, e []string
	verbs := map[verb]string{verbMap: "map", verbCheck: "check", verbDrop: "drop"}
	for _, t := range x.out {
		o = append(o, fmt.Sprintf("%s %s", verbs[t.verb], t.method))
	}
	for _, v := range x.told {
		switch v := v.(type) {
		case Mapped:
			e = append(e, fmt.Sprintf("mapped %s %v", v.Method, v.Mapping.External))
		case Lost:
			e = append(e, fmt.Sprintf("lost %s %v", v.Method, v.Mapping.External))
		case External:
			e = append(e, fmt.Sprintf("external %v", v.Addr))
		case Failed:
			e = append(e, "failed")
		}
	}
	x.told = nil
	if got := strings.Join(o, ", "); got != out {
		x.t.Errorf("out: %s; want %s", got, out)
	}
	if got := strings.Join(e, ", "); got != told {
		x.t.Errorf("told: %s; want %s", got, told)
	}
}

func given(external string) grant {
	return grant{external: netip.MustParseAddrPort(external), lifetime: time.Hour}
}

func TestBetterMethodRunsAloneFirst(t *testing.T) {
	x := newRig(t)
	x.wants("map pcp", "")
	x.pass(headStart / 2)
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.wants("", "external 203.0.113.7, mapped pcp 203.0.113.7:4000")
	x.pass(time.Minute)
	x.wants("", "") // the others never start
}

func TestFailureEndsTheHeadStart(t *testing.T) {
	x := newRig(t)
	x.done(PCP, grant{}, errOldVersion)
	x.wants("map nat-pmp", "")
	x.done(NATPMP, grant{}, ErrNoAnswer)
	x.wants("map upnp", "")
	x.done(UPnP, given("203.0.113.7:4000"), nil)
	x.wants("", "external 203.0.113.7, mapped upnp 203.0.113.7:4000")
}

func TestLateBetterMethodTakesOver(t *testing.T) {
	x := newRig(t)
	x.pass(3 * headStart)
	x.wants("map pcp, map nat-pmp, map upnp", "")
	x.done(UPnP, given("203.0.113.7:4000"), nil)
	x.told = nil
	x.done(PCP, given("203.0.113.7:4001"), nil)
	x.wants("map nat-pmp, drop upnp", "mapped pcp 203.0.113.7:4001, lost upnp 203.0.113.7:4000")
	// Withdrawing may have deleted more than it should.
	x.done(UPnP, grant{}, nil)
	x.wants("map nat-pmp, map pcp", "")
	x.done(PCP, given("203.0.113.7:4001"), nil)
	x.wants("map nat-pmp", "")
	// The third comes last, wins nothing and is withdrawn as well.
	x.done(NATPMP, given("203.0.113.7:4002"), nil)
	x.wants("drop nat-pmp", "")
	x.done(NATPMP, grant{}, nil)
	x.wants("map pcp", "")
}

func TestSharedEntryIsNotWithdrawn(t *testing.T) {
	x := newRig(t)
	x.pass(3 * headStart)
	x.done(NATPMP, given("203.0.113.7:4000"), nil)
	x.told = nil
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.done(UPnP, given("203.0.113.7:4000"), nil)
	x.wants("", "mapped pcp 203.0.113.7:4000")
}

func TestRenewsAtHalfLifeAndChecksBefore(t *testing.T) {
	x := newRig(t, PCP)
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.told = nil
	checks := 0
	for {
		for x.r.Deadline().After(x.now) && len(x.out) == 0 {
			x.now = x.r.Deadline()
			x.r.Advance(x.now)
			x.drain()
		}
		if x.out[0].verb == verbMap {
			break
		}
		checks++
		x.done(PCP, grant{}, ErrNoAnswer) // a silent check changes nothing
	}
	if at := x.now.Sub(x.start); at < 30*time.Minute || at > 38*time.Minute {
		t.Errorf("renewed after %v", at)
	}
	if checks < 3 {
		t.Errorf("%d checks in half an hour", checks)
	}
	if want := netip.MustParseAddrPort("203.0.113.7:4000"); x.out[0].external != want {
		t.Errorf("asks for %v again", x.out[0].external)
	}
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.wants("", "")
}

func TestFailedRenewalBacksOffUntilExpiry(t *testing.T) {
	x := newRig(t, PCP)
	g := given("203.0.113.7:4000")
	g.lifetime = 10 * time.Minute
	x.done(PCP, g, nil)
	x.told = nil
	tries := 0
	var last time.Time
	for len(x.told) == 0 {
		if len(x.out) == 0 {
			x.pass(x.r.Deadline().Sub(x.now))
		}
		if len(x.told) > 0 { // it expired between two tries
			break
		}
		if x.out[0].verb == verbCheck {
			x.done(PCP, grant{}, ErrNoAnswer)
			continue
		}
		if !last.IsZero() && x.now.Sub(last) < minRetry {
			t.Fatalf("tried again after %v", x.now.Sub(last))
		}
		last = x.now
		tries++
		x.now = x.now.Add(2 * time.Second)
		x.done(PCP, grant{}, ErrNoAnswer)
		if tries > 20 {
			t.Fatal("tries for ever")
		}
	}
	if tries < 3 {
		t.Errorf("%d tries", tries)
	}
	if x.now.Before(x.start.Add(10 * time.Minute)) {
		t.Errorf("lost after %v", x.now.Sub(x.start))
	}
	x.wants("map pcp", "lost pcp 203.0.113.7:4000")
}

func TestRefusedRenewalStartsOver(t *testing.T) {
	x := newRig(t, PCP, UPnP)
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.next(PCP, verbCheck)
	x.done(PCP, grant{}, errGone)
	x.told = nil
	x.done(PCP, grant{}, &RefusedError{PCP, 2, ""})
	x.wants("map pcp", "lost pcp 203.0.113.7:4000")
	if _, ok := x.r.Mapping(); ok {
		t.Error("a lost mapping is still there")
	}
	x.pass(headStart)
	x.done(UPnP, given("203.0.113.7:4000"), nil)
	x.wants("map pcp", "mapped upnp 203.0.113.7:4000")
}

func TestRestartOfTheRouter(t *testing.T) {
	with := func(g grant, epoch uint32) grant { g.epoch, g.hasEpoch = epoch, true; return g }
	t.Run("seen by a check", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, with(given("203.0.113.7:4000"), 90000), nil)
		x.next(PCP, verbCheck)
		x.done(PCP, with(grant{}, 12), nil)
		x.told = nil
		x.wants("", "")
		x.pass(herd)
		x.wants("map pcp", "")
		x.done(PCP, with(given("203.0.113.9:4000"), 15), nil)
		x.wants("", "external 203.0.113.9, mapped pcp 203.0.113.9:4000, lost pcp 203.0.113.7:4000")
	})
	t.Run("announced", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, with(given("203.0.113.7:4000"), 90000), nil)
		x.told = nil
		x.pass(time.Minute)
		x.r.Announce(x.now, announcement{method: PCP, epoch: 90060}) // not true
		x.pass(herd)
		x.wants("", "")
		x.r.Announce(x.now, announcement{method: PCP, epoch: 1})
		x.pass(herd)
		x.wants("map pcp", "")
	})
	t.Run("announced by a router that had just started before", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, with(given("203.0.113.7:4000"), 1), nil)
		x.told = nil
		x.r.Announce(x.now, announcement{method: PCP, epoch: 0})
		x.pass(herd)
		x.wants("map pcp", "")
	})
	t.Run("new outside address", func(t *testing.T) {
		x := newRig(t, NATPMP)
		x.done(NATPMP, with(given("203.0.113.7:4000"), 100), nil)
		x.told = nil
		x.pass(time.Minute)
		x.r.Announce(x.now, announcement{NATPMP, 160, netip.MustParseAddr("203.0.113.9")})
		x.pass(herd)
		x.wants("map nat-pmp", "")
	})
	t.Run("a flood of announcements renews once in ten seconds", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, with(given("203.0.113.7:4000"), 90000), nil)
		renewals := 0
		for i := range 1000 {
			x.r.Announce(x.now, announcement{method: PCP, epoch: uint32(i * 7919)})
			x.pass(100 * time.Millisecond)
			if len(x.out) > 0 {
				renewals++
				x.done(PCP, with(given("203.0.113.7:4000"), 90000), nil)
			}
		}
		if renewals > 11 {
			t.Errorf("%d renewals in 100 s", renewals)
		}
	})
	t.Run("ends the wait after failures", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, grant{}, ErrNoAnswer)
		x.wants("", "failed")
		x.r.Announce(x.now, announcement{method: PCP, epoch: 1})
		x.pass(herd)
		x.wants("map pcp", "")
	})
}

func TestAllFailedIsToldOnceAndTriedEverMoreRarely(t *testing.T) {
	x := newRig(t)
	var pauses []time.Duration
	last := x.now
	for range 10 {
		for _, m := range []Method{PCP, NATPMP, UPnP} {
			x.next(m, verbMap)
			if m == PCP {
				pauses = append(pauses, x.now.Sub(last))
				last = x.now
			}
			x.done(m, grant{}, ErrNoAnswer)
		}
	}
	x.wants("", "failed")
	for i, p := range pauses[1:] {
		full := min(firstPause<<i, maxPause)
		if p < full*3/4 || p > full*5/4 {
			t.Errorf("pause %d is %v, want about %v", i, p, full)
		}
	}
}

func TestFailedSaysWhy(t *testing.T) {
	x := newRig(t)
	x.done(PCP, grant{}, &RefusedError{PCP, 2, "not authorized"})
	x.done(NATPMP, grant{external: netip.MustParseAddrPort("0.0.0.0:4000"), lifetime: time.Hour}, nil)
	x.done(UPnP, grant{}, ErrNoAnswer)
	f, ok := x.told[0].(Failed)
	var refused *RefusedError
	if !ok || !errors.As(f.Err, &refused) || !errors.Is(f.Err, ErrNoAnswer) || !errors.Is(f.Err, ErrUnusable) || f.Gateway != home4.gateway {
		t.Errorf("told %+v", x.told)
	}
}

func TestOutsideAddressIsToldWithoutAMapping(t *testing.T) {
	x := newRig(t, NATPMP)
	x.done(NATPMP, grant{outside: netip.MustParseAddr("100.64.3.4")}, &RefusedError{NATPMP, 2, ""})
	x.wants("", "external 100.64.3.4, failed")
}

func TestCloseWithdrawsWhatTheRouterMayHold(t *testing.T) {
	t.Run("a mapping", func(t *testing.T) {
		x := newRig(t)
		x.done(PCP, given("203.0.113.7:4000"), nil)
		x.told = nil
		x.r.Close(x.now)
		x.drain()
		x.wants("drop pcp", "lost pcp 203.0.113.7:4000")
		if x.r.Idle() {
			t.Error("idle before the withdrawal is through")
		}
		x.done(PCP, grant{}, ErrNoAnswer)
		if !x.r.Idle() || !x.r.Deadline().IsZero() {
			t.Error("not idle after it")
		}
	})
	t.Run("an answer that was not waited for", func(t *testing.T) {
		x := newRig(t)
		x.r.Close(x.now)
		x.drain()
		x.wants("map pcp", "")
		x.done(PCP, grant{}, errors.New("called off"))
		x.wants("drop pcp", "")
	})
	t.Run("an answer that comes late", func(t *testing.T) {
		x := newRig(t)
		x.r.Close(x.now)
		x.drain()
		x.done(PCP, given("203.0.113.7:4000"), nil)
		x.wants("drop pcp", "")
	})
	t.Run("nothing where nobody answered", func(t *testing.T) {
		x := newRig(t)
		for _, m := range []Method{PCP, NATPMP, UPnP} {
			x.done(m, grant{}, ErrNoAnswer)
		}
		x.r.Close(x.now)
		x.drain()
		x.wants("", "failed")
	})
	t.Run("nothing where the answer was no", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, grant{}, &RefusedError{PCP, 8, ""})
		x.r.Close(x.now)
		x.drain()
		x.wants("", "failed")
	})
	t.Run("nothing twice", func(t *testing.T) {
		x := newRig(t, PCP)
		x.done(PCP, given("203.0.113.7:4000"), nil)
		x.r.Close(x.now)
		x.r.Close(x.now)
		x.drain()
		x.done(PCP, grant{}, nil)
		x.pass(24 * time.Hour)
		if len(x.out) > 0 {
			t.Errorf("out after Close: %+v", x.out)
		}
	})
}

func TestRefresh(t *testing.T) {
	x := newRig(t, PCP)
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.told = nil
	for range 5 {
		x.r.Refresh(x.now)
		x.drain()
	}
	x.wants("map pcp", "")
	x.done(PCP, given("203.0.113.7:4000"), nil)
	x.r.Refresh(x.now)
	x.drain()
	x.wants("", "") // too soon
	x.pass(calm)
	x.r.Refresh(x.now)
	x.drain()
	x.wants("map pcp", "")
}
