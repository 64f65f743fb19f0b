// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"
)

const (
	// holdTime is how long room is kept for a voucher that was not shown yet:
	// an answer that rings through at once.
	holdTime = 30 * time.Second

	// maxBook and maxOwn bound the vouchers that are out: several for each
	// call that could be carried, and two calls with two devices for a node.
	maxBook = 256
	maxOwn  = 8

	// maxLapses reservations that were never used, each within lapseMemory of
	// the one before, and this node keeps no room for that neighbour any more.
	maxLapses   = 3
	lapseMemory = 10 * time.Minute
)

// booking is a voucher that is out.
type booking struct {
	voucher
	owner party
	until time.Time
	holds time.Time // room is kept until then; zero = none is
	flow  *flow     // opened with it
}

// reserve grants a voucher, or a new one for the same two nodes.
func (s *Server) reserve(l *neighbour, m message) {
	me := l.party.node
	why, hold := s.reservable(l, m)
	if why != Closed {
		s.refuse(me, m.request, why)
		return
	}
	i := slices.IndexFunc(s.book, func(b *booking) bool {
		return b.voucher.owner == me && b.peer == m.node && b.kind == m.kind
	})
	var b *booking
	if i >= 0 {
		b = s.book[i]
	} else {
		b = &booking{owner: l.party, voucher: voucher{relay: s.pub, owner: me, peer: m.node, kind: m.kind}}
		var r [8]byte
		rand.Read(r[:]) // never fails, by its documentation
		b.serial = binary.BigEndian.Uint64(r[:])
		s.book = append(s.book, b)
		if hold {
			s.ledger.add(b.kind, false, b.owner)
			b.holds = s.now.Add(holdTime)
			s.due(b.holds)
		}
	}
	b.until = s.now.Add(voucherLife)
	b.expires = b.until.Unix()
	s.due(b.until)
	s.counts.granted++
	s.send(me, message{
		typ: typeGrant, request: m.request, voucher: b.sign(s.cfg.Key),
		life: uint32(voucherLife / time.Second), load: s.ledger.load(),
	})
}

// reservable returns Closed when a voucher may be granted, and whether room is
// kept for it.
func (s *Server) reservable(l *neighbour, m message) (why Reason, hold bool) {
	me := l.party.node
	if m.kind != Call && m.kind != Link || m.node == me || m.node == s.self {
		return Malformed, false
	}
	own, known := 0, false
	for _, b := range s.book {
		if b.voucher.owner == me {
			own++
			known = known || b.peer == m.node && b.kind == m.kind
		}
	}
	if why, ok := s.ledger.fits(m.kind, false, l.party); !known && !ok {
		return why, false
	}
	if !known && own >= maxOwn {
		return Share, false
	}
	if !known && len(s.book) >= maxBook {
		return Busy, false
	}
	return Closed, l.lapses < maxLapses || s.now.Sub(l.lapsed) > lapseMemory
}

// release gives back the room that was kept for a voucher.
func (s *Server) release(b *booking) {
	if !b.holds.IsZero() {
		b.holds = time.Time{}
		s.ledger.remove(b.kind, false, b.owner)
	}
}

// unbook makes a voucher void. A flow that was opened with it goes on.
func (s *Server) unbook(b *booking) {
	s.release(b)
	if b.flow != nil {
		b.flow.booking = nil
	}
	s.book = slices.DeleteFunc(s.book, func(x *booking) bool { return x == b })
}

func (s *Server) expireBook() {
	for _, b := range slices.Clone(s.book) {
		if !b.holds.IsZero() && !s.now.Before(b.holds) {
			s.release(b)
			if l := s.links[b.voucher.owner]; l != nil {
				if s.now.Sub(l.lapsed) > lapseMemory {
					l.lapses = 0
				}
				l.lapses++
				l.lapsed = s.now
			}
		}
		if !s.now.Before(b.until) {
			s.unbook(b)
			continue
		}
		s.due(b.until)
		if !b.holds.IsZero() {
			s.due(b.holds)
		}
	}
}

// shown returns the booking for a voucher, or nil: it must be this relay's, in
// its book, in time, for this opener, target and kind.
func (s *Server) shown(m message, from *neighbour) *booking {
	v, err := parseVoucher(m.voucher)
	if err != nil || !v.relay.Equal(s.pub) || v.peer != from.party.node || v.owner != m.node || v.kind != m.kind {
		return nil
	}
	for _, b := range s.book {
		// A voucher that was renewed since is good until the new one's end.
		if b.serial == v.serial && b.voucher.owner == v.owner && b.peer == v.peer && b.kind == v.kind && s.now.Unix() < v.expires {
			return b
		}
	}
	return nil
}
