// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// maxEvents bounds what is under way at once: forty datagrams or timers for
	// each of 10⁵ nodes, about 200 MB. Above it new datagrams are dropped, since
	// a world that holds more has a loop in it.
	maxEvents = 1 << 22

	// maxFree bounds the datagrams kept for use again, and maxKeep the buffer of
	// one: 6 MB of ordinary ones.
	maxFree = 4096
	maxKeep = 1536
)

// World is a simulated network and its clock. See the package comment for who
// may use it when.
type World struct {
	start  time.Time
	now    time.Duration // since start
	events queue[event]
	rng    *rand.Rand

	public   realm
	machines map[Node]*machine

	free    []*packet
	packets uint64
	running bool

	stats Stats
	trace func(TraceEvent)
}

// event is one of: a datagram at the end of a link, a machine's deadline, a script.
type event struct {
	p *packet
	m *machine
	f func()
}

// packet is a datagram under way.
type packet struct {
	id       uint64
	from, to netip.AddrPort // as the next hop sees them
	b        []byte

	on     *site  // the link it is on
	down   bool   // towards the site, not away from it
	pulled uint32 // on.pulled when it set out
}

// NewWorld returns an empty world whose clock shows start and whose chances
// all follow from seed.
func NewWorld(seed uint64, start time.Time) *World {
	w := &World{
		start:    start.Round(0), // no monotonic reading: the world's time is its own
		rng:      rand.New(rand.NewPCG(seed, 0x73696d6e6574)),
		machines: map[Node]*machine{},
	}
	w.public = realm{w: w, table: map[netip.Addr]*site{}}
	return w
}

// Now returns the world's time.
func (w *World) Now() time.Time { return w.start.Add(w.now) }

// Rand returns a new generator that follows from the world's seed. A machine
// that needs randomness gets one of its own.
func (w *World) Rand() *rand.Rand { return rand.New(rand.NewPCG(w.rng.Uint64(), w.rng.Uint64())) }

// At runs f when the world's clock shows t, or next when that is past. What is
// due at the same time runs in the order it was asked for.
func (w *World) At(t time.Time, f func()) {
	w.events.push(max(w.now, t.Sub(w.start)), event{f: f})
}

// Run lets everything happen that is due up to and at until, then sets the
// clock to until.
func (w *World) Run(until time.Time) {
	w.outside()
	end := until.Sub(w.start)
	for w.events.len() > 0 && w.events.next() <= end {
		w.step()
	}
	w.now = max(w.now, end)
}

// Until runs the world until done returns true, which is asked after every
// event, or for d at most. It returns what done said last.
func (w *World) Until(d time.Duration, done func() bool) bool {
	w.outside()
	end := w.now + d
	for !done() {
		if w.events.len() == 0 || w.events.next() > end {
			w.now = end
			return false
		}
		w.step()
	}
	return true
}

// Step moves the clock to the next event and lets it happen. It returns false
// when there is none.
func (w *World) Step() bool {
	w.outside()
	if w.events.len() == 0 {
		return false
	}
	w.step()
	return true
}

// outside panics when an event runs the world it is in.
func (w *World) outside() {
	if w.running {
		panic("simnet: the world is run from inside an event")
	}
}

func (w *World) step() {
	w.running = true
	at, e := w.events.pop()
	w.now = max(w.now, at)
	switch {
	case e.p != nil:
		w.arrive(e.p)
	case e.m != nil:
		w.due(e.m)
	default:
		e.f()
	}
	w.running = false
}

// next returns when the next event is due.
func (w *World) next() (time.Duration, bool) {
	if w.events.len() == 0 {
		return 0, false
	}
	return w.events.next(), true
}

// realm is a network: the public one, or the inside of a box. Its core is
// perfect; delay and loss live on the links.
type realm struct {
	w     *World
	box   *NAT // the way out of here; nil in the public realm
	table map[netip.Addr]*site
}

// site is what hangs on a realm by an access link: a host or a box's outside.
type site struct {
	name     string
	realm    *realm
	up, down lane // away from the site, towards it
	cut      bool
	pulled   uint32 // how often the cable was pulled: what was on it then is lost

	host *Host // exactly one of
	nat  *NAT  // these two is set
}

// add takes addresses for s, or panics when one is taken already.
func (r *realm) add(s *site, a netip.Addr) {
	if o := r.table[a]; o != nil {
		panic("simnet: " + s.name + " wants " + a.String() + ", which " + o.name + " has")
	}
	r.table[a] = s
}

// send starts a datagram on its way.
func (w *World) send(h *Host, from, to netip.AddrPort, b []byte) {
	w.packets++
	p := w.packet(b)
	p.id, p.from, p.to = w.packets, from, to
	w.stats.Sent++
	w.tracePacket(Sent, h.name, p)
	if h.owns(to.Addr()) || to.Addr().IsLoopback() {
		p.on, p.down, p.pulled = &h.site, true, h.pulled
		w.later(w.now, p) // through an event: a machine must not be entered twice
		return
	}
	w.cross(&h.site, false, p)
}

// lost accounts for a datagram that no address of its host could have sent.
func (w *World) lost(h *Host, to netip.AddrPort, b []byte) {
	w.packets++
	p := w.packet(b)
	p.id, p.from, p.to = w.packets, netip.AddrPort{}, to
	w.stats.Sent++
	w.tracePacket(Sent, h.name, p)
	w.drop(h.name, p, NoRoute)
}

// cross puts p on one direction of s's link.
func (w *World) cross(s *site, down bool, p *packet) {
	if s.cut {
		w.drop(s.name, p, LinkDown)
		return
	}
	l, header := &s.up, headerV4
	if down {
		l = &s.down
	}
	if p.to.Addr().Is6() {
		header = headerV6
	}
	at, again, why := l.pass(w.now, len(p.b), header, w.rng)
	if why != 0 {
		w.drop(s.name, p, why)
		return
	}
	p.on, p.down, p.pulled = s, down, s.pulled
	var q *packet
	if again >= 0 {
		q = w.packet(p.b)
		b := q.b
		*q = *p
		q.b = b
	}
	if at <= w.now && !(down && s.host != nil) {
		w.arrive(p) // nothing can come between
	} else {
		w.later(at, p)
	}
	if q != nil {
		w.later(again, q)
	}
}

func (w *World) later(at time.Duration, p *packet) {
	if w.events.len() >= maxEvents {
		w.drop(p.on.name, p, Overflow)
		return
	}
	w.events.push(at, event{p: p})
}

// arrive takes p off the end of a link.
func (w *World) arrive(p *packet) {
	s := p.on
	switch {
	case p.pulled != s.pulled:
		w.drop(s.name, p, LinkDown)
	case !p.down:
		w.route(s.realm, p)
	case s.nat != nil:
		s.nat.inbound(p)
	default:
		s.host.deliver(p)
	}
}

// route sends p from the core of r towards its destination.
func (w *World) route(r *realm, p *packet) {
	if s := r.table[p.to.Addr()]; s != nil {
		w.cross(s, true, p)
	} else if r.box != nil {
		r.box.outbound(p)
	} else {
		w.drop("core", p, NoRoute)
	}
}

// packet returns one with a copy of b.
func (w *World) packet(b []byte) *packet {
	n := len(w.free)
	if n == 0 {
		return &packet{b: append([]byte(nil), b...)}
	}
	p := w.free[n-1]
	w.free = w.free[:n-1]
	p.b = append(p.b[:0], b...)
	return p
}

func (w *World) recycle(p *packet) {
	if len(w.free) < maxFree && cap(p.b) <= maxKeep {
		p.on = nil
		w.free = append(w.free, p)
	}
}
