// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// gainLeast and gainPart are what a path must be faster by, both: less is
	// not heard in a call, and estimates of a radio path wander that much.
	gainLeast = 10 * time.Millisecond
	gainPart  = 5 // a fifth
	// holdRTT is how long it must stay so, over gainSamples round trips on
	// either path, taken every sampleEvery.
	holdRTT     = 2 * time.Second
	gainSamples = 3
	sampleEvery = 500 * time.Millisecond
	// holdKind lets the rest of the first candidates answer before a change
	// to a path of a better kind, so that there is one change and not three.
	holdKind = 250 * time.Millisecond
)

// rise is the wish to change over to a better path.
type rise struct {
	to    *entry
	since time.Time // better all the time since then
	fast  bool      // by round trip, not by kind
}

// better ranks valid paths: by kind, then by round trip.
func (p *Paths) better(a, b *entry) bool {
	if c, d := a.kind.class(), b.kind.class(); c != d {
		return c < d
	}
	return a.rtt.smooth < b.rtt.smooth
}

// best returns the best valid path but the primary one. Those heard from since
// are preferred to those that only answered some time, and these to those that
// the peer left.
func (p *Paths) best(since time.Time) *entry {
	var top *entry
	var topTrust int
	for _, e := range p.list {
		if e.state != Valid || e.gone || e == p.primary {
			continue
		}
		trust := 1
		switch {
		case e.stale || e.left:
			trust = 0
		case e.heardAt().After(since):
			trust = 2
		}
		if top == nil || trust > topTrust || trust == topTrust && p.better(e, top) {
			top, topTrust = e, trust
		}
	}
	return top
}

// up begins use of the first valid path, or of the first after Down.
func (p *Paths) up(e *entry) {
	p.primary = e
	p.media.restart(p.now)
	p.nom.choice = nil
	p.emit(Up{Path: e.path, Again: p.everUp})
	p.everUp = true
	if p.controlling() {
		p.begin(e, nominate, nominateTries)
	}
}

// change makes to the primary path.
func (p *Paths) change(from sock.Path, to *entry, why Why) {
	p.primary = to
	p.doubt = doubt{}
	p.rise.to = nil
	p.media.restart(p.now)
	p.emit(Switched{From: from, To: to.path, Why: why, Replay: why != Better && why != Renewed})
}

// retireAfter is how long a path that was left is still heard: what the peer sent
// before it followed has come by then.
const retireAfter = 5 * time.Second

// Retire leaves a path whose mapping is about to end, as only the driver knows, for
// to, which was made to take its place; with drop it is forgotten soon after. It
// reports false, and nothing has changed, while to isn't valid.
func (p *Paths) Retire(now time.Time, path, to sock.Path, drop bool) bool {
	p.tick(now)
	e, next := p.find(unmapped(path)), p.find(unmapped(to))
	if next == nil || next.state != Valid || next.gone {
		return false
	}
	if e != nil && e != next {
		e.left = true
		if drop {
			e.retired = p.now.Add(retireAfter)
		}
		if e == p.primary {
			p.change(e.path, next, Renewed)
			p.begin(next, nominate, nominateTries)
		}
	}
	p.send()
	return true
}

// follow changes over to e because the peer did. The path it left is worth
// nothing until it answers again.
func (p *Paths) follow(e *entry, why Why) {
	old := p.primary
	p.change(old.path, e, why)
	p.penalise(old)
	old.stale = true
	if !old.check.running {
		p.begin(old, alive, aliveTries)
	}
}

// fail marks a valid path that stopped answering.
func (p *Paths) fail(e *entry) {
	e.state = Failed
	if e == p.primary {
		p.penalise(e)
		p.replace(Dead)
	} else if p.doubt.also == e {
		p.second()
	}
	if !e.check.running {
		p.retry(e)
	}
}

// penalise bars upgrades to a path that let us down, longer each time unless
// it had served well in between.
func (p *Paths) penalise(e *entry) {
	if p.now.Sub(p.media.from) > penaltyMost {
		e.penalties = 0
	}
	e.penalty = p.now.Add(min(penaltyFirst<<e.penalties, penaltyMost))
	e.penalties = min(e.penalties+1, 8)
}

// replace changes over from a primary path that is no longer usable.
func (p *Paths) replace(why Why) {
	from, since := p.primary.path, p.now
	if p.doubt.on {
		since = p.doubt.since
	}
	to := p.nom.wish
	p.nom.wish = nil
	if to != nil && (to.state != Valid || to.gone) {
		p.nom.choice, to = to, nil
	}
	if to == nil {
		to = p.best(since)
	}
	if to == nil {
		p.down()
		return
	}
	p.change(from, to, why)
	p.begin(to, nominate, nominateTries)
}

// down gives up on traffic, not on the peer: what worked before, or is
// vouched for, is tried from the start.
func (p *Paths) down() {
	p.primary, p.doubt, p.rise.to = nil, doubt{}, nil
	p.downAt = p.now
	p.emit(Down{})
	for _, e := range p.list {
		if e.state == Failed && e.known() && !e.gone {
			e.fails = 0
			p.begin(e, opening, maxTries)
		}
	}
}

// above returns the best path that deserves to be the primary one instead. One over
// which nothing came since the primary one took over may have died of the same, so it
// is asked first.
func (p *Paths) above() (to *entry, fast bool) {
	now := p.primary
	for _, e := range p.list {
		if e == now || e.state != Valid || e.stale || e.left || e.gone || p.now.Before(e.penalty) {
			continue
		}
		c, d := e.kind.class(), now.kind.class()
		gain := now.rtt.smooth - e.rtt.smooth
		if c < d || c == d && gain >= max(gainLeast, now.rtt.smooth/gainPart) {
			if !e.heardAt().After(p.media.from) {
				if !e.check.running {
					p.begin(e, alive, aliveTries)
				}
			} else if to == nil || p.better(e, to) {
				to, fast = e, c == d
			}
		}
	}
	return to, fast
}

// Rejudge asks again of what kind each path is, after Options.Kind has learned more.
func (p *Paths) Rejudge(now time.Time) {
	p.tick(now)
	for _, e := range p.list {
		e.kind = p.kind(e.path)
	}
	p.upgrade()
}

// upgrade changes over to a better path that stays better. Only one side does,
// so that two sides that judge differently don't pull each other to and fro.
func (p *Paths) upgrade() {
	r := &p.rise
	if p.primary == nil || p.doubt.on || p.theirMAC == nil || !p.controlling() {
		r.to = nil
		return
	}
	to, fast := p.above()
	if to != r.to {
		r.to, r.since = to, p.now
	}
	if r.fast = fast; to == nil {
		return
	}
	switch held := p.now.Sub(r.since); {
	case !fast && held < holdKind:
	case fast && (held < holdRTT || min(to.rtt.samples, p.primary.rtt.samples) < gainSamples):
		p.sample(to)
		p.sample(p.primary)
	default:
		p.change(p.primary.path, to, Better)
		p.begin(to, nominate, nominateTries)
	}
}

// riseAt returns when upgrade may have something to do.
func (p *Paths) riseAt() time.Time {
	if p.rise.to == nil {
		return time.Time{}
	}
	hold := holdKind
	if p.rise.fast {
		hold = holdRTT
	}
	if at := p.rise.since.Add(hold); at.After(p.now) {
		return at
	}
	return time.Time{} // it waits for answers
}

// sample measures a path more often than keepalives do.
func (p *Paths) sample(e *entry) {
	at := e.answeredAt.Add(sampleEvery)
	switch {
	case e.check.running:
	case !p.now.Before(at):
		p.begin(e, alive, aliveTries)
	default:
		e.timer = sooner(e.timer, at)
	}
}
