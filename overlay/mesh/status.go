// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"net/netip"
	"time"
)

// Status is what a node's part in the network looks like, in numbers.
type Status struct {
	Links    int              // live links with a use
	ByClass  [Blocked + 1]int // of these, by the other end's class
	Leaves   int              // of these, to sleeping nodes
	Relayed  int              // of these, carried by another node
	Ours     int              // of these, asked for by this node
	Guests   int              // of these, newly come and without a place yet
	Spare    int              // beside these, handed back to the driver
	Siblings int              // nodes near our ID, of eight
	Buckets  []int            // links by the length of the prefix shared
	Carried  int              // links of neighbours that this node carries
	Remember int              // failed and refused attempts remembered

	Suitor     SuitorStatus
	Introducer IntroducerStatus
	Routing    Routing

	DroppedOut, DroppedEvents uint64 // not drained in time
	MassFailure               bool
}

// SuitorStatus counts the links that a node wanted, and that others wanted
// with it.
type SuitorStatus struct {
	Wanted  uint64 // offers that were to be made
	Agreed  uint64 // the other side was willing
	Refused uint64 // it was not, or had no room
	Silent  uint64 // nothing came in time
	Linked  uint64 // a link stood
	Failed  uint64 // punched in vain

	Accepted uint64 // others' offers taken
	Declined uint64 // or not
	Shed     uint64 // or too many at a time
}

// IntroducerStatus counts the introductions a node passed on.
type IntroducerStatus struct {
	Asked  uint64 // passed to the target
	Passed uint64 // agreed, and told to the asker
	Silent uint64 // the target gave no answer
	Full   uint64 // links that were not carried, as many are already
	Shed   uint64 // questions refused for their number
}

// Status returns the numbers.
func (m *Machine) Status() Status {
	s := Status{
		Carried: len(m.intro.carried), Remember: len(m.c.failed.list), MassFailure: m.c.massFailure(m.c.epoch.Add(m.c.at)),
		Suitor: m.fill.counts, Introducer: m.intro.counts, Routing: m.router.routing,
		DroppedOut: m.c.out.dropped, DroppedEvents: m.c.events.dropped,
	}
	for _, n := range m.c.table.list {
		if n.spare {
			s.Spare++
			continue
		}
		s.Links++
		s.ByClass[n.class()]++
		s.Leaves += btoi(n.leaf())
		s.Relayed += btoi(n.relayed)
		s.Ours += btoi(n.ours)
		s.Guests += btoi(n.role == guest)
		s.Siblings += btoi(n.sibling)
		for len(s.Buckets) <= int(n.bucket) {
			s.Buckets = append(s.Buckets, 0)
		}
		s.Buckets[n.bucket]++
	}
	return s
}

// Neighbour is a link as the table sees it.
type Neighbour struct {
	ID      ID
	Card    Card
	Addr    netip.AddrPort // zero when relayed
	RTT     time.Duration
	Via     ID
	Carrier ID
	Bucket  int // length of the prefix shared
	Ours    bool
	Relayed bool
	Anchor  bool
	Sibling bool
	Spare   bool // without a use; the driver may close it
	Age     time.Duration
}

// Neighbours returns all links, those nearest to our ID first.
func (m *Machine) Neighbours() []Neighbour {
	return m.snapshot(func(*neighbour) bool { return true })
}

// Class returns what a neighbour says of how it can be linked to; Unknown when
// there is no such neighbour.
func (m *Machine) Class(id ID) Class {
	if n := m.c.table.find(id); n != nil {
		return n.class()
	}
	return Unknown
}

// Siblings returns the neighbours nearest to our ID, nearest first: who holds
// what this node holds.
func (m *Machine) Siblings() []Neighbour {
	return m.snapshot(func(n *neighbour) bool { return n.sibling })
}

func (m *Machine) snapshot(which func(*neighbour) bool) (list []Neighbour) {
	for _, n := range m.c.table.list {
		if !which(n) {
			continue
		}
		list = append(list, Neighbour{
			ID: n.id, Card: n.card, Addr: n.addr, RTT: n.rtt, Via: n.via, Carrier: n.carrier, Bucket: int(n.bucket),
			Ours: n.ours, Relayed: n.relayed, Anchor: n.anchor, Sibling: n.sibling, Spare: n.spare,
			Age: m.c.at - n.since,
		})
	}
	return list
}
