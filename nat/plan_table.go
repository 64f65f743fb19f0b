// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

// MakePlan says what this side does to reach the other one, whose own plan,
// made of the same two behaviours the other way round, is the other half: same
// Method, other Role. Behaviours from the network need not be sane.
func MakePlan(mine, theirs Behaviour, o PlanOptions) Plan {
	a, b := sideOf(mine, o.MineMapped), sideOf(theirs, o.TheirsMapped)
	p := plan4(a, b, o)
	p.Mapping, p.Life = mine.Mapping, a.life
	p.Live = a.live(o)
	for i := range p.Steps {
		p.fit(&p.Steps[i], o.Standing)
	}
	six := hasIPv6(mine) && hasIPv6(theirs)
	if six && (p.Method == NoMethod || p.Method == OverTCP) {
		// RFC 6092 firewalls let answers in: both send first.
		return Plan{Method: Simultaneous, Mapping: p.Mapping, Life: p.Life, Live: p.Live}
	}
	if o.SameNAT && (p.Method == NoMethod || mine.Hairpin == No || theirs.Hairpin == No) {
		return Plan{
			Method: Local, Mapping: p.Mapping, Life: p.Life, Live: p.Live,
			Reason: "both are behind the same NAT, which doesn't send packets back inside: only addresses inside it can work",
		}
	}
	if (six || o.SameNAT) && len(p.Steps) > 0 && p.Hold == 0 {
		p.After = headStart
	}
	p.For = p.length()
	return p
}

// plan4 is the table: one row a case, the first that fits counts. a is this
// side, b the other; a row that names roles fits either way round.
func plan4(a, b side, o PlanOptions) Plan {
	switch {
	case a.blocked || b.blocked:
		return Plan{Method: OverTCP, Reason: "UDP is blocked on " + which(a.blocked, b.blocked)}

	case a.open || b.open: // any × public or mapped
		return Plan{Method: Straight, Role: roleIf(b.open, a.open, Sender)}

	case a.steady && b.steady: // EIM × EIM
		return simultaneous(a, b, o)

	case a.known() && b.known(): // a NAT that keeps the ports we bind
		return chosen(a, b)

	case a.steady && a.loose, b.steady && b.loose, // EIF or ADF × symmetric
		!a.known() && !b.known() && (a.free && b.loose || b.free && a.loose):
		return Plan{Method: JustSend, Role: roleIf(b.loose && !a.steady, a.loose && !b.steady, Sender)}

	case a.arbitrary && !a.known() || b.arbitrary && !b.known():
		return none("each connection of " + which(a.arbitrary, b.arbitrary) + " leaves from another public address")

	case !o.Friendly:
		return none("ports are searched only for a call or between siblings")

	case a.counter && b.counter: // sequential × sequential
		return aimAhead(a, b, o)

	case a.reaches() && !b.known(): // port-restricted × symmetric
		return search(a, b, Searcher, o)
	case b.reaches() && !a.known():
		return search(a, b, Opener, o)

	case a.perAddress && b.perAddress && !a.loose && !b.loose && a.sweepable() && b.sweepable():
		return sweep(a, b)

	// Whoever is found must let in a port it has not written to, since the
	// other side's is not known: one address-dependent filter is enough.
	case a.perAddress && b.perAddress && (a.loose || b.loose):
		searcher := b.loose && (!a.loose || b.ports.Size() < a.ports.Size())
		if a.loose && b.loose && a.ports.Size() == b.ports.Size() {
			return search(a, b, Either, o)
		}
		if searcher {
			return search(a, b, Searcher, o)
		}
		return search(a, b, Opener, o)

	case a.block && b.block: // symmetric × symmetric, blocks known
		return cross(a, b, o)
	}
	return none("both NATs take a new port for each connection, " + which(!a.block, !b.block) + " out of all there are")
}

func none(why string) Plan { return Plan{Method: NoMethod, Reason: why} }

// which names one side or both, in words for this side's user.
func which(mine, theirs bool) string {
	switch {
	case mine && theirs:
		return "both sides"
	case mine:
		return "this side"
	}
	return "the other side"
}

// roleIf gives r to this side when only yes, its opposite when only no.
func roleIf(yes, no bool, r Role) Role {
	if yes == no {
		return Either
	}
	if yes {
		return r
	}
	return r.other()
}

// simultaneous leaves it to Paths, after one shot that doesn't get as far as a
// NAT which would take it for a connection of its own and move the port we know.
func simultaneous(a, b side, o PlanOptions) Plan {
	p := Plan{Method: Simultaneous}
	if o.LowTTL && (a.preserves || b.preserves) {
		p.Hold = holdBack
		p.Steps = []Step{{Aim: AimKnown, Passes: 1, Every: burstEvery, TTL: lowTTL}}
	}
	return p
}

// chosen binds agreed ports on the sides that can, and has both sides send.
func chosen(a, b side) Plan {
	p := Plan{Method: ChosenPort, Chosen: a.chosen, TheirChosen: b.chosen}
	s := Step{Aim: AimKnown, Passes: 2 * openPasses, Gap: openGap / 3, Every: burstEvery}
	if a.chosen.Size() > 0 {
		s.Sockets, s.Bind = choices, a.chosen
	}
	p.Steps = []Step{s}
	return p
}

// search makes this side's half of a search in which it has role.
func search(a, b side, role Role, o PlanOptions) Plan {
	p := Plan{Method: Search, Role: role, Chosen: a.chosen, TheirChosen: b.chosen}
	if role != Searcher {
		p.Steps = append(p.Steps, openers(a, b, o)...)
	}
	if role == Opener {
		return p
	}
	s := Step{Aim: AimPorts, Ranges: [2]Range{b.ports, fullRange()}, Shots: mostShots, Every: burstEvery}
	if b.counter {
		s.Ahead, s.Step = counterAhead, b.step
	}
	if a.chosen.Size() > 0 {
		s.Sockets, s.Bind = 1, a.chosen
	}
	p.Steps = append(p.Steps, s)
	if role == Either {
		// Both halves of the packets: openers and tries go to one address.
		p.Steps[len(p.Steps)-1].Shots = mostShots / 2
	}
	return p
}

// openers opens sockets for the other side to find: few in a block, more later
// should the block be wrong.
func openers(a, b side, o PlanOptions) []Step {
	open := func(n int, at time.Duration) Step {
		s := Step{At: at, Sockets: n, Aim: AimKnown, Passes: openPasses, Every: burstEvery}
		s.Gap = max(openGap, time.Duration(n)*burstEvery+openGap)
		if o.LowTTL && b.preserves {
			s.TTL = lowTTL
		}
		return s
	}
	n := min(max(a.ports.Size()/searchRatio, leastSockets), mostSockets)
	if a.counter {
		n = leastSockets
	}
	n = max(1, min(n, a.live(o)-o.Standing))
	steps := []Step{open(n, 0)}
	if more := min(mostSockets, a.live(o)-o.Standing) - n; more > 0 && (a.block || a.counter) {
		steps = append(steps, open(more, widenAt))
	}
	return steps
}

// sweep goes through the other's block from each socket in turn.
func sweep(a, b side) Plan {
	size := b.ports.Size()
	n := min(max(mostShots/max(size, a.ports.Size()), 1), sweepSockets)
	return Plan{Method: Sweep, Steps: []Step{{
		Sockets: n, Aim: AimPorts, Ranges: [2]Range{b.ports}, Shots: min(n*size, mostShots), Every: burstEvery,
	}}}
}

func aimAhead(a, b side, o PlanOptions) Plan {
	n := min(aimRounds*aimSockets, a.live(o)-o.Standing)
	return Plan{Method: AimAhead, Steps: []Step{{
		Sockets: max(n, 1), Aim: AimCounter, Step: b.step, Ranges: [2]Range{b.ports},
		Passes: 2, Gap: max(openGap, time.Duration(n)*burstEvery), Every: burstEvery,
	}}}
}

// cross holds as many mappings as our share has, and replaces each as it
// expires: 2φ²/T meetings a second for mapping life T, whatever the block's
// size. All sockets aim at one port before they aim at the next, the first of
// which is agreed on: then no two of their mappings can meet the same one of
// the peer's, and a round meets with φ·φ, the most there is to be had.
func cross(a, b side, o PlanOptions) Plan {
	s := Step{
		Sockets: min(max(a.live(o)-o.Standing, 1), rollSockets),
		Aim:     AimRolling, Ranges: [2]Range{b.ports}, Every: rollEvery,
	}
	switch {
	case a.perAddress:
		// A socket has one mapping here, wherever it sends: the search costs
		// the household packets, not ports.
		s.Sockets = sweepSockets / 2
	case b.perAddress:
		// The peer's few ports stay and send everywhere: try many.
		s.Sockets = 1
	}
	return Plan{
		Method: Cross, Steps: []Step{s},
		Reason: "both NATs take a new port for each connection; it may take minutes to meet by chance",
	}
}

// fit cuts a step to what our share leaves.
func (p *Plan) fit(s *Step, standing int) {
	if s.Sockets > 0 {
		s.Sockets = max(1, min(s.Sockets, p.Live-standing))
	}
}

// length is how long the steps take.
func (p *Plan) length() time.Duration {
	var d time.Duration
	for _, s := range p.Steps {
		if s.Aim == AimRolling {
			return rollFor
		}
		n := s.Shots
		if s.Aim != AimPorts {
			n = max(s.Sockets, 1)
		}
		d = max(d, s.At+time.Duration(n)*s.Every+time.Duration(max(s.Passes-1, 0))*s.Gap)
	}
	if p.Role == Opener {
		d = max(d, mostShots*burstEvery) // what the other side may take
	}
	if d > 0 {
		d += lateAnswers
	}
	if p.Method == Search || p.Method == Sweep {
		d = max(d, leastSearch) // a tiny block is soon tried
	}
	return d
}
