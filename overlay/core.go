// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// core is everything the loop owns: peers with their path machines, the
// introducer, open questions. It starts no goroutine and reads no clock; the
// loop calls it with the time, and it acts through o (socket, events, tasks).
type core struct {
	o       *Overlay
	rng     *rand.Rand
	peers   map[identity.NodeID]*Peer
	bySock  map[*sock.Peer]*Peer
	order   []*Peer // peers in order of arrival: map order must not reach the wire
	due     schedule
	trimmed time.Time
	obs     observer
	gate    gateway
	servers servers
	sharing sharing
	budget  *nat.Budget // of all punches
	mesh    meshing
	meets   appointing
	records recording
	relays  relaying
	turn    turning
	spread  spreading              // of the roster
	tcp     map[int]netip.AddrPort // TCP connections: their numbers and far ends
	latest  time.Time              // of all the loop was told
	movedAt time.Time              // no further look at all links before
	seq     uint32                 // of questions about fresh sockets
}

const (
	// maxPeers bounds what strangers can make this node hold: ≤ 110 links are
	// the plan at 10⁶ nodes (design §6), the rest is handshakes and lobbies.
	maxPeers = 512
	// introducedLife is how long an introduced peer may take to link.
	introducedLife = 15 * time.Second
	// deadAfter is how long a peer without any working path is kept.
	deadAfter = 60 * time.Second
	// mediaTick is how often genuine media is reported to the paths while a
	// call runs: a fraction of the 100 ms after which silence counts.
	mediaTick = 20 * time.Millisecond
	// trimEvery is how often packets kept for a replay are looked through: as
	// often as keepalives wake the node anyway.
	trimEvery = 15 * time.Second
	// drainTime is how long the loser of two links stays readable (design §4).
	drainTime = 5 * time.Second
)

func (c *core) Advance(now time.Time) {
	c.latest = now
	c.obs.class.Advance(now)
	c.obs.vantage.Advance(now)
	c.advanceServer(now)
	c.advanceSharing(now)
	c.mesh.m.Advance(now)
	c.meets.book.Advance(now)
	c.advanceRecords(now)
	c.relays.server.Advance(now)
	c.relays.client.Advance(now)
	c.remind(now)
	c.advancePeers(now)
	c.advanceRoster(now)
	if len(c.order) > 0 && now.Sub(c.trimmed) >= trimEvery {
		c.trimmed = now
		for _, p := range c.order {
			p.sock.Trim(now)
		}
		c.audit()
		c.measure(now)
		c.keepPromises(now)
	}
	for id, r := range c.mesh.rings {
		if !now.Before(r.expires) {
			delete(c.mesh.rings, id)
		}
	}
}

func (c *core) Deadline() time.Time {
	d := c.obs.class.Deadline()
	d = earlier(d, c.obs.vantage.Deadline())
	d = earlier(d, c.servers.deadline())
	d = earlier(d, c.sharing.due)
	d = earlier(d, c.mesh.m.Deadline())
	d = earlier(d, c.meets.book.Deadline())
	d = earlier(d, c.recordsDeadline())
	d = earlier(d, c.relays.server.Deadline())
	d = earlier(d, c.relays.client.Deadline())
	d = earlier(d, c.spread.deadline())
	if len(c.due.heap) > 0 {
		d = earlier(d, c.due.heap[0].state.due.at)
	}
	if len(c.due.touched) > 0 {
		d = earlier(d, c.latest)
	}
	for _, r := range c.mesh.rings {
		d = earlier(d, r.expires)
	}
	if len(c.order) > 0 {
		d = earlier(d, c.trimmed.Add(trimEvery))
	}
	return d
}

// patience is how long a peer without any path is kept: in a call its machine may
// just be asleep, and the call's end is the session layer's to say.
func patience(s *peerState) time.Duration {
	if s.media {
		return 2 * deadAfter
	}
	return deadAfter
}

// earlier returns the earlier of two deadlines, zero meaning none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// drain carries out what the machines want done. The loop calls it after
// every input.
func (c *core) drain(now time.Time) {
	c.latest = now
	c.settle(now)
	c.drainServer(now)
	c.drainObserver(now)
	c.keepAppointments(now)
	for range 2 { // an answer may make a question
		c.drainRecords(now)
		c.drainMesh(now)
		c.drainRelays(now)
	}
	c.settle(now) // what those have touched
}

func (c *core) drainPaths(now time.Time, p *Peer) {
	s := &p.state
	for {
		e, ok := s.paths.NextEvent()
		if !ok {
			break
		}
		switch e := e.(type) {
		case nat.Bound:
			c.bind(p, e.Path)
			c.renewed(now, p, e.Path)
			if c.kindOf(p, e.Path) == nat.Relay {
				c.preferCalls(now, p)
			}
		case nat.Unbound:
			p.sock.Unbind(e.Path)
			s.lookAt = now // it may have been a relay's
			c.unused(p, e.Path.Local)
		case nat.Reflexive:
			if e.Local < len(c.o.cfg.Conns) { // a punch's socket is nobody else's business
				if c.seenAt(p, e.Local, e.Addr) {
					c.moved(now)
				}
				c.shareSoon(now)
			}
			c.sighted(now, p, e.Path, e.Addr)
		case nat.Up:
			s.down, s.lost = time.Time{}, false
			c.settlePunch(now, p)
			if s.appointment != nil {
				c.kept(now, p, e.Path)
				break
			}
			c.route(now, p, e.Again)
			c.observe(now, p)
			c.enmesh(now, p)
			c.relayUp(now, p)
			if e.Again {
				p.sock.Replay(e.Path, replayPackets)
			}
			c.o.log.Debug("path up", "peer", p.node, "remote", e.Path.Remote)
			if !s.linked && !s.dialing && s.wanted {
				c.redial(p)
			}
		case nat.Switched:
			c.followed(now, p)
			c.settlePunch(now, p)
			c.lostDirect(now, p, e.From, e.To)
			c.route(now, p, e.Replay)
			c.observe(now, p)
			c.enmesh(now, p)
			c.relayUp(now, p)
			n := 0
			if e.Replay {
				n = p.sock.Replay(e.To, replayPackets)
			}
			c.o.log.Debug("path switched", "peer", p.node, "from", e.From.Remote, "to", e.To.Remote, "why", e.Why, "replayed", n)
		case nat.Doubt:
			c.suspect(now, p, suspectLeast)
			c.route(now, p, false)
			c.rescue(now, p)
		case nat.Cleared:
			c.route(now, p, false)
		case nat.Down:
			c.suspect(now, p, suspectLeast)
			s.down, s.lost = now, true
			c.announce(p, false)
			c.rescue(now, p)
			c.o.log.Debug("no path", "peer", p.node)
		}
	}
	for {
		d, ok := s.paths.Poll()
		if !ok {
			break
		}
		if err := c.o.sock.WriteTo(d.Path, d.B); err != nil {
			c.o.log.Debug("probe not sent", "peer", p.node, "remote", d.Path.Remote, "err", err)
		}
	}
}

// replayPackets is how many of the last packets are sent again on a new path
// (design §4: the last 4–8; measured stall 115 ms instead of 3 s).
const replayPackets = 8

// route tells the socket where packets to p go from now on. replay says that
// the latest may be lost.
func (c *core) route(now time.Time, p *Peer, replay bool) {
	primary, also, ok := p.state.paths.Active()
	if !ok {
		return
	}
	also = c.double(now, p, primary, also)
	p.sock.Use(primary, also...)
	p.state.active = primary
	c.announce(p, replay)
}

// announce publishes the path as it is now, and as an event when it changed.
func (c *core) announce(p *Peer, replay bool) {
	s := &p.state
	i := PathInfo{Up: !s.lost, Remote: s.active.Remote, Local: c.o.sock.LocalAddr(s.active.Local), Kind: c.kindOf(p, s.active)}
	if s.paths != nil {
		for _, q := range s.paths.Snapshot() {
			if q.Path == s.active {
				i.Kind, i.RTT = q.Kind, q.RTT
			}
		}
	}
	if i.Kind > nat.Direct || !i.Up {
		i.Reason = s.punch.reason()
	}
	if i.Kind == nat.Relay {
		i.Vias = c.vias(p)
		i.Server = c.turnServer(p, s.active)
	}
	if len(i.Vias) > 0 {
		if v := c.peers[i.Vias[0]]; v != nil { // the address of a flow means nothing to anybody
			i.Local, i.Remote = c.o.sock.LocalAddr(v.state.active.Local), v.state.active.Remote
		}
	}
	old := p.path.Swap(&i)
	if (s.linked || s.media) && (replay || old == nil || old.Up != i.Up || old.Remote != i.Remote || old.Local != i.Local || old.Kind != i.Kind || old.Reason != i.Reason || !slices.Equal(old.Vias, i.Vias)) {
		c.o.events.push(PathChanged{p, i, replay})
	}
}

func (c *core) setMedia(now time.Time, p *Peer, on bool) {
	s := &p.state
	if !on {
		c.restRelays(now, p)
	}
	if s.media == on {
		return
	}
	s.media, s.heard, s.mediaAt = on, now, now
	s.renewal.on, s.renewal.born = time.Time{}, time.Time{}
	c.touch(p)
	if on {
		// Without a link the other side can't be told of our neighbours.
		s.opener = s.opener || c.smaller(p) || !s.linked && len(s.near) > 0
		s.coolAt = time.Time{}
	}
	if s.paths != nil {
		s.paths.SetMedia(now, on)
	}
	if on {
		c.overTURN(now, p)
	}
}

// hearMedia passes on what the socket's readers saw, a few times while the
// silence limit runs, instead of an input for each packet.
func (c *core) hearMedia(now time.Time, p *Peer) {
	s := &p.state
	if now.Sub(s.heard) < mediaTick {
		return
	}
	s.heard = now
	if s.paths == nil {
		return
	}
	for _, q := range s.paths.Snapshot() {
		if at := p.sock.Heard(q.Path); at.After(s.mediaAt) {
			s.paths.HeardAt(now, q.Path, at)
		}
		if q.Doubted {
			c.suspect(now, p, suspectEvery)
		}
		if q.Path == s.active {
			i := p.Path()
			i.RTT = q.RTT
			p.path.Store(&i)
		}
	}
	c.weigh(now, p)
	c.rescue(now, p)
	c.redouble(now, p)
}

// probe takes a STUN message whose tag belongs to p.
func (c *core) probe(now time.Time, p *Peer, path sock.Path, b []byte) {
	if c.obs.vantage.Receive(now, path, b) {
		return
	}
	c.touch(p)
	if run := p.state.punch.run; run != nil && run.Receive(now, path, b) {
		return
	}
	if path.Local >= len(c.o.cfg.Conns) && c.kindOf(p, path) < nat.Relay && !slices.Contains(p.state.punch.sockets, path.Local) {
		return // to a test's socket, or the second port: they will be closed, or only answer tests
	}
	if p.state.paths == nil || !p.state.paths.Receive(now, path, b) {
		c.o.badProbes.Add(1)
		return
	}
	if !c.direct(p) && c.attestedHost(p, path.Remote.Addr()) {
		// The peer writes from a port that nobody could vouch for, at the
		// address where relays see it.
		p.state.paths.AddAttested(now, path)
	}
}

// socketDown is called once when one of the node's own sockets is gone.
func (c *core) socketDown(now time.Time, local int) {
	if _, ok := c.tcp[local]; ok {
		c.tcpDown(now, local)
		return
	}
	for _, p := range c.order {
		if p.state.paths != nil {
			p.state.paths.SocketDown(now, local)
		}
	}
}

// seenAt notes the outside address that a peer reports, and tells whether it has
// become another one.
func (c *core) seenAt(p *Peer, local int, a netip.AddrPort) (moved bool) {
	if far := p.state.active.Remote.Addr(); inside(a.Addr()) && !inside(far) {
		return false // nobody out there can see us at an address of our own household
	}
	i := 0
	if a.Addr().Is6() {
		i = 1
	}
	old := p.state.outside[i]
	p.state.outside[i] = outside{local, a}
	return old.local == local && old.addr.IsValid() && old.addr.Addr() != a.Addr() && !inside(a.Addr()) && !inside(old.addr.Addr())
}

// inside says whether an address means something in one household or company
// only.
func inside(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast()
}
