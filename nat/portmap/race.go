// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// headStart is how long a better method runs alone: a router on the LAN
	// answers in a tenth of it, so that usually only one mapping is made.
	headStart = 300 * time.Millisecond
	// firstPause and maxPause bound the wait after all methods failed: soon
	// enough for a router that was just starting, rare enough for a network
	// that will never have one.
	firstPause = 30 * time.Second
	maxPause   = 30 * time.Minute
	// minRetry is RFC 6887 §11.2.1's floor between attempts to renew.
	minRetry = 4 * time.Second
	// checkEvery is how often the router is asked whether it still knows us:
	// its own announcement of a restart may be lost. One small packet each way.
	checkEvery = 5 * time.Minute
	// herd spreads the clients of a restarted router (RFC 6886 §3.7).
	herd = 5 * time.Second
	// young is the age below which a router that announces itself has just
	// started, whatever its counter's tolerance.
	young = 60 // seconds
	// calm is the least time between two announcements or refreshes that are
	// acted upon: anybody on the LAN can forge them.
	calm = 10 * time.Second
	// maxRaceEvents is far above what one input can cause.
	maxRaceEvents = 16
)

var (
	errGone       = errors.New("portmap: the router forgot the mapping")
	errSuperseded = errors.New("portmap: another method took over")
	errExpired    = errors.New("portmap: the mapping expired")
	errLeft       = errors.New("portmap: withdrawn, or the network changed")
)

// verb is what a driver is asked to do with one method.
type verb uint8

const (
	verbNone  verb = iota
	verbMap        // make a mapping or renew it
	verbCheck      // ask whether the router still has its state
	verbDrop       // withdraw the mapping
)

// task is one errand. Each method has at most one out at a time.
type task struct {
	method Method
	verb   verb
	// external is the endpoint to ask for, check or withdraw; zero = none yet.
	external netip.AddrPort
	lifetime time.Duration
}

// entry is what the race knows of one method.
type entry struct {
	method Method
	busy   verb      // the errand that is out
	due    verb      // the next one
	at     time.Time // when it is due; zero = nothing is

	held    Mapping
	has     bool // held is one
	sent    bool // a request went out since the last withdrawal: the router may hold something
	expires time.Time
	renewAt time.Time
	tries   int // to renew, in a row

	err   error // why it gave nothing in this round
	epoch epoch
}

func (e *entry) plan(v verb, at time.Time) { e.due, e.at = v, at }

// race decides for one network which method is asked for what and when. It is
// a pure machine: after every input drain Poll and NextEvent; calling Advance
// early is harmless; time never goes backwards.
type race struct {
	net  network
	life time.Duration
	rng  *rand.Rand

	entries []entry // best first
	active  int     // whose mapping is ours; -1 = none
	confirm bool    // a withdrawal may have taken the active mapping along

	again   time.Time // all failed: when to start over; zero = not waiting
	rounds  int       // failed in a row
	told    bool      // that all failed
	outside netip.Addr
	quiet   time.Time // announcements and refreshes before are ignored
	closing bool

	tasks  []task
	events []Event
}

// newRace starts a race at now.
func newRace(now time.Time, n network, methods []Method, life time.Duration, rng *rand.Rand) *race {
	r := &race{net: n, life: life, rng: rng, active: -1}
	for _, m := range methods {
		r.entries = append(r.entries, entry{method: m})
	}
	r.begin(now)
	return r
}

// begin starts a round.
func (r *race) begin(now time.Time) {
	r.again = time.Time{}
	for i := range r.entries {
		e := &r.entries[i]
		e.err, e.tries = nil, 0
		e.plan(verbMap, now.Add(time.Duration(i)*headStart))
	}
	r.Advance(now)
}

// Advance hands out what is due at now.
func (r *race) Advance(now time.Time) {
	if !r.again.IsZero() && !now.Before(r.again) {
		r.begin(now)
		return
	}
	if a := r.active; a >= 0 {
		e := &r.entries[a]
		if e.busy == verbNone && !now.Before(e.expires) {
			r.lose(now, errExpired)
			return
		}
		if r.confirm && e.busy == verbNone {
			r.confirm = false
			e.plan(verbMap, now)
		}
	}
	for i := range r.entries {
		e := &r.entries[i]
		if e.busy != verbNone || e.at.IsZero() || now.Before(e.at) {
			continue
		}
		t := task{method: e.method, verb: e.due, lifetime: r.life}
		if e.held.External.IsValid() { // after a loss as well: ask for the same again
			t.external = e.held.External
		}
		e.busy = e.due
		e.plan(verbNone, time.Time{})
		switch t.verb {
		case verbMap:
			e.sent = true
		case verbDrop:
			e.sent, e.has = false, false
		}
		r.tasks = append(r.tasks, t)
	}
}

// Deadline returns when Advance wants to be called next, zero for never.
func (r *race) Deadline() time.Time {
	due := r.again
	earlier := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	for i := range r.entries {
		if e := &r.entries[i]; e.busy == verbNone {
			earlier(e.at)
			if i == r.active {
				earlier(e.expires)
			}
		}
	}
	return due
}

// Poll returns the next errand for the driver, which answers it by Done.
func (r *race) Poll() (task, bool) {
	if len(r.tasks) == 0 {
		return task{}, false
	}
	t := r.tasks[0]
	r.tasks = r.tasks[1:]
	return t, true
}

// NextEvent returns the next event.
func (r *race) NextEvent() (Event, bool) {
	if len(r.events) == 0 {
		return nil, false
	}
	e := r.events[0]
	r.events = r.events[1:]
	return e, true
}

func (r *race) emit(e Event) {
	if len(r.events) == maxRaceEvents { // nobody drains: a driver's bug, kept harmless
		r.events = r.events[1:]
	}
	r.events = append(r.events, e)
}

// Mapping returns what stands now.
func (r *race) Mapping() (Mapping, bool) {
	if r.active < 0 {
		return Mapping{}, false
	}
	return r.entries[r.active].held, true
}

// Done takes the result of an errand.
func (r *race) Done(now time.Time, t task, g grant, err error) {
	i := -1
	for k := range r.entries {
		if r.entries[k].method == t.method && r.entries[k].busy == t.verb {
			i = k
		}
	}
	if i < 0 {
		return // not one of ours
	}
	e := &r.entries[i]
	e.busy = verbNone
	var refused *RefusedError
	if (errors.Is(err, ErrNoAnswer) || errors.As(err, &refused)) && !e.has {
		e.sent = false // nobody there, or no: nothing to withdraw
	}
	r.learn(g.outside)
	switch {
	case t.verb == verbDrop:
		// Some routers delete by inside port whatever protocol made the mapping
		// (RFC 6886 §3.4), the winner's included.
		r.confirm = r.confirm || r.active >= 0 && r.active != i
	case r.closing:
		if e.sent {
			e.plan(verbDrop, now)
		}
	case t.verb == verbCheck:
		r.checked(now, i, g, err)
	case err != nil:
		r.failed(now, i, err)
	default:
		lost := g.hasEpoch && e.epoch.observe(now, g.epoch)
		m, err := judge(r.net, t.method, g)
		if err != nil {
			r.failed(now, i, err)
			break
		}
		r.granted(now, i, m)
		// This answer may be from before the loss of another method's state.
		r.confirm = r.confirm || lost && i != r.active && r.active >= 0
	}
	r.Advance(now)
}

// learn takes the router's outside address.
func (r *race) learn(a netip.Addr) {
	a = a.Unmap()
	if r.closing || a == r.outside || usable(r.net, a) != nil {
		return
	}
	r.outside = a
	r.emit(External{Gateway: r.net.gateway, Addr: a, Layer2: middle(a)})
}

func (r *race) granted(now time.Time, i int, m Mapping) {
	e := &r.entries[i]
	old, renewed := e.held, e.has
	e.held, e.has, e.err, e.tries = m, true, nil, 0
	e.expires = now.Add(m.Lifetime)
	// Between a half and five eighths (RFC 6887 §11.2.1).
	e.renewAt = now.Add(m.Lifetime/2 + r.jitter(m.Lifetime/8))
	r.again, r.rounds, r.told = time.Time{}, 0, false
	if !r.net.v6() { // a pinhole's address is our own, not the router's
		r.learn(m.External.Addr())
	}

	switch prev := r.active; {
	case prev == i && renewed:
		if old.External != m.External {
			r.emit(Mapped{m})
			r.emit(Lost{old, errGone})
		}
	case prev >= 0 && prev < i:
		r.retire(now, i)
		return
	default:
		r.active = i
		r.emit(Mapped{m})
		for k := range r.entries { // nobody else needs to start
			if k != i && r.entries[k].due == verbMap {
				r.entries[k].plan(verbNone, time.Time{})
			}
		}
		if prev >= 0 {
			if p := r.entries[prev].held; p.External != m.External {
				r.emit(Lost{p, errSuperseded})
			}
			r.retire(now, prev)
		}
	}
	r.rest(now, i)
}

// retire withdraws the mapping of a method that isn't needed, unless it is the
// same entry of the router's table as the active one.
func (r *race) retire(now time.Time, i int) {
	e := &r.entries[i]
	if e.held.External == r.entries[r.active].held.External {
		e.has, e.sent = false, false
		e.plan(verbNone, time.Time{})
		return
	}
	e.plan(verbDrop, now)
}

// rest plans the active method's next errand.
func (r *race) rest(now time.Time, i int) {
	e := &r.entries[i]
	check := now.Add(checkEvery*3/4 + r.jitter(checkEvery/2))
	if check.Before(e.renewAt) {
		e.plan(verbCheck, check)
	} else {
		e.plan(verbMap, e.renewAt)
	}
}

func (r *race) checked(now time.Time, i int, g grant, err error) {
	e := &r.entries[i]
	lost := err == nil && g.hasEpoch && e.epoch.observe(now, g.epoch)
	if i != r.active {
		return
	}
	moved := err == nil && g.outside.IsValid() && g.outside.Unmap() != e.held.External.Addr()
	switch {
	case errors.Is(err, errGone), moved:
		e.plan(verbMap, now)
	case lost:
		e.plan(verbMap, now.Add(r.jitter(herd)))
	default: // no answer to a check is no reason to give up what may stand
		r.rest(now, i)
	}
}

func (r *race) failed(now time.Time, i int, err error) {
	e := &r.entries[i]
	if i == r.active {
		if definite(err) || !now.Before(e.expires) {
			r.lose(now, err)
			return
		}
		wait := min(minRetry<<min(e.tries, 8), max(minRetry, e.expires.Sub(now)/2))
		e.tries++
		e.plan(verbMap, now.Add(wait))
		return
	}
	e.err = err
	if r.active >= 0 {
		return
	}
	waiting := false
	for k := range r.entries {
		o := &r.entries[k]
		if !waiting && o.due == verbMap && o.busy == verbNone && o.at.After(now) {
			o.at = now // no reason left to give anyone a head start
		}
		waiting = waiting || o.busy != verbNone || o.due != verbNone
	}
	if !waiting {
		r.giveUp(now)
	}
}

func (r *race) giveUp(now time.Time) {
	pause := min(firstPause<<min(r.rounds, 8), maxPause)
	r.rounds++
	r.again = now.Add(pause*3/4 + r.jitter(pause/2))
	if r.told {
		return
	}
	r.told = true
	var all []error
	for _, e := range r.entries {
		all = append(all, fmt.Errorf("%s: %w", e.method, e.err))
	}
	r.emit(Failed{V6: r.net.v6(), Gateway: r.net.gateway, Err: errors.Join(all...)})
}

// lose takes note that the active mapping is gone and starts over.
func (r *race) lose(now time.Time, why error) {
	e := &r.entries[r.active]
	e.has = false
	r.active, r.confirm = -1, false
	r.emit(Lost{e.held, why})
	r.begin(now)
}

// Announce takes a router's word to everybody that it lost its state.
func (r *race) Announce(now time.Time, a announcement) {
	if r.closing || now.Before(r.quiet) {
		return
	}
	if r.active < 0 {
		if !r.again.IsZero() { // it has come up
			r.quiet, r.rounds = now.Add(calm), 0
			r.again = now.Add(r.jitter(herd))
		}
		return
	}
	e := &r.entries[r.active]
	// The counter says whether it is true, where there is one to compare with:
	// RFC 6887 §14.1.3. Without, the router is believed.
	lost := a.method != e.method || e.epoch.observe(now, a.epoch) || a.epoch < young
	moved := a.external.IsValid() && a.external != e.held.External.Addr()
	if lost || moved {
		r.quiet = now.Add(calm)
		e.plan(verbMap, now.Add(r.jitter(herd)))
	}
}

// Refresh looks after the mapping at once: the machine slept, or the
// application thinks that something changed.
func (r *race) Refresh(now time.Time) {
	if r.closing || now.Before(r.quiet) {
		return
	}
	r.quiet = now.Add(calm)
	switch {
	case r.active >= 0:
		r.entries[r.active].plan(verbMap, now)
	case !r.again.IsZero():
		r.rounds, r.told = 0, false
		r.begin(now)
	}
	r.Advance(now)
}

// Close withdraws everything the router may hold. The driver gives up errands
// that are out, and is done when Idle.
func (r *race) Close(now time.Time) {
	if r.closing {
		return
	}
	r.closing, r.again, r.confirm = true, time.Time{}, false
	if r.active >= 0 {
		r.emit(Lost{r.entries[r.active].held, errLeft})
		r.active = -1
	}
	for i := range r.entries {
		e := &r.entries[i]
		e.plan(verbNone, time.Time{})
		if e.busy == verbNone && e.sent {
			e.plan(verbDrop, now)
		}
	}
	r.Advance(now)
}

// Idle reports that a closed race has nothing left to do.
func (r *race) Idle() bool {
	for _, e := range r.entries {
		if e.busy != verbNone || e.due != verbNone {
			return false
		}
	}
	return len(r.tasks) == 0
}

func (r *race) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(r.rng.Int64N(int64(d)))
}
