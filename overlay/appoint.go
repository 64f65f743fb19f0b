// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// Appointments: nodes that had a link find each other again with nobody else
// alive (design §5, "Find it again"). nat.Appointments says when to try whom;
// here each attempt becomes a peer without a name, whose paths and punch run
// like any other's. Node keys are new at each start, so only the handshake
// shows who it is, and that makes a named peer of it.

const (
	// memorable is how long a link stands before it is remembered: what comes
	// and goes is not worth a place among 64.
	memorable = 20 * time.Second
	// remindEvery refreshes what is remembered of each link.
	remindEvery = time.Minute
	// maxMeetings attempts at a time: every memory in the three slots that
	// overlap.
	maxMeetings = 3 * nat.MaxMemories
	// maxNames is twice what is remembered: those of nodes forgotten since go
	// when it is reached.
	maxNames = 2 * nat.MaxMemories
	// enoughLinks end the search for remembered nodes: so many siblings has a
	// node that is well in its network. With fewer it may be on an island, a
	// few nodes that found each other and nobody else.
	enoughLinks = 8
)

// appointing is the loop's part in it.
type appointing struct {
	book     *nat.Appointments
	reminded time.Time
	open     int // attempts now
	former   former
	names    map[identity.NodeID][32]byte // of the nodes of this start
	seeking  bool
}

// appointment is what a peer without a name is for.
type appointment struct {
	memory [32]byte
	first  bool // this side dials
}

// remind notes who is linked now.
func (c *core) remind(now time.Time) {
	if now.Sub(c.meets.reminded) < remindEvery/4 {
		return
	}
	c.meets.reminded = now
	for _, p := range c.order {
		if l := p.link.Load(); l != nil && p.state.linked && now.Sub(l.since) >= memorable {
			c.remember(now, p, l)
		}
	}
	c.seek(now, false)
}

// seek begins to keep appointments when this node is alone, and ends it when it
// is among enough others.
func (c *core) seek(now time.Time, start bool) {
	linked := c.linked()
	switch {
	case linked == 0 && (start || !c.meets.seeking):
		c.meets.seeking = true
		c.meets.book.Seek(now)
	case linked >= enoughLinks && c.meets.seeking:
		c.meets.seeking = false
		for _, m := range c.meets.book.Memories() {
			c.meets.book.Found(now, m.Peer)
		}
	}
}

// remember keeps what is needed to meet a node again.
func (c *core) remember(now time.Time, p *Peer, l *Link) {
	theirs := l.hello.cred()
	key := nat.SharedKey(p.mine, theirs)
	name := sha256.Sum256(key[:])
	addr := seen(p)
	if !addr.IsValid() || inside(addr.Addr()) && !c.local() {
		return
	}
	addrs := []netip.AddrPort{addr}
	for _, q := range p.state.paths.Snapshot() {
		if a := q.Path.Remote; q.State == nat.Valid && a != addr && q.Kind <= nat.Direct {
			addrs = append(addrs, a)
		}
	}
	c.greet(l)
	if p.state.memory == ([32]byte{}) { // linked before, with another key for its probes
		p.state.memory = c.meets.names[p.node]
	}
	if old := p.state.memory; old != name && old != ([32]byte{}) {
		c.meets.book.Forget(old)
		delete(c.meets.former, old)
	}
	p.state.memory = name
	c.name(p.node, name)
	c.meets.book.Remember(now, nat.Memory{
		Peer: name, Key: key, First: c.smaller(p), Mine: c.obs.class.Behaviour(), Theirs: p.state.behaviour,
		Addrs: addrs, Open: c.mesh.m.Class(p.node) == mesh.Open, Met: now.Truncate(time.Second),
	})
}

// name notes under which name a node is remembered.
func (c *core) name(node identity.NodeID, name [32]byte) {
	if len(c.meets.names) >= maxNames {
		held := make(map[[32]byte]bool)
		for _, m := range c.meets.book.Memories() {
			held[m.Peer] = true
		}
		maps.DeleteFunc(c.meets.names, func(_ identity.NodeID, n [32]byte) bool { return !held[n] })
	}
	c.meets.names[node] = name
}

// local says whether this node has only addresses of one household: then those
// are worth remembering.
func (c *core) local() bool {
	for _, a := range c.hosts() {
		if !inside(a.Addr()) {
			return false
		}
	}
	return true
}

// keepAppointments turns what is due into attempts.
func (c *core) keepAppointments(now time.Time) {
	for {
		m, ok := c.meets.book.NextMeet()
		if !ok {
			return
		}
		switch {
		case c.at(c.o.pathsTo(m.Config.Remote)) != nil:
			c.meets.book.Found(now, m.Peer) // it came by another way
		case c.meets.open < maxMeetings:
			c.tryst(now, m)
		}
	}
}

// tryst makes one attempt.
func (c *core) tryst(now time.Time, m nat.Meet) {
	paths := c.o.pathsTo(m.Config.Remote)
	sp := c.o.sock.NewPeer()
	if len(paths) == 0 || sp == nil || len(c.peers) >= maxPeers {
		if sp != nil {
			sp.Close()
		}
		return
	}
	var node identity.NodeID
	rand.Read(node[:])
	p := &Peer{o: c.o, node: node, sock: sp, mine: m.Config.Mine}
	p.state.expires = m.Until
	p.state.appointment = &appointment{memory: m.Peer, first: c.firstOf(m.Peer)}
	p.state.outsideOf = m.Config.Remote
	c.enlist(p)
	c.meets.open++
	c.openPaths(now, p, m.Config.Theirs)
	for _, a := range m.Also {
		c.addCandidates(now, p, []netip.AddrPort{a})
	}
	c.addCandidates(now, p, []netip.AddrPort{m.Config.Remote})
	m.Config.Local = paths[0].Local
	p.state.punch.plan = m.Config.Plan
	p.state.punch.run = nat.NewPuncher(now, m.Config, c.budget, c.rng)
	p.state.punch.handle = p.state.punch.run.Handle()
	c.o.handles.Store(p.state.punch.handle, p)
	c.o.log.Debug("appointment", "slot", m.Slot, "remote", m.Config.Remote, "method", m.Config.Plan.Method)
}

func (c *core) firstOf(memory [32]byte) bool {
	for _, m := range c.meets.book.Memories() {
		if m.Peer == memory {
			return m.First
		}
	}
	return false
}

// kept is called when an attempt has found a way. One side dials; who answers
// there takes the place of the peer without a name.
func (c *core) kept(now time.Time, p *Peer, path sock.Path) {
	s := &p.state
	if c.at([]sock.Path{path}) != nil {
		return // it came by another way meanwhile, and has the path
	}
	c.route(now, p, false)
	c.bind(p, path)
	if !s.appointment.first || s.dialing {
		return
	}
	s.dialing = true
	memory := s.appointment.memory
	c.o.tasks.run(func() {
		ctx, cancel := context.WithTimeout(c.o.ctx, dialTime)
		defer cancel()
		_, err := c.o.dial(ctx, p.sock, path, nil)
		if err != nil {
			c.o.log.Debug("appointment not kept", "remote", path.Remote, "err", err)
		}
		c.o.loop.Do(context.Background(), func(now time.Time) {
			s.dialing = false
			if err == nil {
				c.meets.book.Found(now, memory)
			}
		})
	})
}

// bind makes what comes on a path p's. The attempts of three slots overlap, and
// others introduce remembered nodes meanwhile, so an attempt may prove a path that
// the node it is about has long been linked over. It leaves it there: else frames
// that the neighbour relays would count as a stranger's, and the link would be
// cut off when the attempt ends.
func (c *core) bind(p *Peer, path sock.Path) {
	if p.state.appointment != nil && c.named(path) {
		return
	}
	p.sock.Bind(path)
}

// named says whether a path belongs to a peer with a name that is reached there.
func (c *core) named(path sock.Path) bool {
	q := c.bySock[c.o.sock.PeerOn(path)]
	if q == nil || q.state.appointment != nil {
		return false
	}
	if q.state.active == path && !q.state.lost || q.state.paths == nil {
		return true
	}
	return slices.ContainsFunc(q.state.paths.Snapshot(), func(i nat.PathInfo) bool {
		return i.Path == path && i.State == nat.Valid
	})
}

const noSocket = -1

// bequeath takes the socket out of an attempt over which its successor is
// reached; noSocket when that is one of the node's own.
func (c *core) bequeath(p *Peer) int {
	i := p.state.active.Local
	if p.state.appointment == nil || !slices.Contains(p.state.punch.sockets, i) {
		return noSocket
	}
	p.state.punch.sockets = slices.DeleteFunc(p.state.punch.sockets, func(l int) bool { return l == i })
	return i
}

// Memories returns what this node needs to meet others again, to be stored: it
// holds keys.
func (o *Overlay) Memories(ctx context.Context) (b []byte, err error) {
	err = o.loop.Do(ctx, func(now time.Time) {
		o.core.meets.reminded = time.Time{} // whoever asks may be about to stop
		o.core.remind(now)
		b = nat.AppendMemories(nil, o.core.meets.book.Memories())
	})
	return b, err
}

// Remember takes what Memories returned at an earlier start, and begins to look
// for those nodes when no link stands. Errors: nat.ErrMemory, a version error.
func (o *Overlay) Remember(ctx context.Context, b []byte) error {
	list, err := nat.ParseMemories(b)
	if err != nil {
		return err
	}
	return o.loop.Do(ctx, func(now time.Time) {
		o.core.meets.former = make(former)
		for _, m := range list {
			o.core.meets.book.Remember(now, m)
			o.core.meets.former[m.Peer] = true
		}
		o.core.seek(now, true)
	})
}

// Remembered returns how many nodes of earlier starts are remembered, and where
// those were that anybody could write to: they need no appointment.
func (o *Overlay) Remembered(ctx context.Context) (n int, open []netip.AddrPort, err error) {
	err = o.loop.Do(ctx, func(time.Time) {
		list := o.core.meets.book.Memories()
		n = len(list)
		order.Stable(list, func(a, b nat.Memory) int { return b.Met.Compare(a.Met) })
		for _, m := range list {
			if m.Open && len(m.Addrs) > 0 {
				open = append(open, m.Addrs[0])
			}
		}
	})
	return n, open, err
}
