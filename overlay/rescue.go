// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"time"

	"github.com/p2pos/p2pos/nat"
)

// A call that hears nothing over any of its paths, the relays' included, is rung
// again over the route: that finds the other side wherever it is now, leaves flows
// on its way that carry sound at once, and brings new offers to punch with. New
// relays are asked for at the same time.

const (
	// deafAfter is silenceBase and the least jitter of nat's rule for one path.
	deafAfter = 140 * time.Millisecond
	// firstMedia is how long a call's first media may take before that counts.
	firstMedia = time.Second
	// hopeFor is how long a path that carried no media before may take to do so.
	hopeFor = 250 * time.Millisecond
	// recentMedia is how long ago media may have come over a path for its silence to
	// mean something.
	recentMedia = time.Second
	// rescueFirst is the time to the second attempt; it doubles up to rescueMost.
	rescueFirst = time.Second
	rescueMost  = 8 * time.Second
)

// rescuing is what the loop knows of a call that fell silent.
type rescuing struct {
	since time.Time // in doubt, or without a path; zero = neither
	quiet bool      // doubt has ended without media before: perhaps nothing is said
	next  time.Time
	wait  time.Duration
}

// deaf says whether a call hears nothing over any path.
func (c *core) deaf(now time.Time, p *Peer) bool {
	return p.state.media && !p.state.rescue.since.IsZero() && now.Sub(p.heardAt()) >= deafAfter
}

// heardAt is when media came last, over whatever path. A call's first may take its
// time.
func (p *Peer) heardAt() time.Time {
	at := p.state.mediaAt.Add(firstMedia)
	for _, path := range p.sock.Paths() {
		at = later(at, p.sock.Heard(path))
	}
	return at
}

// hopeless says whether there is no path left that may just not be in use yet.
func (c *core) hopeless(now time.Time, p *Peer) bool {
	age := now.Sub(p.state.rescue.since)
	if p.state.rescue.quiet {
		return age >= rescueFirst
	}
	for _, q := range p.state.paths.Snapshot() {
		if q.State == nat.Valid && now.Sub(p.sock.Heard(q.Path)) > recentMedia {
			return age >= hopeFor
		}
	}
	return true
}

// doubted follows whether the path in use is in doubt, or there is none. Another
// one that took over is no better until it has answered.
func (c *core) doubted(now time.Time, p *Peer) {
	r := &p.state.rescue
	_, _, ok := p.state.paths.Active()
	doubt, answered := !ok, time.Time{}
	for _, q := range p.state.paths.Snapshot() {
		doubt = doubt || q.Doubted
		if q.Primary {
			answered = q.Answered
		}
	}
	switch {
	case now.Sub(p.heardAt()) < deafAfter:
		*r = rescuing{}
	case doubt && r.since.IsZero():
		r.since = now
	case !doubt && answered.After(r.since) && !r.since.IsZero():
		r.since, r.quiet = time.Time{}, true
	}
}

// rescue looks for the other side of a call that hears nothing any more.
func (c *core) rescue(now time.Time, p *Peer) {
	s := &p.state
	r := &s.rescue
	if !s.media || s.paths == nil {
		*r = rescuing{}
		return
	}
	c.doubted(now, p)
	if !c.deaf(now, p) || now.Before(r.next) || !c.hopeless(now, p) {
		return
	}
	r.wait = min(max(2*r.wait, rescueFirst), rescueMost)
	r.next = now.Add(r.wait)
	c.o.log.Debug("call is deaf", "peer", p.node)
	c.routed(now, p, nil)
	s.warmAt = time.Time{}
	c.warm(now, p)
}
