// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// observer finds out what NATs are around this node, with the help of ordinary
// neighbours, and helps them to do the same. It is part of the core and owned
// by the loop.
type observer struct {
	class   *nat.Classifier
	vantage *nat.Vantage // answers others
	asker   *nat.Asker   // asks them
	serial  nat.Peer
	sockets map[int]int    // the classifier's numbers of fresh sockets → ours
	second  int            // local number of the second port; 0 = none
	onLink  []netip.Prefix // IPv6 prefixes of our LANs
}

// NATChanged says that more, or something else, is known of the NATs around
// this node.
type NATChanged struct {
	Behaviour nat.Behaviour
	Evidence  []string // in short sentences for people
	PortMap   string   // by which protocol a router keeps a port open; "" = none does
}

func (NATChanged) event() {}

func newObserver(rng *rand.Rand, sockets bool) observer {
	return observer{
		class:   nat.NewClassifier(rng, nat.ClassifierOptions{NoLifetimes: !sockets}),
		vantage: nat.NewVantage(rng),
		asker:   nat.NewAsker(rng),
		sockets: make(map[int]int),
	}
}

// openSecond opens the second port, which only answers tests (design §4).
func (c *core) openSecond() {
	if i, err := c.fresh(netip.IPv4Unspecified(), 0); err == nil {
		c.obs.second = i
		c.obs.vantage.SetSecond(nat.Second{Local: i, On: true})
	}
}

func (c *core) tellHosts(now time.Time) {
	var addrs []netip.Addr
	for _, a := range c.hosts() {
		addrs = append(addrs, a.Addr())
	}
	c.obs.class.SetHosts(now, addrs)
	c.obs.onLink = c.o.onLink()
}

// serve answers a peer's tests from the moment its link stands: it may ask
// before our own probe is answered.
func (c *core) serve(p *Peer, l *Link) {
	s := &p.state
	if s.number == 0 {
		c.obs.serial++
		s.number = c.obs.serial
	}
	c.obs.vantage.SetPeer(s.number, p.mine, l.hello.cred(), s.active)
}

// observe begins to use a linked peer as a vantage point, and serves it as one.
// Called when its path is proved, and again when that changes.
func (c *core) observe(now time.Time, p *Peer) {
	s := &p.state
	l := p.link.Load()
	if l == nil {
		return
	}
	if s.active.Local >= len(c.o.cfg.Conns) {
		if s.udp.IsValid() && c.kindOf(p, s.active) == nat.TCP {
			// Does UDP get nothing back there, or anywhere?
			c.serve(p, l)
			c.obs.asker.SetPeer(s.number, l.hello.cred())
			c.obs.class.AddPeer(now, nat.VantagePoint{Peer: s.number, Addr: s.udp, TCP: true})
		}
		return
	}
	c.serve(p, l)
	theirs := l.hello.cred()
	c.obs.asker.SetPeer(s.number, theirs)
	c.obs.class.AddPeer(now, nat.VantagePoint{Peer: s.number, Addr: s.active.Remote})
	if seen := l.hello.observed; seen.IsValid() && l.via == s.active {
		c.sighted(now, p, s.active, seen)
	}
}

// sighted passes on where a peer sees us.
func (c *core) sighted(now time.Time, p *Peer, path sock.Path, seen netip.AddrPort) {
	if p.state.number == 0 || path.Local >= len(c.o.cfg.Conns) {
		return // a test's or a punch's socket says nothing about our own
	}
	c.obs.class.Observe(now, nat.Sighting{
		Peer: p.state.number, Addr: path.Remote, Port: c.o.sock.LocalAddr(path.Local).Port(), Seen: seen,
	})
}

// unobserve forgets a peer that is not linked any more.
func (c *core) unobserve(now time.Time, p *Peer) {
	if n := p.state.number; n != 0 {
		c.obs.class.RemovePeer(now, n)
		c.obs.vantage.RemovePeer(n)
		c.obs.asker.RemovePeer(n)
		p.state.number = 0
	}
}

// tested takes an answer to one of our tests, or our own hairpin test.
func (c *core) tested(now time.Time, path sock.Path, b []byte) {
	r, ok := c.obs.asker.Receive(path, c.o.sock.LocalAddr(path.Local).Port(), b)
	if !ok {
		c.o.badProbes.Add(1)
		return
	}
	if r.ID >= renewalIDs {
		c.located(now, r)
		return
	}
	if path.Local < len(c.o.cfg.Conns) {
		for _, p := range c.order { // whom our own socket writes to anyway
			r.Known = r.Known || p.state.active.Remote.Addr() == r.From.Addr()
		}
	}
	c.obs.class.Answer(now, r)
}

// drainObserver carries out what classifier and vantage point want done.
func (c *core) drainObserver(now time.Time) {
	for {
		q, ok := c.obs.class.Poll()
		if !ok {
			break
		}
		if !c.carryOut(q) {
			c.obs.class.Failed(now, q.ID)
		}
	}
	for {
		d, ok := c.obs.vantage.Poll()
		if !ok {
			break
		}
		if err := c.o.sock.WriteTo(d.Path, d.B); err != nil {
			c.o.log.Debug("answer not sent", "remote", d.Path.Remote, "err", err)
		}
	}
	for {
		v, ok := c.obs.class.NextEvent()
		if !ok {
			break
		}
		c.judged(now, v)
	}
}

// carryOut does one thing for the classifier.
func (c *core) carryOut(q nat.Ask) bool {
	if q.Kind == nat.AskClose {
		if i, ok := c.obs.sockets[q.Socket]; ok {
			delete(c.obs.sockets, q.Socket)
			c.o.sock.Remove(i)
		}
		return true
	}
	to, b, ok := c.obs.asker.Datagram(q)
	if !ok {
		return false
	}
	local, ok := c.socketFor(q, to.Addr())
	return ok && c.o.sock.WriteTo(sock.Path{Local: local, Remote: to}, b) == nil
}

// socketFor returns the socket an Ask names, opened now if need be.
func (c *core) socketFor(q nat.Ask, to netip.Addr) (local int, ok bool) {
	if q.Socket == 0 {
		for _, p := range c.o.pathsTo(netip.AddrPortFrom(to, 1)) {
			return p.Local, true
		}
		return 0, false
	}
	if local, ok = c.obs.sockets[q.Socket]; ok {
		return local, true
	}
	local, err := c.fresh(to, q.Bind)
	if err != nil {
		c.o.log.Debug("no socket for a test", "err", err)
		return 0, false
	}
	c.obs.sockets[q.Socket] = local
	return local, true
}

// fresh opens one more socket of a family.
func (c *core) fresh(family netip.Addr, port uint16) (local int, err error) {
	if c.o.cfg.Open == nil {
		return 0, errNoSockets
	}
	conn, err := c.o.cfg.Open(family.Unmap().Is4(), port)
	if err != nil {
		return 0, err
	}
	return c.o.sock.Add(conn)
}

// judged takes a verdict.
func (c *core) judged(now time.Time, v nat.Verdict) {
	c.tellSecond()
	for _, p := range c.order {
		if p.state.paths != nil {
			p.state.paths.SetKeepalive(now, nat.KeepaliveOf(v.Behaviour))
		}
	}
	c.tellNAT(v.Behaviour, v.Evidence)
}

// secondPort describes the second port: without a NAT others may be told of it.
// A firewall may keep them out there, which costs them three probes, and that they
// get in is worth more: for a node with one neighbour it shows what its NAT does.
func (x *observer) secondPort(own uint16) nat.Second {
	s := nat.Second{Local: x.second, On: true}
	if x.class.Behaviour().Mapping == nat.NoNAT {
		s.Port = own
	}
	return s
}

// tellNAT publishes what is known.
func (c *core) tellNAT(b nat.Behaviour, evidence []string) {
	n := NATChanged{Behaviour: b, Evidence: evidence}
	n.PortMap, n.Evidence = c.portMap(evidence)
	c.o.nat.Store(&n)
	c.reclass(c.latest, b)
	c.o.events.push(n)
}

// portMap says by which protocol the node's port is open, and adds to the
// evidence.
func (c *core) portMap(evidence []string) (method string, all []string) {
	m, ok := c.mapped(true)
	if !ok {
		if m, ok = c.mapped(false); !ok {
			return "", evidence
		}
	}
	why := fmt.Sprintf("the router keeps %v open for us (%s)", m.Outside, m.Method)
	if !c.reachable(m) {
		why += ", but there is a second NAT beyond it"
	}
	return m.Method, append(slices.Clone(evidence), why)
}

// NAT returns what is known of the NATs around this node.
func (o *Overlay) NAT() (n NATChanged) {
	if at := o.nat.Load(); at != nil {
		return *at
	}
	o.loop.Do(o.ctx, func(time.Time) { n.PortMap, n.Evidence = o.core.portMap(nil) })
	return n
}
