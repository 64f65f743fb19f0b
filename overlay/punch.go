// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// punching is what the loop knows of the punch towards one peer.
type punching struct {
	plan    nat.Plan
	run     *nat.Puncher // nil when nothing runs
	handle  [4]byte
	sockets []int // opened for it and not closed yet
	tried   bool  // plan was made
	rolled  bool  // it was a slow search beside a call
	end     nat.End

	held  []netip.AddrPort // candidates that wait until first shots have gone
	until time.Time
}

// startPunch carries out this side's half of the plan for two behaviours, when
// probing the candidates alone (which always happens too) won't do.
func (c *core) startPunch(now time.Time, p *Peer, theirs nat.Offer) {
	s := &p.state
	if c.direct(p) || s.punch.run != nil || !theirs.Outside.IsValid() {
		return
	}
	paths := c.o.pathsTo(theirs.Outside)
	if len(paths) == 0 {
		return
	}
	mine, standing := c.obs.class.Behaviour(), c.standing()
	plan := c.planFor(theirs, paths[0].Local)
	s.punch.plan, s.punch.tried, s.punch.end = plan, true, nat.Nothing
	c.o.log.Debug("plan", "peer", p.node, "mine", mine.Mapping, "theirs", theirs.Behaviour.Mapping,
		"method", plan.Method, "role", plan.Role, "reason", plan.Reason)
	if plan.Reason != "" {
		s.why = plan.Reason
	}
	if len(plan.Steps) == 0 {
		return
	}
	if plan.Method >= nat.ChosenPort && !s.byRoute && !s.called {
		// What takes many packets is kept for calls: the mesh has other
		// neighbours to choose from, and relays.
		return
	}
	if plan.Method >= nat.ChosenPort && !alike(s.offered, mine) {
		return // the other side plans without what is new here: see reoffer
	}
	trust := nat.Stranger
	if c.attestedHost(p, theirs.Outside.Addr()) {
		trust = nat.Attested
	} else if s.byRoute && plan.Method != nat.Simultaneous {
		return // relays are about to vouch for the address; see vouched
	}
	c.touch(p)
	s.punch.run = nat.NewPuncher(now, nat.PunchConfig{
		Mine: p.mine, Theirs: theirs.Cred, Plan: plan, Local: paths[0].Local,
		Remote: theirs.Outside, Trust: trust, Standing: standing, Spares: spares(plan),
	}, c.budget, c.rng)
	s.punch.handle = s.punch.run.Handle()
	c.o.handles.Store(s.punch.handle, p)
	// An introduced peer may take as long as its plan.
	if !s.expires.IsZero() {
		s.expires = s.expires.Add(min(plan.After+plan.For, longestPunch))
	}
}

// planFor makes this side's half of the plan for two behaviours.
func (c *core) planFor(theirs nat.Offer, local int) nat.Plan {
	mine := c.obs.class.Behaviour()
	own := c.outside(theirs.Outside.Addr().Is4())
	opt := nat.PlanOptions{
		Share:    c.o.cfg.PortShare,
		Standing: c.standing(),
		LowTTL:   c.o.sock.CanTTL(local),
		Friendly: true, // a ticket's holder is expected
		SameNAT:  own.Addr() == theirs.Outside.Addr(),

		MineMapped: c.open(), TheirsMapped: theirs.Mapped,
	}
	plan := nat.MakePlan(mine, theirs.Behaviour, opt)
	if opt.MineMapped || opt.TheirsMapped {
		// Routers have been seen to promise ports and to keep them shut. What
		// would be done without them comes later then, on both sides.
		opt.MineMapped, opt.TheirsMapped = false, false
		if other := nat.MakePlan(mine, theirs.Behaviour, opt); plan.Method == nat.Straight && len(other.Steps) > 0 {
			plan = other
			plan.After += mappedStart
		}
	}
	return plan
}

// longestPunch bounds how long a punch keeps a peer that nobody is linked with:
// a search through the full range takes three seconds. The slow search beside
// a relayed call needs a link, and so no such time.
const longestPunch = 10 * time.Second

// spares is how many holes a punch makes for the day when the first one closes. In
// the full range the next one costs as many packets again, of which an address gets
// so many only; there one is kept.
func spares(p nat.Plan) int {
	for _, s := range p.Steps {
		if s.Aim == nat.AimPorts && s.Ranges[0].Size() > cheapRange || s.Aim == nat.AimRolling || s.Sockets > cheapSockets {
			return 0
		}
	}
	switch p.Method {
	case nat.ChosenPort, nat.Search, nat.Sweep, nat.AimAhead:
		return 1
	}
	return 0
}

const (
	// cheapRange of ports is found in twice with 300 packets more, and
	// cheapSockets are what the other side opens for such a range.
	cheapRange   = 4096
	cheapSockets = 128
)

// mappedStart is what a mapped port gets before other ways are tried: three
// probes of Paths, the last 150 ms after the first, and a round trip of 400 ms
// with as much to spare.
const mappedStart = 800 * time.Millisecond

// propose gives an introduced peer's candidates to its paths. Those at its outside
// address wait while the plan's first shots, which don't get that far, open our own
// router: it may take what comes too early for a connection of its own, and then
// moves the port that the other side aims at.
func (c *core) propose(now time.Time, p *Peer, theirs nat.Offer) {
	k := &p.state.punch
	k.held = nil
	p.state.renewal.theirs = theirs.Behaviour
	if k.run == nil || k.plan.Hold == 0 {
		c.addCandidates(now, p, theirs.Candidates)
		return
	}
	var rest []netip.AddrPort
	for _, a := range theirs.Candidates {
		if a.Addr() == theirs.Outside.Addr() {
			k.held = append(k.held, a)
		} else {
			rest = append(rest, a)
		}
	}
	k.until = now.Add(k.plan.Hold)
	c.touch(p)
	c.addCandidates(now, p, rest)
}

// unhold gives the paths what has waited for long enough.
func (c *core) unhold(now time.Time, p *Peer) {
	if k := &p.state.punch; len(k.held) > 0 && !now.Before(k.until) {
		held := k.held
		k.held = nil
		c.addCandidates(now, p, held)
	}
}

func (k *punching) deadline() (at time.Time) {
	if k.run != nil {
		at = k.run.Deadline()
	}
	if len(k.held) > 0 {
		at = earlier(at, k.until)
	}
	return at
}

// drainPunch carries out what a puncher wants done.
func (c *core) drainPunch(now time.Time, p *Peer) {
	k := &p.state.punch
	for k.run != nil {
		c.punchEvents(now, p)
		if k.run == nil {
			return
		}
		shot, ok := k.run.Poll()
		if !ok {
			return
		}
		if err := c.shoot(shot); err != nil {
			k.run.SendFailed(now, shot.Path, sendError(err))
		}
	}
}

// standing counts the mappings that links hold.
func (c *core) standing() (n int) {
	for _, p := range c.order {
		if p.state.linked {
			n++
		}
	}
	return n
}

// shoot sends one packet of a punch.
func (c *core) shoot(s nat.Shot) error {
	if s.TTL != 0 {
		return c.o.sock.WriteTTL(s.Path, s.B, s.TTL)
	}
	return c.o.sock.WriteTo(s.Path, s.B)
}

func (c *core) punchEvents(now time.Time, p *Peer) {
	k := &p.state.punch
	for {
		e, ok := k.run.NextEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case nat.OpenSockets:
			locals := make([]int, e.N)
			for i := range locals {
				port := uint16(0)
				if i < len(e.Ports) {
					port = e.Ports[i]
				}
				local, err := c.fresh(p.state.outsideOf.Addr(), port)
				if err != nil {
					c.o.log.Debug("no socket for a punch", "port", port, "err", err)
					local = -1
				} else {
					k.sockets = append(k.sockets, local)
				}
				locals[i] = local
			}
			k.run.SocketsOpened(now, locals)
		case nat.CloseSockets:
			for _, l := range e.Locals {
				c.closeExtra(p, l)
			}
		case nat.Hit:
			c.o.log.Debug("hole", "peer", p.node, "local", e.Path.Local, "remote", e.Path.Remote)
			p.state.paths.AddProved(now, e.Path)
		case nat.Ended:
			c.o.log.Debug("punch ended", "peer", p.node, "why", e.Why, "shots", e.Status.Shots, "sockets", e.Status.Sockets, "hits", e.Status.Hits)
			c.o.handles.Delete(k.handle)
			k.run, k.end = nil, e.Why
			c.punchOver(now, p)
			return
		}
	}
}

// closeExtra closes a socket that was opened for a peer.
func (c *core) closeExtra(p *Peer, local int) {
	k := &p.state.punch
	k.sockets = slices.DeleteFunc(k.sockets, func(l int) bool { return l == local })
	c.o.sock.Remove(local)
	if p.state.paths != nil {
		p.state.paths.SocketDown(c.latest, local)
	}
}

// unused closes a socket of a peer that no path of it uses any more.
func (c *core) unused(p *Peer, local int) {
	if p.state.punch.run != nil || !slices.Contains(p.state.punch.sockets, local) {
		return
	}
	for _, q := range p.state.paths.Snapshot() {
		if q.Path.Local == local && q.State == nat.Valid {
			return
		}
	}
	c.closeExtra(p, local)
}

// settlePunch ends a punch that a direct path has made needless.
func (c *core) settlePunch(now time.Time, p *Peer) {
	if run := p.state.punch.run; run != nil && c.direct(p) && run.Status().Hits == 0 {
		c.touch(p)
		run.Stop(now) // else it ends by itself, with its spare holes
	}
}

// endPunch closes everything of a peer that is dropped.
func (c *core) endPunch(p *Peer) {
	k := &p.state.punch
	if k.run != nil {
		c.o.handles.Delete(k.handle)
		k.run = nil
	}
	for len(k.sockets) > 0 {
		c.closeExtra(p, k.sockets[0])
	}
}

// sendError puts a socket's error into the puncher's words.
func sendError(err error) nat.SendError {
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return nat.SendRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, net.ErrClosed), errors.Is(err, sock.ErrLocal):
		return nat.SendNoRoute
	}
	return nat.SendJammed
}

// outside returns this node's own address as most others see it; a mapped one
// when nobody does.
func (c *core) outside(ipv4 bool) netip.AddrPort {
	for _, a := range append(c.observed(), c.addresses()...) {
		if a.Addr().Is4() == ipv4 && !inside(a.Addr()) {
			return a
		}
	}
	return netip.AddrPort{}
}

// attestedHost is attested for the address alone: behind a NAT with
// endpoint-dependent mapping an introducer sees another port than we will.
func (c *core) attestedHost(p *Peer, host netip.Addr) bool {
	var by []netip.Prefix
	for _, a := range p.state.attested {
		if a.addr.Addr() == host && !slices.Contains(by, a.by) {
			by = append(by, a.by)
		}
	}
	return len(by) >= 2 || len(by) == 1 && c.few()
}
