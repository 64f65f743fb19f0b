// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// maxPaths bounds the paths to one peer: two sockets times eight
	// candidates (RFC 8445 §6.1.2.5 allows 100 pairs for several streams).
	maxPaths = 16
	// maxLearned bounds paths that only a request taught us and that never
	// answered, so that replayed requests cannot crowd out candidates.
	maxLearned = 8
	// maxSpares valid paths beside the primary are kept open: each costs a
	// probe per keepalive, and more than a few share their weak point.
	maxSpares = 3

	// triesCold is how many unprovoked packets go to an address that nobody
	// attested and that never answered with the key: enough for a lost one
	// and a slow NAT, too few to hurt whoever lives there.
	triesCold = 3
	// triesProvoked is the sum of those and of the ones that a genuine request
	// from that very address sets off, one each.
	triesProvoked = maxTries

	// retryFirst doubles up to retryUp, or to retryDown while nothing works.
	retryFirst = 250 * time.Millisecond
	retryUp    = 30 * time.Second
	retryDown  = 5 * time.Second
	// giveUpAfter ends all probing of what stays silent: by then its address
	// may be somebody else's.
	giveUpAfter = 10 * time.Minute
	// ownEvidence keepalives may be left to the peer's own probes before we
	// want an answer for ourselves.
	ownEvidence = 4
	// penaltyFirst doubles up to penaltyMost with each time a path failed
	// while in use: no upgrade leads back to it meanwhile.
	penaltyFirst = 5 * time.Second
	penaltyMost  = 60 * time.Second
)

// entry is one path and what is known of it.
type entry struct {
	path     sock.Path
	kind     Kind
	state    State
	attested bool      // a third side vouches for the address
	learned  bool      // known from a request alone
	bound    bool      // Bound was told
	proved   bool      // a puncher had an answer there, which Paths has not yet
	stale    bool      // the peer left it: no upgrade before it answers again
	gone     bool      // to be swept out
	left     bool      // by Retire: the last choice
	retired  time.Time // when it is to go after that; zero = it stays

	added      time.Time
	answeredAt time.Time // last answer with the key; zero = never
	askedAt    time.Time // last genuine request
	timer      time.Time // the next check while none runs; zero = none
	fails      int       // checks without an answer, in a row
	cold       int       // packets before the first answer
	penalty    time.Time
	penalties  int

	check     check
	nominate  bool // the check running carries USE-CANDIDATE
	rtt       rtt
	voice     voice
	spoke     time.Time // see HeardAt
	reflexive netip.AddrPort
}

func (e *entry) answered() bool { return !e.answeredAt.IsZero() }

// known reports whether the address is the peer's as far as anybody can tell.
func (e *entry) known() bool { return e.answered() || e.attested }

// heardAt is when the path last proved to carry anything towards us.
func (e *entry) heardAt() time.Time { return latest(e.answeredAt, e.voice.last) }

// find returns the entry of path.
func (p *Paths) find(path sock.Path) *entry {
	for _, e := range p.list {
		if e.path == path {
			return e
		}
	}
	return nil
}

// asked returns the entry and the try that a transaction id belongs to.
func (p *Paths) asked(id [12]byte) (*entry, int) {
	if [4]byte(id[:]) != p.handle {
		return nil, 0
	}
	for _, e := range p.list {
		if k, ok := e.check.match(id); ok {
			return e, k
		}
	}
	return nil, 0
}

// insert adds an entry, for which a less promising one may have to go.
func (p *Paths) insert(path sock.Path, learned bool) *entry {
	if !p.room(learned) {
		return nil
	}
	e := &entry{path: path, kind: p.kind(path), learned: learned, added: p.now}
	p.list = append(p.list, e)
	return e
}

// room makes room for one entry: what never answered goes first, then what
// was learned by itself, then what failed; never a valid path, nor a candidate
// that is still being checked.
func (p *Paths) room(learned bool) bool {
	var idle, taught, failed *entry
	strangers := 0
	for _, e := range p.list {
		stranger := e.learned && !e.answered()
		if stranger {
			strangers++
		}
		switch {
		case e.state == Failed && !e.answered() && idle == nil:
			idle = e
		case stranger && taught == nil:
			taught = e
		case e.state == Failed && e.answered() && failed == nil:
			failed = e
		}
	}
	switch {
	case learned && strangers >= maxLearned:
		if idle == nil || !idle.learned {
			idle = taught
		}
		p.remove(idle)
	case len(p.list) < maxPaths:
	case idle != nil:
		p.remove(idle)
	case taught != nil:
		p.remove(taught)
	case failed != nil:
		p.remove(failed)
	default:
		return false
	}
	return true
}

func (p *Paths) remove(e *entry) {
	e.gone = true
	p.sweep()
}

// sweep takes out what is marked gone.
func (p *Paths) sweep() {
	keep := p.list[:0]
	for _, e := range p.list {
		if !e.gone {
			keep = append(keep, e)
			continue
		}
		if e.bound {
			p.emit(Unbound{Path: e.path})
		}
		if p.rise.to == e {
			p.rise.to = nil
		}
		if p.nom.wish == e {
			p.nom.wish = nil
		}
		if p.nom.choice == e {
			p.nom.choice = nil
		}
		if p.doubt.also == e {
			p.second()
		}
	}
	clear(p.list[len(keep):])
	p.list = keep
}

// timers gives up what was not answered and starts what is due on e.
func (p *Paths) timers(e *entry) {
	switch c := &e.check; {
	case e.gone:
	case e != p.primary && !e.retired.IsZero() && !p.now.Before(e.retired):
		e.gone = true
	case c.running:
		if c.tries >= c.limit && !p.now.Before(c.next) {
			p.giveUp(e)
		}
	case p.theirMAC == nil || e.timer.IsZero() || p.now.Before(e.timer):
	case e.state == Valid:
		p.refresh(e)
	case e.state == Failed:
		if p.primary != nil && p.now.Sub(latest(e.heardAt(), e.added)) > giveUpAfter {
			e.gone = true
			return
		}
		p.begin(e, again, againTries)
	}
}

// refresh keeps a valid path's mapping alive, or lets it go when there are
// better ones enough.
func (p *Paths) refresh(e *entry) {
	better := 0
	for _, o := range p.list {
		if o != p.primary && o.state == Valid && p.better(o, e) {
			better++
		}
	}
	if e == p.primary || better < maxSpares {
		p.begin(e, alive, aliveTries)
		return
	}
	e.timer = p.now.Add(p.keepalive)
	if p.now.Sub(latest(e.heardAt(), e.askedAt)) > ownEvidence*p.keepalive {
		e.gone = true
	}
}

// giveUp ends a check whose last try was not answered in time.
func (p *Paths) giveUp(e *entry) {
	e.check.running = false
	e.fails++
	e.nominate = false
	if e.state == Valid {
		p.fail(e)
		return
	}
	e.state = Failed
	p.retry(e)
}

// retry schedules the next check of a failed path.
func (p *Paths) retry(e *entry) {
	e.timer = time.Time{}
	since, most := latest(e.heardAt(), e.added), retryUp
	if p.primary == nil {
		since, most = latest(since, p.downAt), retryDown
		if p.now.Sub(since) > giveUpAfter {
			return // until the next input
		}
	}
	if e.known() {
		at := e.check.start.Add(p.jitter(min(retryFirst<<min(e.fails, 10), most)))
		e.timer = latest(at, p.now.Add(ta))
	}
}
