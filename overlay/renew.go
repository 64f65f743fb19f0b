// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// Some carriers end a mapping 50 to 75 s after it began, in the middle of a call.
// Where that is known of either side's NAT, a new hole is made before: the two tell
// each other by HOLE frames over their link what an introducer would carry, and
// punch, from a fresh socket on the side whose mapping ends. Then the call moves over.
const (
	// renewAt of its life a mapping is replaced: of 50 s this leaves 25 for a
	// slow search. Where the other side's life is the shorter one, renewTheirs
	// gives it the time to begin by itself.
	renewAt, renewTheirs = 0.5, 0.7
	// locateFor is how long neighbours may take to say where a fresh socket is
	// seen, holeFor how long the other side may take to answer, and holePause
	// the least time between two attempts.
	locateFor = 500 * time.Millisecond
	holeFor   = 3 * time.Second
	holePause = 3 * time.Second
	// holeServe is the least time between two questions that are answered.
	holeServe = time.Second
	// holeMargin is what probes take, and a punch beyond its plan.
	holeMargin = 2 * time.Second
	// locators are asked at once: one may have gone.
	locators = 2
	// renewalIDs are the numbers of questions that are not the classifier's.
	renewalIDs = 1 << 31
)

// holePhase is how far a renewal has got.
type holePhase uint8

const (
	holeIdle     holePhase = iota
	holeLocating           // where is our fresh socket seen?
	holeAsking             // the other side is to answer
	holePunching
)

// renewal is what the loop knows of new holes towards one peer.
type renewal struct {
	theirs nat.Behaviour // as it told last
	on     time.Time     // media began; zero = there is none
	phase  holePhase
	until  time.Time // of the phase
	next   time.Time // no attempt of our own before
	served time.Time // the other side's latest
	asked  bool      // the other side began
	offer  nat.Offer // its
	id     uint32    // of the question about the fresh socket
	fresh  int       // our socket; 0 = none
	opened time.Time // when it was
	at     netip.AddrPort
	old    sock.Path // to be replaced
	born   time.Time // when the mapping of the path in use began; zero = not known
}

// life is when a hole to p is to be replaced, from its beginning; 0 = never, as far
// as is known.
func (c *core) life(p *Peer) time.Duration {
	mine := time.Duration(renewAt * float64(c.obs.class.Behaviour().Absolute))
	theirs := time.Duration(renewTheirs * float64(p.state.renewal.theirs.Absolute))
	if mine == 0 || theirs > 0 && theirs < mine {
		return theirs
	}
	return mine
}

// renewDue returns when there is something to do about p's hole.
func (c *core) renewDue(p *Peer) time.Time {
	s, r := &p.state, &p.state.renewal
	if r.phase != holeIdle {
		return r.until
	}
	if !s.media || !s.linked || !s.shared || s.lost || c.o.cfg.Open == nil || p.Path().Kind != nat.Direct {
		return time.Time{}
	}
	life := c.life(p)
	if life == 0 {
		return time.Time{}
	}
	at := r.on // of a mapping that others use as well nobody knows the age
	if c.obs.class.Behaviour().Absolute == 0 {
		at = at.Add(holePause) // the other side should begin
	}
	if !r.born.IsZero() {
		at = r.born.Add(life)
	}
	if at.Before(r.next) {
		at = r.next
	}
	return at
}

// renew does what is due.
func (c *core) renew(now time.Time, p *Peer) {
	s, r := &p.state, &p.state.renewal
	if !s.media {
		r.on, r.born = time.Time{}, time.Time{}
	} else if r.on.IsZero() {
		r.on = now
	}
	if at := c.renewDue(p); at.IsZero() || now.Before(at) {
		return
	}
	switch r.phase {
	case holeIdle:
		c.locate(now, p)
	case holeLocating: // nobody told; perhaps the port is kept
		r.at = netip.AddrPort{}
		if out := c.outside(s.active.Remote.Addr().Is4()); out.IsValid() && c.obs.class.Behaviour().Ports == nat.Preserved {
			r.at = netip.AddrPortFrom(out.Addr(), c.o.sock.LocalAddr(r.fresh).Port())
		}
		c.ready(now, p)
	default:
		c.endRenewal(now, p)
	}
}

// locate opens a fresh socket, where our own mapping is what ends, and has
// neighbours say where they see it.
func (c *core) locate(now time.Time, p *Peer) {
	s, r := &p.state, &p.state.renewal
	mine := c.obs.class.Behaviour()
	r.old, r.fresh, r.opened = s.active, 0, now
	r.at = c.outside(s.active.Remote.Addr().Is4())
	steady := mine.Mapping != nat.AddressDependent && mine.Mapping != nat.AddressAndPortDependent
	if mine.Absolute == 0 || !steady { // else the plan's own sockets are fresh
		c.ready(now, p)
		return
	}
	local, err := c.fresh(s.active.Remote.Addr(), 0)
	if err != nil {
		c.o.log.Debug("no fresh socket", "err", err)
		c.endRenewal(now, p)
		return
	}
	s.punch.sockets = append(s.punch.sockets, local)
	r.fresh, r.phase, r.until = local, holeLocating, now.Add(locateFor)
	c.seq++
	r.id = renewalIDs | c.seq
	n := 0
	for _, q := range c.order {
		t := &q.state
		if n == locators || q == p || t.number == 0 || !t.linked || inside(t.active.Remote.Addr()) ||
			t.active.Remote.Addr().Is4() != s.active.Remote.Addr().Is4() {
			continue
		}
		to, b, ok := c.obs.asker.Datagram(nat.Ask{ID: r.id, Kind: nat.AskProbe, Peer: t.number, To: t.active.Remote})
		if ok && c.o.sock.WriteTo(sock.Path{Local: local, Remote: to}, b) == nil {
			n++
		}
	}
}

// located takes a neighbour's answer about a fresh socket.
func (c *core) located(now time.Time, a nat.Reply) {
	for _, p := range c.order {
		if r := &p.state.renewal; r.phase == holeLocating && r.id == a.ID && a.Seen.IsValid() {
			c.touch(p)
			r.at = a.Seen
			c.ready(now, p)
		}
	}
}

// ready goes on once it is known where our socket is: with a question to the other
// side, or with the answer to its own.
func (c *core) ready(now time.Time, p *Peer) {
	r := &p.state.renewal
	l := p.link.Load()
	if !r.at.IsValid() || l == nil {
		c.endRenewal(now, p)
		return
	}
	o := c.offer(now, p)
	o.Candidates, o.Outside = nil, r.at
	if err := l.send(frameHole, appendHole(nil, r.asked, o)); err != nil {
		c.endRenewal(now, p)
		return
	}
	r.phase, r.until = holeAsking, now.Add(holeFor)
	if r.asked {
		c.dig(now, p)
	}
}

// holeAsked takes a HOLE frame.
func (c *core) holeAsked(now time.Time, l *Link, body []byte) error {
	p := l.peer
	s, r := &p.state, &p.state.renewal
	answer, o, err := parseHole(body, now)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(o.NodeKey, p.key) || !s.shared || s.refs <= 0 || s.paths == nil || !o.Outside.IsValid():
		return nil // not from somebody we have a session with
	}
	r.offer, r.theirs = o, o.Behaviour
	switch {
	case r.phase == holeAsking:
		if !answer { // both have asked; ours may have been too early for it
			own := c.offer(now, p)
			own.Candidates, own.Outside = nil, r.at
			if err := l.send(frameHole, appendHole(nil, true, own)); err != nil {
				c.o.log.Debug("hole not answered", "peer", p.node, "err", err)
			}
		}
		c.dig(now, p)
	case r.phase == holeIdle && !answer && now.Sub(r.served) >= holeServe:
		r.asked, r.served = true, now
		c.locate(now, p)
	case r.phase == holeLocating && !answer:
		r.asked = true
	}
	return nil
}

// dig punches towards where the other side's socket is.
func (c *core) dig(now time.Time, p *Peer) {
	s, r := &p.state, &p.state.renewal
	to := r.offer.Outside
	paths := c.o.pathsTo(to)
	l := p.link.Load()
	if len(paths) == 0 || l == nil {
		c.endRenewal(now, p)
		return
	}
	path := paths[0]
	if r.fresh != 0 {
		path.Local = r.fresh
	}
	trust := nat.Stranger
	if to.Addr() == s.active.Remote.Addr() { // it answers us there
		trust = nat.Attested
		s.paths.AddAttested(now, path)
	} else {
		s.paths.Add(now, path)
	}
	plan := nat.MakePlan(c.obs.class.Behaviour(), r.offer.Behaviour, nat.PlanOptions{
		Share: c.o.cfg.PortShare, Standing: c.standing(), Friendly: true, MineMapped: c.open(), TheirsMapped: r.offer.Mapped,
	})
	c.touch(p)
	if len(plan.Steps) > 0 && s.punch.run == nil {
		s.outsideOf = to
		var known []sock.Path
		for _, q := range s.paths.Snapshot() {
			if q.State == nat.Valid {
				known = append(known, q.Path)
			}
		}
		s.punch.run = nat.NewPuncher(now, nat.PunchConfig{
			Mine: p.mine, Theirs: l.hello.cred(), Plan: plan, Local: path.Local,
			Remote: to, Trust: trust, Standing: c.standing(), Slow: true, Known: known,
		}, c.budget, c.rng)
		s.punch.handle = s.punch.run.Handle()
		c.o.handles.Store(s.punch.handle, p)
	}
	r.phase, r.until = holePunching, now.Add(holeMargin)
	if s.punch.run != nil {
		r.until = now.Add(plan.After + nat.SlowFor + holeMargin)
	}
	c.o.log.Debug("new hole", "peer", p.node, "method", plan.Method, "from", r.at, "to", to, "asked", r.asked)
}

// renewed moves a call over to a path that was proved just now, if it is what the
// renewal is for.
func (c *core) renewed(now time.Time, p *Peer, path sock.Path) {
	s, r := &p.state, &p.state.renewal
	if r.phase != holePunching || path == r.old || path.Remote.Addr() != r.offer.Outside.Addr() || r.fresh != 0 && path.Local != r.fresh {
		return
	}
	r.born = r.opened
	if !r.asked { // the other side follows
		s.paths.Retire(now, r.old, path, r.old.Local >= len(c.o.cfg.Conns))
	}
	c.endRenewal(now, p)
}

// punchOver ends a renewal whose search is.
func (c *core) punchOver(now time.Time, p *Peer) {
	if r := &p.state.renewal; r.phase == holePunching {
		c.touch(p)
		r.until = now.Add(holeMargin)
	}
}

// followed notes that the other side has moved to a new hole.
func (c *core) followed(now time.Time, p *Peer) {
	if r := &p.state.renewal; r.phase == holePunching && r.asked {
		r.born = r.opened
		c.endRenewal(now, p)
	}
}

// endRenewal closes what nothing came of.
func (c *core) endRenewal(now time.Time, p *Peer) {
	s, r := &p.state, &p.state.renewal
	if r.fresh != 0 && (s.paths == nil || !slices.ContainsFunc(s.paths.Snapshot(), func(q nat.PathInfo) bool {
		return q.Path.Local == r.fresh && q.State == nat.Valid
	})) {
		c.closeExtra(p, r.fresh)
	}
	r.phase, r.asked, r.fresh, r.next = holeIdle, false, 0, now.Add(holePause)
}

// HOLE: flags(1), bit 0 = an answer, and an offer in its plain form, in which the
// outside address is that of the sender's socket.
const holeAnswer = 1

func appendHole(b []byte, answer bool, o nat.Offer) []byte {
	if answer {
		b = append(b, holeAnswer)
	} else {
		b = append(b, 0)
	}
	return o.Append(b)
}

func parseHole(b []byte, now time.Time) (answer bool, o nat.Offer, err error) {
	if len(b) == 0 {
		return false, o, errFrame
	}
	o, err = nat.ParseOffer(b[1:], now)
	return b[0]&holeAnswer != 0, o, err
}
