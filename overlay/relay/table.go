// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// flowLife is how long a flow may go on without a renewal by either end,
	// and renewSlack what a renewal may be late.
	flowLife   = voucherLife
	renewSlack = 30 * time.Second

	// firstUse is how long a flow waits for its first frame: both ends probe
	// it as soon as they know it.
	firstUse = 30 * time.Second

	// idleLife is how long a used flow may be silent: four probes of a path
	// that is kept warm (RFC 8445 §11: 15 s).
	idleLife = 60 * time.Second
)

// flow is one that this node carries.
type flow struct {
	a, b    Hop // who asked, and who was asked
	kind    Kind
	twoHop  bool
	rates   Rates
	parties []party

	born    time.Time
	renewed time.Time
	booking *booking // the voucher it was opened with
	onward  bool     // b is a relay that this one asked

	trace   [16]byte  // of a Short
	touched time.Time // of a Short: when the ring, or it again, passed
}

// begin enters a flow, whose parties are in the ledger already.
func (s *Server) begin(f *flow) {
	f.born, f.renewed = s.now, s.now
	s.flows = append(s.flows, f)
	s.ends[f.a], s.ends[f.b] = f, f
	s.counts.opened++
	s.tell(FlowUp{f.a, f.b, f.kind, f.rates})
	until, _ := s.until(f)
	s.due(until)
}

// end takes a flow out and tells both ends but the one that knows. Those of
// rings end without a word: both sides count the same seconds.
func (s *Server) end(f *flow, why Reason, knows identity.NodeID) {
	s.flows = slices.DeleteFunc(s.flows, func(x *flow) bool { return x == f })
	delete(s.ends, f.a)
	delete(s.ends, f.b)
	s.ledger.remove(f.kind, f.twoHop, f.parties...)
	if f.booking != nil {
		f.booking.flow = nil
	}
	s.tell(FlowDown{f.a, f.b, f.kind, why})
	for _, h := range []Hop{f.a, f.b} {
		if f.kind != Short && h.Node != knows {
			s.send(h.Node, message{typ: typeClose, label: h.Label, reason: why})
		}
	}
}

func (s *Server) lastUsed(f *flow) time.Time {
	if s.cfg.LastUsed == nil {
		return time.Time{}
	}
	return s.cfg.LastUsed(f.a)
}

// until returns when a flow ends unless something happens, and why.
func (s *Server) until(f *flow) (time.Time, Reason) {
	used := s.lastUsed(f)
	if f.kind == Short {
		return f.untilShort(used)
	}
	t, why := f.born.Add(firstUse), Idle
	if !used.IsZero() {
		t = used.Add(idleLife)
	}
	if x := f.renewed.Add(flowLife + renewSlack); x.Before(t) {
		t = x
	}
	if d := s.cfg.Limits.time(); d > 0 {
		if x := f.born.Add(d); x.Before(t) {
			t, why = x, Over
		}
	}
	return t, why
}

// free draws a label that is not in use on the link to node.
func (s *Server) free(node identity.NodeID) Label {
	for {
		l := newLabel(s.self, node)
		if s.ends[Hop{node, l}] == nil && !slices.ContainsFunc(s.asking, func(a *asking) bool { return a.label == l && a.next.node == node }) {
			return l
		}
	}
}

// given says whether a neighbour may have given out a label for its link to
// self.
func given(self, by identity.NodeID, l Label) bool {
	return l&shortBit == 0 && (l&largerBit != 0) == self.Less(by)
}

// renew prolongs a flow, and its second half where another relay carries on.
func (s *Server) renew(l *neighbour, m message) {
	f := s.ends[Hop{l.party.node, m.label}]
	if f == nil || f.kind == Short {
		s.refuse(l.party.node, m.request, Gone)
		return
	}
	f.renewed = s.now
	if f.onward && f.a.Node == l.party.node {
		s.send(f.b.Node, message{typ: typeRenew, request: s.request(), label: f.b.Label})
	}
	s.opened(l.party.node, m.request, m.label, f.rates, netip.AddrPort{})
}

// opened says to the node that asked that its flow is there.
func (s *Server) opened(to identity.NodeID, request uint32, l Label, r Rates, seen netip.AddrPort) {
	s.send(to, message{
		typ: typeOpened, request: request, label: l, rate: uint32(min(r.Peak/1000, 1<<31)),
		life: uint32(flowLife / time.Second), load: s.ledger.load(), seen: seen,
	})
}

// closed ends a flow because an end says so. The voucher with which it was
// opened is spent then: whoever hangs up wants no flow back.
func (s *Server) closed(l *neighbour, m message) {
	f := s.ends[Hop{l.party.node, m.label}]
	if f == nil || f.kind == Short {
		return
	}
	if f.booking != nil {
		s.unbook(f.booking)
	}
	s.end(f, m.reason, l.party.node)
}
