// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Box is what a NAT does to datagrams, without a network around it: the rules
// of RFC 4787 as a pure machine. Addresses must be unmapped, and time must not
// go backwards.
type Box struct {
	c     NATConfig
	start time.Time
	ports ports

	flows    map[flow]*mapping           // by inside
	outer    map[netip.AddrPort]*mapping // by outside; nil where a port rests
	sessions map[hole]*session
	hosts    map[netip.Addr]*subscriber
	ends     queue[ending]

	watch func(a Action, inside, outside netip.AddrPort) // nil, or told of Mapped and Unmapped
}

// Verdict is what a Box makes of a datagram: the addresses it carries on with,
// or why it does not.
type Verdict struct {
	From, To netip.AddrPort
	Inside   bool // a hairpin: on with it, but back inside
	Drop     Reason
}

// flow is what a mapping is found by: an inside socket and as much of the
// remote one as Mapping looks at.
type flow struct{ in, to netip.AddrPort }

type mapping struct {
	flow
	out     netip.AddrPort
	host    *subscriber
	born    time.Duration
	until   time.Duration
	replied bool
}

// hole is what a session is found by. The mapping stands for itself, so a hole
// cannot outlive it into another mapping of the same port.
type hole struct {
	m    *mapping
	from netip.AddrPort // as much of it as Filtering looks at
}

// session is one hole in the filter.
type session struct {
	hole
	until   time.Duration
	replied bool
}

// subscriber is an inside host that has mappings.
type subscriber struct {
	addr     netip.Addr
	pool     netip.Addr // its outside address; invalid where addresses are arbitrary
	mappings int
	blocks   []uint16 // first ports of the blocks it has
}

// ending is the end of one of these, at the earliest.
type ending struct {
	m    *mapping
	s    *session
	rest netip.AddrPort // a port that has rested
}

// NewBox returns a box at rest. Its choice of ports follows from rng.
func NewBox(c NATConfig, rng *rand.Rand, start time.Time) *Box {
	b := &Box{c: c.checked(), start: start.Round(0)}
	b.ports.rng = rng
	b.clear()
	return b
}

// clear forgets everything, as a power cut does.
func (b *Box) clear() {
	b.flows = map[flow]*mapping{}
	b.outer = map[netip.AddrPort]*mapping{}
	b.sessions = map[hole]*session{}
	b.hosts = map[netip.Addr]*subscriber{}
	b.ends = queue[ending]{}
	b.ports.reset(&b.c, b.outer)
}

// Len returns how many mappings and holes the box holds at a time.
func (b *Box) Len(now time.Time) (mappings, holes int) {
	b.expire(now.Sub(b.start))
	return len(b.flows), len(b.sessions)
}

// Outbound takes a datagram from inside.
func (b *Box) Outbound(now time.Time, from, to netip.AddrPort) Verdict {
	t := now.Sub(b.start)
	b.expire(t)
	hairpin := b.owns(to.Addr())
	if hairpin && !b.c.Hairpin {
		return Verdict{Drop: NoHairpin}
	}
	if b.c.Open && !b.translates(from.Addr()) {
		return Verdict{From: from, To: to}
	}
	m, why := b.open(t, from, to)
	if why != 0 {
		return Verdict{Drop: why}
	}
	b.touch(t, &m.until, m.replied, m)
	if b.c.Filtering != EndpointIndependent {
		s := b.pierce(t, m, to)
		if s == nil {
			return Verdict{Drop: TableFull}
		}
		b.touch(t, &s.until, s.replied, m)
	}
	if !hairpin {
		return Verdict{From: m.out, To: to}
	}
	// The inside host sees the sender's outside address (RFC 4787 §6, REQ-9a),
	// and its filter does, too.
	v := b.enter(t, m.out, to)
	v.Inside = v.Drop == 0
	return v
}

// Inbound takes a datagram from outside.
func (b *Box) Inbound(now time.Time, from, to netip.AddrPort) Verdict {
	t := now.Sub(b.start)
	b.expire(t)
	return b.enter(t, from, to)
}

func (b *Box) enter(t time.Duration, from, to netip.AddrPort) Verdict {
	if b.c.Open && !b.translates(to.Addr()) {
		return Verdict{From: from, To: to}
	}
	m := b.outer[to]
	if m == nil {
		return Verdict{Drop: NoMapping}
	}
	if b.c.Filtering != EndpointIndependent {
		s := b.sessions[hole{m, b.c.Filtering.part(from)}]
		if s == nil {
			return Verdict{Drop: Filtered}
		}
		s.replied = true
		if !b.c.OutboundRefresh {
			b.touch(t, &s.until, true, m)
		}
	}
	m.replied = true
	if !b.c.OutboundRefresh {
		b.touch(t, &m.until, true, m)
	}
	return Verdict{From: from, To: m.in}
}

// part returns as much of a as the behaviour looks at.
func (b Behaviour) part(a netip.AddrPort) netip.AddrPort {
	switch b {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

func (b *Box) owns(a netip.Addr) bool {
	for _, p := range b.c.Pool {
		if p == a {
			return true
		}
	}
	return false
}

// translates reports whether inside addresses of a's family change on the way out.
func (b *Box) translates(a netip.Addr) bool {
	for _, p := range b.c.Pool {
		if p.Is4() == a.Is4() {
			return true
		}
	}
	return false
}

// open finds or makes the mapping of a flow.
func (b *Box) open(t time.Duration, from, to netip.AddrPort) (*mapping, Reason) {
	translated := b.translates(from.Addr())
	key := flow{in: from}
	if translated {
		key.to = b.c.Mapping.part(to)
	}
	if m := b.flows[key]; m != nil {
		return m, 0
	}
	if b.full() {
		return nil, TableFull
	}
	host := b.hosts[from.Addr()]
	if host == nil {
		host = &subscriber{addr: from.Addr()}
		if translated && !b.c.Arbitrary {
			host.pool = b.ports.address(from.Addr())
		}
	}
	if b.c.Quota > 0 && host.mappings >= b.c.Quota {
		return nil, OverQuota
	}
	out := from
	if translated {
		var ok bool
		if out, ok = b.ports.take(&b.c, host, from.Port()); !ok {
			return nil, NoPorts
		}
	}
	m := &mapping{flow: key, out: out, host: host, born: t}
	b.flows[key] = m
	b.outer[out] = m
	host.mappings++
	b.hosts[from.Addr()] = host
	b.touch(t, &m.until, false, m)
	b.ends.push(m.until, ending{m: m})
	if b.watch != nil {
		b.watch(Mapped, m.in, m.out)
	}
	return m, 0
}

// pierce finds or makes the hole through which remote may answer; nil when the
// table is full.
func (b *Box) pierce(t time.Duration, m *mapping, remote netip.AddrPort) *session {
	key := hole{m, b.c.Filtering.part(remote)}
	if s := b.sessions[key]; s != nil {
		return s
	}
	if b.full() {
		return nil
	}
	s := &session{hole: key}
	b.sessions[key] = s
	b.touch(t, &s.until, false, m)
	b.ends.push(s.until, ending{s: s})
	return s
}

func (b *Box) full() bool { return len(b.flows)+len(b.sessions) >= b.c.Sessions }

// touch prolongs a life from now on, within the absolute one of its mapping.
func (b *Box) touch(t time.Duration, until *time.Duration, replied bool, m *mapping) {
	end := t + b.c.Unreplied
	if replied {
		end = t + b.c.Replied
	}
	if b.c.Absolute > 0 {
		end = min(end, m.born+b.c.Absolute)
	}
	*until = max(*until, end)
}

// expire ends what is over. Each mapping and hole has one ending in the queue,
// which is looked at when its first term is over and goes back in when it was
// prolonged meanwhile: a busy flow costs nothing here.
func (b *Box) expire(t time.Duration) {
	for b.ends.len() > 0 && b.ends.next() <= t {
		_, e := b.ends.pop()
		switch {
		case e.s != nil:
			if e.s.until > t {
				b.ends.push(e.s.until, e)
			} else {
				delete(b.sessions, e.s.hole)
			}
		case e.m != nil:
			if e.m.until > t {
				b.ends.push(e.m.until, e)
			} else {
				b.close(e.m)
			}
		default:
			b.ports.release(e.rest)
		}
	}
}

// close ends a mapping. Its holes are over as well: none is ever prolonged
// without its mapping, nor beyond it.
func (b *Box) close(m *mapping) {
	delete(b.flows, m.flow)
	m.host.mappings--
	switch {
	case !b.translates(m.in.Addr()):
		delete(b.outer, m.out)
	case b.c.Hold > 0:
		b.outer[m.out] = nil
		b.ends.push(m.until+b.c.Hold, ending{rest: m.out})
	default:
		b.ports.release(m.out)
	}
	if m.host.mappings == 0 {
		b.ports.leave(m.host)
		delete(b.hosts, m.host.addr)
	}
	if b.watch != nil {
		b.watch(Unmapped, m.in, m.out)
	}
}
