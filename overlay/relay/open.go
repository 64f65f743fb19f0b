// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// askTime is how long the other end, or the next relay, has for its
	// answer: no person is asked, so it is a round trip and a busy node.
	askTime = 5 * time.Second

	// maxAsking and maxAskingOwn bound the questions that are open: the
	// neighbours that a node of a large network has, and for each the devices
	// of one person.
	maxAsking    = 128
	maxAskingOwn = 5
)

// asking is a flow for which the other end's word is awaited. It is in the
// ledger already, so that answers can't come to more than there is room for.
type asking struct {
	from, next party
	request    uint32 // of the opener
	number     uint32 // of the Server's own question
	kind       Kind
	flags      byte
	twoHop     bool
	onward     bool  // next is a relay
	label      Label // for next; given out by it when onward
	until      time.Time
}

// open takes an OPEN. A target with a link to this node is asked, unless a
// voucher says what it wants; otherwise the first of the named relays is.
func (s *Server) open(l *neighbour, m message) {
	a, b, why := s.plan(l, m)
	if why != Closed {
		s.refuse(l.party.node, m.request, why)
		return
	}
	s.ledger.add(a.kind, a.twoHop, a.from, a.next)
	switch {
	case b != nil:
		f := s.establish(a, Hop{a.next.node, s.free(a.next.node)})
		f.booking, b.flow = b, f
		s.invite(a, f.b.Label, m.blob, b)
	case a.onward:
		s.ask(a)
		s.send(a.next.node, message{typ: typeOpen, request: a.number, node: m.node, kind: m.kind, flags: flagLast, blob: m.blob})
	default:
		a.label = s.free(a.next.node)
		s.ask(a)
		s.invite(a, a.label, m.blob, nil)
	}
}

// plan says how an OPEN would be served, or with a reason other than Closed
// why not. It returns the booking when the target has agreed already.
func (s *Server) plan(l *neighbour, m message) (a *asking, b *booking, why Reason) {
	a = &asking{from: l.party, request: m.request, kind: m.kind, flags: m.flags & (flagNested | flagLast)}
	if m.kind != Call && m.kind != Link || m.node == l.party.node || m.node == s.self ||
		m.flags&flagLast != 0 && (len(m.via) > 0 || len(m.voucher) > 0) ||
		(m.request&relayRequest != 0) != (m.flags&flagLast != 0) {
		return nil, nil, Malformed
	}
	a.twoHop = a.flags != 0
	next := s.links[m.node]
	if next == nil {
		for _, v := range m.via {
			if v != l.party.node && s.links[v] != nil {
				next, a.onward, a.twoHop = s.links[v], true, true
				break
			}
		}
	}
	if next == nil {
		return nil, nil, NoLink
	}
	a.next = next.party
	if len(m.voucher) > 0 {
		if b = s.shown(m, l); b == nil { // else its owner has a link, so nobody is asked onward
			return nil, nil, Voucher
		}
		s.release(b)
		if b.flow != nil { // shown again: after a broken link, say
			s.end(b.flow, Closed, identity.NodeID{})
		}
	} else if s.cluttered(l) {
		return nil, nil, Busy
	}
	if why, ok := s.ledger.fits(a.kind, a.twoHop, a.from, a.next); !ok {
		return nil, nil, why
	}
	return a, b, Closed
}

// cluttered says whether too many questions are open already.
func (s *Server) cluttered(l *neighbour) bool {
	own := 0
	for _, a := range s.asking {
		if a.from.node == l.party.node {
			own++
		}
	}
	return own >= maxAskingOwn || len(s.asking) >= maxAsking
}

func (s *Server) ask(a *asking) {
	a.number = s.request()
	a.until = s.now.Add(askTime)
	s.asking = append(s.asking, a)
	s.due(a.until)
}

func (s *Server) invite(a *asking, l Label, blob []byte, b *booking) {
	m := message{
		typ: typeInvite, request: a.number, node: a.from.node, kind: a.kind, label: l, flags: a.flags, blob: blob,
		life: uint32(flowLife / time.Second), rate: uint32(min(s.cfg.Limits.rates(a.kind, a.twoHop).Peak/1000, 1<<31)),
	}
	if l := s.links[a.from.node]; l != nil && !a.twoHop {
		m.seen = l.seen
	}
	if b != nil {
		m.serial, m.bySerial = b.serial, true
	}
	s.send(a.next.node, m)
}

// establish opens the flow that was asked for, with this far end.
func (s *Server) establish(a *asking, far Hop) *flow {
	r := s.cfg.Limits.rates(a.kind, a.twoHop)
	r.Nested = a.flags&flagNested != 0
	f := &flow{
		a: Hop{a.from.node, s.free(a.from.node)}, b: far, kind: a.kind, twoHop: a.twoHop, onward: a.onward,
		rates: r, parties: []party{a.from, a.next},
	}
	s.begin(f)
	var seen netip.AddrPort
	if l := s.links[a.next.node]; l != nil && !a.twoHop {
		seen = l.seen
	}
	s.opened(a.from.node, a.request, f.a.Label, r, seen)
	return f
}

// answer finds the question that a message answers, and takes it off the list.
func (s *Server) answer(from identity.NodeID, number uint32) *asking {
	i := slices.IndexFunc(s.asking, func(a *asking) bool { return a.number == number && a.next.node == from })
	if i < 0 {
		return nil
	}
	a := s.asking[i]
	s.asking = slices.Delete(s.asking, i, i+1)
	return a
}

// forget ends a question without a flow.
func (s *Server) forget(a *asking) {
	s.asking = slices.DeleteFunc(s.asking, func(x *asking) bool { return x == a })
	s.ledger.remove(a.kind, a.twoHop, a.from, a.next)
}

// accepted takes the target's yes. One that comes too late is told so.
func (s *Server) accepted(l *neighbour, m message) {
	me := l.party.node
	if a := s.answer(me, m.request); a != nil {
		if !a.onward && a.label == m.label {
			s.establish(a, Hop{me, a.label})
			return
		}
		s.counts.malformed++
		s.drop(a, Declined)
	}
	if s.ends[Hop{me, m.label}] == nil {
		s.send(me, message{typ: typeClose, label: m.label, reason: Timeout})
	}
}

// passedOn takes the next relay's yes.
func (s *Server) passedOn(l *neighbour, m message) {
	far := Hop{l.party.node, m.label}
	a := s.answer(l.party.node, m.request)
	switch f := s.ends[far]; {
	case a == nil && f != nil: // the answer to a renewal
	case a == nil:
		s.send(l.party.node, message{typ: typeClose, label: m.label, reason: Timeout})
	case f != nil || !a.onward || !given(s.self, l.party.node, m.label):
		s.counts.malformed++
		s.drop(a, Malformed)
	default:
		s.establish(a, far)
	}
}

// declined takes a no of the target or of the next relay.
func (s *Server) declined(l *neighbour, m message) {
	a := s.answer(l.party.node, m.request)
	switch {
	case a == nil:
	case a.onward:
		s.drop(a, m.reason) // it knows better
	default:
		s.drop(a, Declined)
	}
}

// drop tells the opener that nothing comes of a question that was answered.
func (s *Server) drop(a *asking, why Reason) {
	s.ledger.remove(a.kind, a.twoHop, a.from, a.next)
	s.refuse(a.from.node, a.request, why)
}
