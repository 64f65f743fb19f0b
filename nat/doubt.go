// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

const (
	// silenceBase is design §7's limit: with DTX a talker still sends every
	// 100 ms.
	silenceBase = 100 * time.Millisecond
	// jitterFloor keeps a DTX packet that is right on time out of doubt.
	jitterFloor = 10 * time.Millisecond
	// jitterMost bounds the limit at half a second: beyond that the playout
	// buffer has run dry anyway.
	jitterMost = 100 * time.Millisecond
	// silenceFirst is the limit until the first media on a path: the peer
	// needs a round trip to begin or to follow.
	silenceFirst = 500 * time.Millisecond
	// silenceQuiet bounds the doubling of the limit while the path answers
	// and the peer merely says nothing: muted, or on hold.
	silenceQuiet = 2 * time.Second
	// fadeAfter is how long a path beside the primary may be silent after
	// media came over it, as over the second of two relays, before it is asked
	// whether it still stands.
	fadeAfter = 500 * time.Millisecond
	// afterDoubt is when a path whose probes were cut short by media is
	// probed once more.
	afterDoubt = time.Second
)

// media is what the silence rule needs to know beside each path's voice.
type media struct {
	on    bool
	since time.Time // media flows
	from  time.Time // the primary path is in use
	quiet int       // doubts in a row that ended without media
}

func (m *media) restart(now time.Time) { m.from, m.quiet = now, 0 }

// voice follows genuine traffic on one path: how regularly it comes.
type voice struct {
	last         time.Time
	mean, jitter time.Duration
	n            int
}

func (v *voice) heard(now time.Time) {
	gap := now.Sub(v.last)
	v.last = now
	switch v.n++; {
	case v.n < 2 || gap > time.Second: // not a gap between packets
	case v.n == 2:
		v.mean = gap
	default:
		d := gap - v.mean
		v.mean += d / 16
		v.jitter += (d.Abs() - v.jitter) / 16 // RFC 3550 §6.4.1
	}
	v.n = min(v.n, 3)
}

// doubt is the state in which the primary path may be dead.
type doubt struct {
	on      bool
	silence bool      // media stopped; else a keepalive was not answered
	since   time.Time // when it began
	also    *entry    // the second path in use
}

// silentAt returns when the primary path has been silent for too long.
func (p *Paths) silentAt() time.Time {
	e, m := p.primary, &p.media
	if e == nil || !m.on || p.doubt.on || p.theirMAC == nil {
		return time.Time{}
	}
	limit := silenceFirst
	if e.voice.n > 0 && e.voice.last.After(m.from) {
		limit = silenceBase + min(4*max(e.voice.jitter, jitterFloor), 4*jitterMost)
	}
	limit = min(limit<<min(m.quiet, 8), max(limit, silenceQuiet))
	return latest(latest(m.since, m.from), e.heardAt()).Add(limit)
}

// fadeAt returns when a path beside the primary is to be asked, since media no
// longer comes over it; zero when it needn't be.
func (p *Paths) fadeAt(e *entry) time.Time {
	if !p.media.on || e == p.primary || e.state != Valid || e.check.running || p.theirMAC == nil ||
		e.voice.n < 2 || e.answeredAt.After(e.voice.last) {
		return time.Time{}
	}
	return e.voice.last.Add(fadeAfter)
}

// silence casts doubt on a primary path that has been silent for too long, and
// asks others that have become silent.
func (p *Paths) silence() {
	for _, e := range p.list {
		if at := p.fadeAt(e); !at.IsZero() && !p.now.Before(at) {
			p.begin(e, faded, doubtTries)
		}
	}
	if at := p.silentAt(); !at.IsZero() && !p.now.Before(at) {
		p.begun(true)
	}
}

// begun starts doubt: every path is probed at once, and the second best is used
// as well until the primary one has answered or failed.
func (p *Paths) begun(silence bool) {
	p.doubt = doubt{on: true, silence: silence, since: p.now}
	for _, e := range p.list {
		switch c := &e.check; {
		case e == p.primary && silence && c.running:
			c.limit = min(c.tries+doubtTries, maxTries)
			c.why = doubted
			if c.open() {
				c.hurry(p.now)
			}
		case e == p.primary && silence:
			p.begin(e, doubted, doubtTries)
		case e == p.primary || c.running && c.why != faded:
		case e.state == Valid && silence && p.now.Sub(e.voice.last) < fadeAfter && e.heardAt() == e.voice.last:
			p.begin(e, faded, doubtTries) // it had media too, until it had none
		case e.state == Valid:
			p.begin(e, alive, aliveTries)
		case e.state == Failed && e.known():
			p.begin(e, again, againTries)
		}
	}
	p.doubt.also = p.best(p.doubt.since)
	p.emit(Doubt{Path: p.primary.path})
}

// second chooses the second path anew, now that one answered or failed.
func (p *Paths) second() {
	d := &p.doubt
	if !d.on {
		return
	}
	if also := p.best(d.since); also != d.also {
		d.also = also
		p.emit(Doubt{Path: p.primary.path})
	}
}

// reassured ends doubt: the primary path answered.
func (p *Paths) reassured() {
	d := p.doubt
	if d.silence {
		p.media.quiet++
		if q := p.voiced(d.since.Add(-silenceBase)); q != nil && !p.controlling() {
			// The peer decides, and its media comes elsewhere: the
			// primary path was silent for longer than that.
			p.follow(q, Followed)
			return
		}
	}
	p.clear()
}

func (p *Paths) clear() {
	p.doubt = doubt{}
	p.emit(Cleared{Path: p.primary.path})
}

// voiced returns the valid path but the primary one over which media came last,
// if any did after since.
func (p *Paths) voiced(since time.Time) *entry {
	var top *entry
	for _, e := range p.list {
		if e != p.primary && e.state == Valid && !e.gone && e.voice.last.After(since) &&
			(top == nil || e.voice.last.After(top.voice.last)) {
			top = e
		}
	}
	return top
}
