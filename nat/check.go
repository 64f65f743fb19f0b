// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

// purpose says why a path is being probed; it fixes the schedule.
type purpose uint8

const (
	opening  purpose = iota // is there anybody? both sides open their NATs with it
	alive                   // keepalive of a valid path
	nominate                // tell the peer that our side uses this path now
	doubted                 // the path in use fell silent in mid-call
	again                   // a path that failed before
	faded                   // a second path over which media came, and comes no more
)

const (
	// maxTries is the longest schedule: 7 probes over 3.15 s outlive the
	// skew between two sides that learn of each other through an introducer.
	maxTries = 7
	// aliveTries make a dead path certain 2.8 s after the first unanswered
	// probe; four in a row lost at 5 % loss each way happen once in 10^4.
	aliveTries = 4
	// aliveDoubt unanswered probes put an idle path in doubt.
	aliveDoubt = 2
	// nominateTries end after 1.55 s: the path is the one in use, so that
	// silence on it is worth more than on a candidate.
	nominateTries = 5
	// doubtTries at 150 ms each find a dead path 450 ms after the doubt.
	doubtTries = 3
	// againTries is one: repetition comes from the retry timer.
	againTries = 1

	// ta paces probes of one Paths (RFC 8445 §14.2: at least 5 ms).
	ta = 5 * time.Millisecond
	// minGap keeps probes provoked by the peer's from following each other
	// faster than a copy of one datagram may arrive.
	minGap = 20 * time.Millisecond
	// lastWait is how long the last opening probe may take: a slow radio
	// that wakes up, twice.
	lastWait = 1600 * time.Millisecond
)

// openingGaps double from 50 ms: the first probe of one side usually dies in
// the other's NAT and only opens its own, so the second must not wait for the
// 500 ms of RFC 8445 §14.3.
var openingGaps = [maxTries]time.Duration{50e6, 100e6, 200e6, 400e6, 800e6, 1600e6, lastWait}

var aliveGaps = [aliveTries]time.Duration{300e6, 500e6, 800e6, 1200e6}

// check is one row of probes on one path. Each try is a transaction of its
// own: its id is base with the number of the try in the low three bits, so
// that an answer tells which try it answers and its round trip is exact.
type check struct {
	base    [12]byte
	before  [12]byte // base of the check before, whose answers may still come
	start   time.Time
	at      [maxTries]time.Duration // when each try went, from start
	next    time.Time               // the next try, or giving up
	tries   int
	limit   int
	why     purpose
	running bool
	used    bool // base is set: answers can be matched
	done    bool // answered
}

// begin arms the check; the caller sets base.
func (c *check) begin(now time.Time, why purpose, limit int) {
	*c = check{before: c.base, start: now, next: now, limit: min(limit, maxTries), why: why, running: true, used: true}
}

// tx returns the transaction id of try k.
func (c *check) tx(k int) [12]byte {
	id := c.base
	id[11] ^= byte(k)
	return id
}

// match returns the number of the try that id belongs to: -1 is one of the
// check before, whose answer is genuine but has nothing to add.
func (c *check) match(id [12]byte) (k int, ok bool) {
	if k = int(id[11] ^ c.base[11]); c.used && k < c.tries && [11]byte(id[:]) == [11]byte(c.base[:]) {
		return k, true
	}
	k = int(id[11] ^ c.before[11])
	return -1, c.used && k < maxTries && [11]byte(id[:]) == [11]byte(c.before[:])
}

// sent records a try and schedules what follows.
func (c *check) sent(now time.Time, r *rtt) {
	if c.tries == 0 {
		c.start = now
	}
	k := c.tries
	c.at[k] = now.Sub(c.start)
	c.tries++
	var gap time.Duration
	switch c.why {
	case opening, nominate:
		gap = max(openingGaps[k], min(r.timeout(0), aliveGaps[0]))
		if c.tries == c.limit && c.why == opening {
			gap = lastWait
		}
	case alive:
		gap = aliveGaps[min(k, aliveTries-1)]
	case doubted, faded:
		gap = r.timeout(minTimeout)
	case again:
		gap = lastWait
	}
	c.next = now.Add(gap)
}

// hurry brings the next try forward, not below minGap after the last.
func (c *check) hurry(now time.Time) {
	at := now
	if c.tries > 0 {
		at = latest(now, c.start.Add(c.at[c.tries-1]+minGap))
	}
	if at.Before(c.next) {
		c.next = at
	}
}

// open reports whether tries are left to send.
func (c *check) open() bool { return c.running && c.tries < c.limit }

// rtt estimates a path's round trip (RFC 6298 §2).
type rtt struct {
	smooth, vary time.Duration
	samples      int
}

const (
	// minTimeout is the least wait for an answer in doubt: the peer's loop
	// may be busy, and a radio schedules in steps of some 40 ms.
	minTimeout = 150 * time.Millisecond
	// maxTimeout bounds the wait, so that a path that was slow once is still
	// found dead within 3 s.
	maxTimeout = time.Second
)

func (r *rtt) add(d time.Duration) {
	d = max(d, time.Microsecond)
	if r.samples++; r.samples == 1 {
		r.smooth, r.vary = d, d/2
		return
	}
	r.vary += ((r.smooth - d).Abs() - r.vary) / 4
	r.smooth += (d - r.smooth) / 8
}

// timeout is how long an answer may take; least is the floor.
func (r *rtt) timeout(least time.Duration) time.Duration {
	if r.samples == 0 {
		return least
	}
	return min(max(r.smooth+4*r.vary, least), maxTimeout)
}

// bucket is a token bucket: at most burst at once, one more per refill.
type bucket struct {
	used   int
	burst  int
	refill time.Duration
	at     time.Time // the last refill counted
}

// take takes a token if one is left.
func (b *bucket) take(now time.Time) bool {
	if b.used == 0 {
		b.at = now
	}
	if n := min(int(now.Sub(b.at)/b.refill), b.used); n > 0 {
		b.used -= n
		b.at = b.at.Add(time.Duration(n) * b.refill)
		if b.used == 0 {
			b.at = now
		}
	}
	if b.used >= b.burst {
		return false
	}
	b.used++
	return true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sooner returns the earlier of two instants, of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
