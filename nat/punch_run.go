// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// run is a Step being carried out.
type run struct {
	Step
	next  time.Time // of the next shot
	began time.Time // of the pass
	asked bool      // for its sockets
	want  int       // sockets to come in all
	have  int       // of them, failed ones included
	base  int       // its sockets are extra[base:base+have]
	k     int       // the next socket
	pass  int
	count int // AimPorts: shots so far; AimRolling too
	walk  walk
	port  uint16 // of the walk's, for the sockets that are still to aim at it
	done  bool
}

func (p *Puncher) newRun(s Step) run {
	r := run{Step: s, want: s.Sockets, next: p.start.Add(s.At)}
	r.Every = max(r.Every, burstEvery)
	if p.c.Slow {
		r.Every = max(r.Every, rollEvery)
	}
	switch s.Aim {
	case AimPorts, AimRolling:
		r.walk = p.newWalk(&r)
	}
	if s.Aim == AimRolling {
		r.port = p.agree.burst(s.Ranges[0], false)
	}
	// What is more than a few packets to one known port needs a third side's
	// word, and what has no end its word of today.
	if s.Aim != AimKnown && p.c.Trust == Stranger || s.Aim == AimRolling && p.c.Trust != Attested {
		r.done, p.status.denied = true, true
	}
	return r
}

func (p *Puncher) newWalk(r *run) walk {
	return newWalk(p.c.Remote.Port(), r.Step.Step, r.Ahead, r.Ranges, p.agree.value(agreedOrder, false))
}

// waiting returns the run that is next to get sockets.
func (p *Puncher) waiting() *run {
	for i := range p.runs[:p.nrun] {
		if r := &p.runs[i]; r.asked && r.have < r.want {
			return r
		}
	}
	return nil
}

// stalled reports whether only an input can make the run go on.
func (r *run) stalled(p *Puncher) bool {
	return r.asked && r.k >= r.have && r.have < r.want || r.Aim == AimRolling && !p.relayed || p.shots.full()
}

// lanes is how many shots one pass has.
func (r *run) lanes(p *Puncher) int {
	switch {
	case r.Sockets > 0:
		return r.want
	case p.c.Plan.Method == ChosenPort && r.Aim == AimKnown && p.c.Plan.TheirChosen.Size() > 0:
		return choices // one socket to each port that the peer may have got
	}
	return 1
}

// work does all that is due.
func (p *Puncher) work() {
	switch {
	case p.ended:
		return
	case !p.won.IsZero():
		if !p.now.Before(p.won.Add(grace)) {
			why := Won
			if len(p.hits) == 0 {
				why = Stopped
			}
			p.end(why)
		}
		return
	case !p.now.Before(p.until):
		why := Silence
		switch {
		case len(p.hits) > 0:
			why = Won // with fewer spares than were wanted
		case p.status.denied:
			why = NoBudget
		}
		p.end(why)
		return
	}
	busy := false
	for i := range p.runs[:p.nrun] {
		p.advance(&p.runs[i])
		busy = busy || !p.runs[i].done
	}
	if !busy && p.status.denied {
		p.until = sooner(p.until, p.now.Add(lateAnswers))
	}
}

func (p *Puncher) advance(r *run) {
	for !r.done && !r.next.After(p.now) {
		if r.stalled(p) {
			return
		}
		if r.want > 0 && !r.asked {
			p.ask(r)
			return
		}
		if lag := p.now.Add(-maxLag); r.next.Before(lag) {
			r.next = lag
		}
		if r.k >= r.lanes(p) && !p.turn(r) {
			continue
		}
		x, local, ok := p.socket(r)
		if !ok {
			r.k++
			continue
		}
		p.shoot(r, x, local)
	}
}

// ask asks for a run's sockets.
func (p *Puncher) ask(r *run) {
	r.asked = true
	o := OpenSockets{N: r.want}
	if r.Bind.Size() > 0 {
		for k := range r.want {
			o.Ports = append(o.Ports, p.agree.choice(r.Bind, k, true))
		}
	}
	p.emit(o)
}

// turn begins the next pass; false when there is none or not yet.
func (p *Puncher) turn(r *run) bool {
	r.k = 0
	switch r.Aim {
	case AimPorts, AimRolling:
		// Sockets are gone through by shots, not in passes; a run whose
		// sockets all failed is over.
		if r.Sockets > 0 && !p.anyOpen(r) {
			r.done = true
		}
		if r.Aim == AimRolling {
			r.port = 0 // each port from every socket, then the next
		}
		return !r.done
	}
	r.pass++
	if r.pass >= r.Passes || r.Sockets > 0 && !p.anyOpen(r) {
		r.done = true
		return false
	}
	if at := r.began.Add(time.Duration(r.pass) * r.Gap); at.After(r.next) {
		r.next = at
	}
	return !r.next.After(p.now)
}

func (p *Puncher) anyOpen(r *run) bool {
	for _, x := range p.extra[r.base : r.base+r.have] {
		if x.open {
			return true
		}
	}
	return false
}

// socket returns the socket of the run's next shot: x is its index in extra,
// −1 for the shared one.
func (p *Puncher) socket(r *run) (x, local int, ok bool) {
	if r.Sockets == 0 {
		return -1, p.c.Local, true
	}
	x = r.base + r.k
	return x, p.extra[x].local, p.extra[x].open
}

// shoot sends the run's next shot, as far as the budget has it.
func (p *Puncher) shoot(r *run, x, local int) {
	port := p.target(r)
	if port == 0 {
		r.done = true
		return
	}
	a := ask{
		to: netip.AddrPortFrom(p.c.Remote.Addr(), port), trust: p.c.Trust, rolling: r.Aim == AimRolling || p.c.Slow && p.c.Trust == Attested,
		flow: r.pass == 0, live: p.c.Plan.Live, stand: p.c.Standing,
	}
	// One of these a punch: those of a search may be hundreds, and count.
	a.short = p.c.Plan.Method == Simultaneous && r.TTL > 0 && r.pass == 0
	if a.flow && p.maps(x) {
		a.mapping = max(p.c.Plan.Life, shortLife) + lifeMargin + time.Duration(max(r.Passes-1, 0))*r.Gap
	}
	switch why, at := p.budget.take(p.now, a); {
	case why == NotRefused:
	case at.IsZero():
		r.done, p.status.denied = true, true
		return
	default:
		r.next = latest(at, p.now.Add(time.Microsecond))
		return
	}
	if r.count == 0 {
		r.began = p.now
	}
	r.count++
	p.status.Shots++
	if a.flow {
		p.status.Flows++
	}
	if a.mapping > 0 {
		p.status.Mappings++
	}
	if x >= 0 {
		p.extra[x].mapped = true
	}
	ttl := r.TTL
	if r.pass > 0 {
		ttl = 0
	}
	p.request(sock.Path{Local: local, Remote: netip.AddrPortFrom(p.c.Remote.Addr(), port)}, byte(r.pass&0x7f), ttl)
	r.next = r.next.Add(r.Every)
	p.step(r)
}

// target returns the port of the run's next shot; 0 when there is none.
func (p *Puncher) target(r *run) uint16 {
	plan := &p.c.Plan
	switch r.Aim {
	case AimCounter:
		bounds := r.Ranges[0]
		if bounds.Size() == 0 {
			bounds = fullRange()
		}
		round := r.k / aimSockets
		return onCounter(p.c.Remote.Port(), r.Step.Step*(round*aimSockets+aimSockets/2), bounds)
	case AimPorts, AimRolling:
		if r.port == 0 {
			r.port, _ = r.walk.next()
		}
		return r.port
	}
	if plan.TheirChosen.Size() == 0 {
		return p.c.Remote.Port()
	}
	k := 0
	if plan.Method == ChosenPort {
		k = r.k
	}
	return p.agree.choice(plan.TheirChosen, k, false)
}

// step goes on to the shot after this one.
func (p *Puncher) step(r *run) {
	switch r.Aim {
	case AimPorts:
		// One socket after the other, each through the same ports.
		r.port = 0
		if r.count >= r.Shots {
			r.done = true
		} else if n := max(r.want, 1); r.count%((r.Shots+n-1)/n) == 0 {
			r.k++
			r.walk = p.newWalk(r)
		}
	default:
		r.k++
	}
}

// maps reports whether a shot to a new destination makes a new mapping on our
// NAT.
func (p *Puncher) maps(x int) bool {
	if x >= 0 && !p.extra[x].mapped {
		return true
	}
	return p.c.Plan.Mapping == AddressAndPortDependent && p.c.Plan.Chosen.Size() == 0
}
