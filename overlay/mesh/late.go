// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

// lateness is how far this node itself lags behind its timers. On a machine that
// is busy, ACKs and replies wait in its own queues: who takes that for silence
// sends more of everything, and so do all others on that machine.
type lateness struct {
	worst time.Duration
	at    time.Duration // when worst was true
}

const (
	// lateLeast is what a timer may be late without meaning anything.
	lateLeast = 10 * time.Millisecond
	// maxLate bounds what lateness may add to anything.
	maxLate = time.Second
	// usualTrip is a round trip that means nothing: one half way round the world.
	// What is typically above shows that most neighbours have too much to do.
	usualTrip = 300 * time.Millisecond
	// lateHalf is its half-life.
	lateHalf = time.Second
)

// note takes how late a timer was, and reports whether that is much.
func (l *lateness) note(now, by time.Duration) bool {
	if by < lateLeast {
		return false
	}
	if by = min(by, maxLate); by > l.by(now) {
		l.worst, l.at = by, now
	}
	return true
}

// by returns how late this node has been of late.
func (l *lateness) by(now time.Duration) time.Duration {
	if n := (now - l.at) / lateHalf; n < 8 {
		return l.worst >> n
	}
	return 0
}

// slack is how much longer things take than links say: because this node is
// late, or its neighbours are.
func (r *router) slack(now time.Duration) time.Duration {
	r.standard.renew(now, r.c.table.list, &r.c.id)
	return min(max(r.late.by(now), r.standard.slow, 2*r.standard.oneWay()-usualTrip), maxLate)
}
