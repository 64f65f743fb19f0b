// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Config says who a Machine is.
type Config struct {
	Self   Card
	NoCaps bool // a private network: everybody in it holds its secret, so diversity caps only hurt
	Links  int  // cap on links; 0 = 110, 60 behind an endpoint-dependent NAT
}

// Machine is a node's part in the overlay: table, routing and introductions.
// It is pure: no goroutine, no clock, no socket; one goroutine at a time uses it.
//
// After every call that takes now, drain Poll and NextEvent. Calling Advance
// early is harmless. Time never goes backwards.
type Machine struct {
	c     core
	fill  filler
	intro introducer
	router
}

// New returns the machine of a node without links.
func New(now time.Time, c Config, rng *rand.Rand) *Machine {
	m := &Machine{}
	id := c.Self.ID()
	m.c = core{self: c.Self, id: id, noCaps: c.NoCaps, links: c.Links, epoch: now, rng: rng, table: table{id: id}}
	m.c.table.siblings = m.c.siblings()
	m.fill.init(&m.c)
	m.intro.c = &m.c
	m.router.init(&m.c)
	return m
}

// ID returns the node's own ID.
func (m *Machine) ID() ID { return m.c.id }

// SetSelf tells what kind of node this is now. Neighbours hear of it. As a
// leaf it keeps four links and forwards nothing.
func (m *Machine) SetSelf(now time.Time, class Class, leaf bool) {
	if class == m.c.self.Class && leaf == m.c.self.Leaf {
		return
	}
	if class != m.c.self.Class {
		m.c.failed = memory{} // what failed before may work now
	}
	m.c.self.Class, m.c.self.Leaf = class, leaf
	m.c.table.siblings = m.c.siblings()
	m.c.table.refresh()
	m.fill.tell(m.c.since(now))
	m.c.changed = true
	m.fill.restart(now)
	m.run(now)
}

// SetQuota tells how many links the node's NAT can bear, at least 16; 0 takes
// the quota back.
// It works from the next Advance on, which is due.
func (m *Machine) SetQuota(links int) {
	m.c.quota = links
	m.c.changed = true
	m.fill.stir(m.c.at)
}

// LinkUp says that a link stands, or that a link has become another: the same
// node directly instead of relayed, say.
func (m *Machine) LinkUp(now time.Time, l Link) {
	id := l.Card.ID()
	if id == m.c.id {
		return
	}
	if l.Card.Class > Blocked {
		l.Card.Class = Unknown
	}
	at := m.c.since(now)
	t, ours, o, theirs := m.fill.suitor.linked(id)
	a := applicant{id: id, leaf: l.Card.Leaf, prefix: prefixOf(l.Addr.Addr()), via: l.Via, relay: l.Relayed, near: true}
	if theirs {
		a.near, a.scarce = o.asker.near, o.asker.scarce
	}
	if a.prefix == 0 { // relayed: what the introducer saw must do
		a.prefix = max(t.prefix, o.asker.prefix)
	}
	n := m.c.table.find(id)
	if n == nil {
		n = &neighbour{id: id, since: at, told: untold, room: anywhere, spare: true}
		n.work.at, n.sought.at = at, at
		m.c.table.add(n)
	}
	n.card, n.addr, n.via, n.carrier, n.prefix = l.Card, l.Addr, l.Via, l.Carrier, a.prefix
	n.ours, n.relayed, n.anchor = l.Ours, l.Relayed, l.Anchor
	if l.RTT > 0 {
		n.rtt = l.RTT
	}
	if n.spare {
		m.place(now, n, &a)
	}
	m.c.table.refresh()
	m.fill.tellOne(n)
	if ours {
		m.fill.linked(now, n, &t)
	} else {
		m.fill.linked(now, n, nil)
	}
	m.run(now)
}

// untold is no state byte: a new neighbour is told ours.
const untold = 0xff

// place gives a new link its role. Our own have been chosen with care, and only
// the caps are checked again, now that its address is known for certain.
func (m *Machine) place(now time.Time, n *neighbour, a *applicant) {
	r, ok := member, true
	switch {
	case n.anchor:
	case n.ours:
		ok = m.c.diverse(n.id, n.prefix, n.via)
	default:
		r, ok = m.c.admit(a)
	}
	n.role, n.spare = r, false
	if !ok {
		m.c.release(now, n)
	}
}

// LinkDown says that the link to a node is gone.
func (m *Machine) LinkDown(now time.Time, id ID) {
	n := m.c.table.find(id)
	if n == nil {
		return
	}
	m.c.table.remove(n)
	m.intro.forget(n)
	m.fill.broke(now, n)
	m.router.linkDown(now, n)
	m.run(now)
}

// Measured tells a link's round trip time.
func (m *Machine) Measured(now time.Time, id ID, rtt time.Duration) {
	if n := m.c.table.find(id); n != nil {
		n.rtt = rtt
	}
}

// Failed says that no link could be made to a node, after Agreed or Accept.
func (m *Machine) Failed(now time.Time, id ID) {
	m.fill.punchFailed(now, id)
	m.run(now)
}

// Introduce answers Wanted with a sealed offer of at most 1,024 bytes.
func (m *Machine) Introduce(now time.Time, request uint32, sealed []byte) {
	m.fill.sealed(now, request, sealed)
	m.run(now)
}

// Accept answers Asked with a sealed offer of at most 1,024 bytes.
func (m *Machine) Accept(now time.Time, request uint32, sealed []byte) {
	m.fill.accept(now, request, sealed)
	m.run(now)
}

// Decline answers Wanted or Asked: no.
func (m *Machine) Decline(now time.Time, request uint32) {
	if t, ours := m.fill.decline(request); ours {
		m.fill.came(m.c.since(now), &t, answerDeclined)
	}
	m.run(now)
}

// CarryDown says that the link of two neighbours which this node carried since
// Carry has ended.
func (m *Machine) CarryDown(now time.Time, a, b ID) { m.intro.ended(pair{a, b}) }

// Send routes a message. Answered events with the number it returns bring the
// replies, Undelivered its end without one.
func (m *Machine) Send(now time.Time, q Request) uint32 { return m.router.send(now, q) }

// Ways says what names a message of ours at each hop, and which neighbours have
// been given a copy of it so far.
func (m *Machine) Ways(request uint32) (trace [16]byte, first []ID) {
	for _, t := range m.router.trails {
		if !t.own || t.request != request {
			continue
		}
		for i := range t.tries {
			if g := &t.tries[i]; g.state != givenRefused && !slices.Contains(first, g.to.id) {
				first = append(first, g.to.id)
			}
		}
		return t.trace, first
	}
	return trace, nil
}

// Reply answers a Delivered message. secret opens its lock, once.
func (m *Machine) Reply(now time.Time, r Route, secret []byte, body []byte) {
	m.router.reply(now, r, secret, body)
}

// The first byte of a mesh message says whose it is.
const (
	routerTypes = 0x10
	endOfTypes  = 0x20
)

// Receive takes a message from a neighbour. An error, always a *FormatError,
// means that the neighbour does not keep to the protocol: the driver closes its
// link. Unknown types are skipped, so that later versions can add to them.
func (m *Machine) Receive(now time.Time, from ID, b []byte) error {
	n := m.c.table.find(from)
	if n == nil {
		return nil // on its way when the link went
	}
	if len(b) == 0 {
		return &FormatError{Err: errEmpty}
	}
	if b[0] >= routerTypes && b[0] < endOfTypes {
		return m.router.receive(now, n, b)
	}
	var in message
	known, err := in.parse(b)
	if err != nil {
		return &FormatError{Type: b[0], Err: err}
	}
	if known {
		m.handle(now, n, b[0], &in)
		m.run(now)
	}
	return nil
}

// run does what is due for the table. Once a round the neighbour that loses
// most of what it is given has to go: one at a time, as a score can be wrong.
func (m *Machine) run(now time.Time) {
	m.fill.run(now)
	if !m.fill.judge {
		return
	}
	m.fill.judge = false
	var worst *neighbour
	for _, n := range m.c.table.list {
		if !n.spare && !n.anchor && m.router.bad(n) && (worst == nil || n.score.value() < worst.score.value()) {
			worst = n
		}
	}
	if worst != nil {
		m.c.shun(now, worst)
		m.fill.run(now)
	}
}

func (m *Machine) handle(now time.Time, from *neighbour, typ byte, in *message) {
	switch typ {
	case typeFind:
		m.intro.find(now, from, in)
	case typeCards:
		m.fill.found(now, from, in)
	case typeIntroduce:
		m.intro.introduce(now, from, in)
	case typeIntroduction:
		if m.intro.allowed(now, from) {
			m.fill.introduced(now, from, in)
		} else {
			m.fill.answer(from, in.request, answerBusy, nil)
		}
	case typeReply:
		if !m.intro.reply(from, in) {
			m.fill.replied(now, from, in)
		}
	case typeCard:
		leaf := from.leaf()
		from.room = in.room
		from.card.setState(in.state)
		from.claims = claims(in.state>>claimShift) & (claimSibling | claimScarce)
		if from.leaf() != leaf {
			m.c.table.refresh()
			m.c.changed = true
		}
	}
}

// Advance tells the machine that it is now at least now.
func (m *Machine) Advance(now time.Time) {
	m.intro.advance(now)
	m.run(now)
	m.router.advance(now)
}

// Deadline returns when Advance wants to be called next; zero means never.
func (m *Machine) Deadline() time.Time {
	return earliest(m.fill.deadline(), earliest(m.intro.deadline(), m.router.deadline()))
}

// earliest returns the earlier of two deadlines; zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Poll returns the next message for a neighbour.
func (m *Machine) Poll() (Out, bool) { return m.c.out.pop() }

// NextEvent returns the next event for the driver.
func (m *Machine) NextEvent() (Event, bool) { return m.c.events.pop() }

// FormatError is what Receive returns for a message that no honest node sends.
type FormatError struct {
	Type byte // first byte of the message
	Err  error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("mesh: malformed message of type 0x%02x: %v", e.Type, e.Err)
}

// Unwrap returns the reason.
func (e *FormatError) Unwrap() error { return e.Err }
