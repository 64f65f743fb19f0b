// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"fmt"
	"math/rand/v2"
	"time"

)

// Config says who a Machine is.
type Config struct {
	Self   Card
	NoCaps bool // a private network: everybody in it holds its secret, so diversity caps only hurt
	Links  int  // cap on links; 0 = the default
}

// Machine is a node's part in the overlay: table, routing and introductions.
// It is pure: no goroutine, no clock, no socket; one goroutine at a time uses it.
//
// After every call that takes now, drain Poll and NextEvent. Calling Advance
// early is harmless. Time never goes backwards.
type Machine struct {
	c core
	router
}

// New returns the machine of a node without links.
func New(now time.Time, c Config, rng *rand.Rand) *Machine {
	m := &Machine{}
	id := c.Self.ID()
	m.c = core{self: c.Self, id: id, noCaps: c.NoCaps, epoch: now, rng: rng, table: table{id: id}}
	m.router.init(&m.c)
	return m
}

// LinkUp says that a link stands.
func (m *Machine) LinkUp(now time.Time, l Link) {
	id := l.Card.ID()
	if id == m.c.id {
		return
	}
	if old := m.c.table.find(id); old != nil {
		m.c.table.remove(old)
	}
	n := &neighbour{
		id: id, card: l.Card, addr: l.Addr, via: l.Via, carrier: l.Carrier, rtt: l.RTT,
		since: m.c.since(now), ours: l.Ours, relayed: l.Relayed, anchor: l.Anchor,
	}
	m.c.table.add(n)
}

// LinkDown says that the link to a node is gone.
func (m *Machine) LinkDown(now time.Time, id ID) {
	if n := m.c.table.find(id); n != nil {
		m.c.table.remove(n)
		m.router.linkDown(now, n)
	}
}

// Measured tells a link's round trip time.
func (m *Machine) Measured(now time.Time, id ID, rtt time.Duration) {
	if n := m.c.table.find(id); n != nil {
		n.rtt = rtt
	}
}

// Send routes a message. Answered events with the number it returns bring the
// replies, Undelivered its end without one.
func (m *Machine) Send(now time.Time, q Request) uint32 { return m.router.send(now, q) }

// Reply answers a Delivered message. secret opens its lock, once.
func (m *Machine) Reply(now time.Time, r Route, secret []byte, body []byte) {
	m.router.reply(now, r, secret, body)
}

// The first byte of a mesh message says whose it is.
const (
	routerTypes = 0x10
	endOfTypes  = 0x20
)

// Receive takes a message from a neighbour. An error means that the neighbour
// does not keep to the protocol: the driver closes its link. Unknown types are
// skipped, so that later versions can add to them.
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
	return nil
}

// Advance tells the machine that it is now at least now.
func (m *Machine) Advance(now time.Time) { m.router.advance(now) }

// Deadline returns when Advance wants to be called next; zero means never.
func (m *Machine) Deadline() time.Time { return m.router.deadline() }

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
