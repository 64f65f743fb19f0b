// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// maxOut and maxEvents bound what waits for the driver. It drains after each
// input; the most that one input causes is the end of a neighbour that had a
// share of all flows a benchmark opens.
const (
	maxOut    = MaxFlows
	maxEvents = MaxFlows
)

// outbox is what a machine has to say.
type outbox struct {
	out    []Out
	events []Event
}

func (o *outbox) send(to identity.NodeID, m message) {
	if len(o.out) < maxOut {
		o.out = append(o.out, Out{to, m.encode()})
	}
}

func (o *outbox) tell(e Event) {
	if len(o.events) < maxEvents {
		o.events = append(o.events, e)
	}
}

// Poll returns the next message to send.
func (o *outbox) Poll() (Out, bool) {
	if len(o.out) == 0 {
		return Out{}, false
	}
	m := o.out[0]
	if o.out = o.out[1:]; len(o.out) == 0 {
		o.out = nil
	}
	return m, true
}

// NextEvent returns the next event.
func (o *outbox) NextEvent() (Event, bool) {
	if len(o.events) == 0 {
		return nil, false
	}
	e := o.events[0]
	if o.events = o.events[1:]; len(o.events) == 0 {
		o.events = nil
	}
	return e, true
}

// ServerConfig makes a Server.
type ServerConfig struct {
	Key    ed25519.PrivateKey // the node key; it signs vouchers
	Limits Limits
	// LastUsed says when the Forwarder last passed a frame of the flow with
	// this end; zero means never. It must return at once. Nil means that flows
	// never look used.
	LastUsed func(Hop) time.Time
}

// Server is the part of a node that carries flows for its neighbours: it
// decides who may have one, and says so to the driver as FlowUp and FlowDown.
// It is a pure machine. After every input drain Poll and NextEvent; calling
// Advance early is harmless; time never goes backwards. It is not safe for
// concurrent use.
type Server struct {
	outbox
	cfg  ServerConfig
	self identity.NodeID
	pub  ed25519.PublicKey

	now    time.Time // of the last input
	next   time.Time // no deadline is earlier; zero = none
	links  map[identity.NodeID]*neighbour
	flows  []*flow // in order of opening
	ends   map[Hop]*flow
	asking []*asking  // in order of asking
	book   []*booking // in order of reserving
	ledger ledger
	seq    uint32 // of request numbers
	counts struct {
		granted, opened, malformed, flooded, collisions, noShort uint64
		refused                                                  map[Reason]uint64
	}
}

// NewServer returns a Server without links.
func NewServer(cfg ServerConfig) *Server {
	pub := cfg.Key.Public().(ed25519.PublicKey)
	s := &Server{
		cfg: cfg, pub: pub, self: identity.NodeIDOf(pub),
		links: make(map[identity.NodeID]*neighbour), ends: make(map[Hop]*flow), ledger: newLedger(cfg.Limits),
	}
	s.counts.refused = make(map[Reason]uint64)
	return s
}

// LinkUp says that a link to a node stands, or what is known of it has changed.
func (s *Server) LinkUp(now time.Time, node identity.NodeID, n Neighbour) {
	s.tick(now)
	l := s.links[node]
	if l == nil {
		l = &neighbour{tokens: controlBurst, counted: now}
		s.links[node] = l
		l.party = party{node, prefix(n.Addr)} // stays: quotas were entered under it
	}
	l.salt, l.seen = n.Salt, n.Seen
}

// LinkDown says that the last link to a node broke: its flows end.
func (s *Server) LinkDown(now time.Time, node identity.NodeID) {
	s.tick(now)
	if s.links[node] == nil {
		return
	}
	for _, a := range slices.Clone(s.asking) {
		if a.from.node == node || a.next.node == node {
			s.forget(a)
			if a.next.node == node {
				s.refuse(a.from.node, a.request, Gone)
			}
		}
	}
	for _, f := range slices.Clone(s.flows) {
		if f.a.Node == node || f.b.Node == node {
			s.end(f, Gone, node)
		}
	}
	for _, b := range slices.Clone(s.book) {
		if b.owner.node == node {
			s.unbook(b)
		}
	}
	delete(s.links, node)
}

// Receive takes a message from a neighbour. It returns false when the message
// is none of the Server's: then it is for the node's Client.
func (s *Server) Receive(now time.Time, from identity.NodeID, body []byte) (mine bool) {
	s.tick(now)
	l := s.links[from]
	m, err := parseMessage(body)
	if err != nil {
		s.counts.malformed++
		return true // nobody else's either
	}
	switch m.typ {
	case typeGrant, typeInvite:
		return false
	case typeOpened, typeRefused:
		mine = m.request&relayRequest != 0
	case typeClose:
		mine = s.ends[Hop{from, m.label}] != nil
	default:
		mine = true
	}
	if !mine || l == nil {
		return mine
	}
	if !l.allow(now) {
		s.counts.flooded++
		return true
	}
	switch m.typ {
	case typeReserve:
		s.reserve(l, m)
	case typeOpen:
		s.open(l, m)
	case typeAccept:
		s.accepted(l, m)
	case typeOpened:
		s.passedOn(l, m)
	case typeRefused:
		s.declined(l, m)
	case typeRenew:
		s.renew(l, m)
	case typeClose:
		s.closed(l, m)
	}
	return true
}

// tick notes the time of an input.
func (s *Server) tick(now time.Time) {
	if now.After(s.now) {
		s.now = now
	}
}

// due makes sure that Advance is called at t.
func (s *Server) due(t time.Time) {
	if s.next.IsZero() || t.Before(s.next) {
		s.next = t
	}
}

// Deadline returns when Advance wants to be called; zero means never.
func (s *Server) Deadline() time.Time { return s.next }

// Advance ends what has lasted too long.
func (s *Server) Advance(now time.Time) {
	s.tick(now)
	if s.next.IsZero() || s.now.Before(s.next) {
		return
	}
	s.next = time.Time{}
	for _, a := range slices.Clone(s.asking) {
		if s.now.Before(a.until) {
			s.due(a.until)
			continue
		}
		s.forget(a)
		s.refuse(a.from.node, a.request, Timeout)
	}
	for _, f := range slices.Clone(s.flows) {
		if until, why := s.until(f); s.now.Before(until) {
			s.due(until)
		} else {
			s.end(f, why, identity.NodeID{})
		}
	}
	s.expireBook()
}

// refuse answers a request with no.
func (s *Server) refuse(to identity.NodeID, request uint32, why Reason) {
	s.counts.refused[why]++
	s.send(to, message{typ: typeRefused, request: request, reason: why, load: s.ledger.load()})
}

// request returns a number for a question of the Server's own.
func (s *Server) request() uint32 {
	s.seq = (s.seq + 1) &^ relayRequest
	return s.seq | relayRequest
}

// Carried is what a node carries for others at a moment.
type Carried struct {
	Calls, Links, Short int
	TwoHop              int // of those
	Vouchers            int
	Promised            int64 // bit/s, both ways
	Load                uint8 // percent
}

// Carried returns what this node carries now.
func (s *Server) Carried() Carried {
	c := Carried{TwoHop: s.ledger.twoHop, Vouchers: len(s.book), Promised: s.ledger.promised, Load: s.ledger.load()}
	for _, f := range s.flows {
		switch f.kind {
		case Call:
			c.Calls++
		case Link:
			c.Links++
		case Short:
			c.Short++
		}
	}
	return c
}

// Carries reports whether a flow of this kind runs between two nodes.
func (s *Server) Carries(k Kind, a, b identity.NodeID) bool {
	return slices.ContainsFunc(s.flows, func(f *flow) bool {
		return f.kind == k && (f.a.Node == a && f.b.Node == b || f.a.Node == b && f.b.Node == a)
	})
}

// Counters returns what has happened since the start, by words for people.
func (s *Server) Counters() map[string]uint64 {
	m := map[string]uint64{
		"vouchers granted": s.counts.granted, "flows opened": s.counts.opened, "malformed": s.counts.malformed,
		"flooded": s.counts.flooded, "label taken": s.counts.collisions, "no room for a ring's flow": s.counts.noShort,
	}
	for r, n := range s.counts.refused {
		m["refused: "+r.String()] = n
	}
	return m
}
