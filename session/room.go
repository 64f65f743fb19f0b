// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Room holds the rules of one group's conversation on one node: whom to call, whose
// calls to take, and who is there. Each pair of people has a call of its own, a leg;
// the driver makes them, names them by numbers that the Room gives out, and tells
// what becomes of them. It is pure, under three rules:
//
//   - after every input drain NextEvent until it returns false;
//   - call Advance at Deadline; calling it early is harmless;
//   - time never goes backwards.
type Room struct {
	self   Peer
	roster *GroupRoster
	state  RoomState
	seats  []*seat // others, in the order in which they were heard of
	legs   Leg     // the latest number
	events []RoomEvent
}

// Leg names a call of a room.
type Leg uint32

// RoomState is where this side stands.
type RoomState uint8

// The states of a room.
const (
	RoomOut   RoomState = iota // nothing goes on, as far as is known here
	RoomRings                  // somebody calls us in
	RoomIn                     // we are in it
)

const (
	// maxSeats bounds who is kept apart: seven others, some of whom have moved to
	// another device or started their node anew.
	maxSeats = 16
	// yieldTime is how long the side with the larger node ID waits to be called.
	yieldTime = 3 * time.Second
	// legAgain is when a leg that failed is called again; the wait doubles. Five
	// times reach over half a minute.
	legAgain = time.Second
	maxLegs  = 5
	// alone: so often a leg is called again that nobody else lists.
	maxAlone = 3
	// ringAgain is when a member who was offline is searched again; the wait
	// doubles. Each search lasts up to searchTime, so that three of them are about
	// as long as a phone rings.
	ringAgain = 2 * time.Second
	maxRings  = 3
)

// seat is somebody else's device in the room, or on its way there.
type seat struct {
	person identity.ID
	peer   Peer // zero while a person is being searched and rung
	at     place
	known  bool // at is

	leg    Leg // 0 = none
	phase  seatPhase
	quiet  bool   // of a search: it rings nobody
	left   bool   // hung up: it comes back by itself or not at all
	listed []Peer // who says that a leg to it stands
	tries  int
	again  time.Time // call it then; zero = don't
}

type seatPhase uint8

const (
	seatIdle  seatPhase = iota
	seatCalls           // we call it
	seatWaits           // its call waits for our answer
	seatIn              // the leg stands
)

// RoomEvent is what a Room wants done or has to tell: one of the types below.
type RoomEvent interface{ roomEvent() }

type (
	// RoomRing: search for a person and call whatever device answers.
	RoomRing struct {
		Leg    Leg
		Person identity.ID
		Quiet  bool
	}
	// RoomDial: call the device at a place, with the group's secret, quietly: it is
	// in the room or should not hear of us.
	RoomDial struct {
		Leg Leg
		at  place
	}
	// RoomAccept: answer a call that waits.
	RoomAccept struct{ Leg Leg }
	// RoomHang: end a call, in whatever state.
	RoomHang struct {
		Leg    Leg
		Reason Reason
	}
	// RoomTell: tell each leg whose legs stand, and the roster.
	RoomTell struct{}
	// RoomCalled: somebody calls us in; Answer or Leave.
	RoomCalled struct{ By Peer }
	// RoomJoined and RoomLeft: a leg stands, and does no longer.
	RoomJoined struct {
		Leg  Leg
		Peer Peer
	}
	RoomLeft struct {
		Leg    Leg
		Peer   Peer
		Reason Reason
	}
	// RoomOver: this side is out again.
	RoomOver struct{ Reason Reason }
)

func (RoomRing) roomEvent()   {}
func (RoomDial) roomEvent()   {}
func (RoomAccept) roomEvent() {}
func (RoomHang) roomEvent()   {}
func (RoomTell) roomEvent()   {}
func (RoomCalled) roomEvent() {}
func (RoomJoined) roomEvent() {}
func (RoomLeft) roomEvent()   {}
func (RoomOver) roomEvent()   {}

// NewRoom returns the empty room of a group that self is a member of.
func NewRoom(self Peer, r *GroupRoster) *Room { return &Room{self: self, roster: r} }

// Roster returns the list that counts.
func (r *Room) Roster() *GroupRoster { return r.roster }

// State returns where this side stands.
func (r *Room) State() RoomState { return r.state }

// Call enters the room and rings every member; quietly, it only joins those who
// are in it already. When a call in waits here, it is answered as well.
func (r *Room) Call(now time.Time, quiet bool) {
	if r.state == RoomRings {
		r.Answer(now)
	}
	r.state = RoomIn
	for _, id := range r.roster.Members {
		r.ring(id, quiet)
	}
	r.settle(NoAnswer)
}

// ring searches somebody with whom no leg stands or is on its way.
func (r *Room) ring(id identity.ID, quiet bool) {
	if id == r.self.Identity || slices.ContainsFunc(r.seats, func(s *seat) bool { return s.person == id && s.phase != seatIdle }) {
		return
	}
	s := r.find(Peer{}, id)
	if s == nil {
		if s = r.add(id); s == nil {
			return
		}
	}
	s.quiet, s.tries = quiet, 0
	r.search(s)
}

func (r *Room) search(s *seat) {
	s.tries++
	s.leg, s.phase, s.again = r.number(), seatCalls, time.Time{}
	r.emit(RoomRing{s.leg, s.person, s.quiet})
}

// Invited takes a member's call. It is answered, or waits, or is refused, by an
// event with the number returned.
func (r *Room) Invited(now time.Time, from Peer, quiet bool) Leg {
	leg := r.number()
	s := r.find(from, from.Identity)
	if s == nil && r.roster.Has(from.Identity) && from.Identity != r.self.Identity {
		if s = r.add(from.Identity); s != nil {
			s.peer = from
		}
	}
	switch {
	case s == nil || !r.roster.Has(from.Identity):
		r.emit(RoomHang{leg, Denied})
	case r.state == RoomOut && quiet:
		r.emit(RoomHang{leg, NoAnswer}) // nobody is in
		r.forget(s)
	case s.phase == seatIn || s.phase == seatWaits && r.state != RoomIn:
		r.emit(RoomHang{leg, Busy})
	default:
		if s.phase != seatIdle {
			// We call it as well: the calls have met already, or this one is as
			// good. Or it has called before and heard nothing of our answer.
			r.emit(RoomHang{s.leg, Elsewhere})
		}
		s.leg, s.phase, s.left, s.again = leg, seatWaits, false, time.Time{}
		switch r.state {
		case RoomIn:
			r.emit(RoomAccept{leg})
		case RoomOut:
			r.state = RoomRings
			r.emit(RoomCalled{from})
		}
	}
	return leg
}

// Answer enters the room that calls.
func (r *Room) Answer(now time.Time) {
	if r.state != RoomRings {
		return
	}
	r.state = RoomIn
	for _, s := range r.seats {
		if s.phase == seatWaits {
			r.emit(RoomAccept{s.leg})
		}
	}
}

// Leave goes out of the room, or refuses to come in.
func (r *Room) Leave(now time.Time) {
	if r.state == RoomOut {
		return
	}
	why := HungUp
	if r.state == RoomRings {
		why = Rejected
	}
	r.close(why)
}

// Up tells that a leg was answered, and who is there.
func (r *Room) Up(now time.Time, leg Leg, p Peer, at place) {
	s := r.byLeg(leg)
	if s == nil || r.state != RoomIn || !r.roster.Has(p.Identity) {
		r.emit(RoomHang{leg, HungUp})
		return
	}
	// Whoever was searched has turned out to be a device, perhaps one that was
	// heard of; and a person speaks at one device only, the latest.
	for _, o := range slices.Clone(r.seats) {
		if o == s || o.person != p.Identity {
			continue
		}
		if o.peer == p {
			s.listed = o.listed
		}
		if o.leg != 0 {
			r.emit(RoomHang{o.leg, Elsewhere})
			if o.phase == seatIn {
				r.unlist(o.peer)
				r.emit(RoomLeft{o.leg, o.peer, Elsewhere})
			}
		}
		r.forget(o)
	}
	s.peer, s.person, s.at, s.known = p, p.Identity, at, true
	s.phase, s.left, s.tries, s.again = seatIn, false, 0, time.Time{}
	r.emit(RoomJoined{leg, p})
	r.emit(RoomTell{})
}

// Down tells that a leg has ended, or could not be made.
func (r *Room) Down(now time.Time, leg Leg, why Reason) {
	s := r.byLeg(leg)
	if s == nil {
		return
	}
	was := s.phase
	s.leg, s.phase = 0, seatIdle
	searched := s.peer == (Peer{})
	switch {
	case searched && why == Offline && s.tries < maxRings:
		s.again = now.Add(ringAgain << (s.tries - 1)) // it may be about to start
	case searched, was == seatWaits && r.state == RoomRings:
		r.forget(s)
	case final(why):
		s.left = true
	default:
		s.again = now.Add(legAgain << s.tries)
	}
	if was == seatIn {
		r.unlist(s.peer)
		s.tries = 0
		r.emit(RoomLeft{leg, s.peer, why})
		r.emit(RoomTell{})
	}
	r.settle(why)
}

// unlist forgets what somebody said whose leg has ended.
func (r *Room) unlist(p Peer) {
	for _, s := range r.seats {
		s.listed = without(s.listed, p)
	}
}

// final tells whether a leg ended because somebody wanted it to.
func final(r Reason) bool {
	switch r {
	case HungUp, Cancelled, Elsewhere, Rejected, Denied, Transferred, NotFound:
		return true
	}
	return false
}

// Told takes from a leg whose legs stand there.
func (r *Room) Told(now time.Time, leg Leg, list []place) {
	from := r.byLeg(leg)
	if from == nil || from.phase != seatIn {
		return
	}
	said := make([]Peer, 0, MaxMembers)
	for _, at := range list {
		p := at.peer()
		if p.Identity == r.self.Identity || !r.roster.Has(p.Identity) || slices.Contains(said, p) || len(said) == MaxMembers-1 {
			continue
		}
		said = append(said, p)
		s := r.find(p, p.Identity)
		if s == nil {
			if s = r.add(p.Identity); s == nil {
				continue
			}
			s.peer = p
		}
		if !s.known {
			s.at, s.known = at, true
		}
		if !slices.Contains(s.listed, from.peer) {
			s.listed = append(s.listed, from.peer)
		}
		if s.phase == seatIdle && !s.left && s.again.IsZero() {
			s.again = now
			if p.Node.Less(r.self.Node) {
				s.again = now.Add(yieldTime)
			}
		}
	}
	for _, s := range r.seats {
		if !slices.Contains(said, s.peer) {
			s.listed = without(s.listed, from.peer)
		}
	}
	r.Advance(now)
}

// Adopt takes a newer roster of the group; ring calls in whom it adds.
func (r *Room) Adopt(now time.Time, next *GroupRoster, ring bool) {
	if next.ID != r.roster.ID || !next.Newer(r.roster) {
		return
	}
	old := r.roster
	r.roster = next
	if r.state == RoomOut {
		return
	}
	if !next.Has(r.self.Identity) {
		r.close(Denied)
		return
	}
	for _, s := range slices.Clone(r.seats) {
		if next.Has(s.person) {
			continue
		}
		if s.leg != 0 {
			r.emit(RoomHang{s.leg, Denied})
			if s.phase == seatIn {
				r.emit(RoomLeft{s.leg, s.peer, Denied})
			}
		}
		r.forget(s)
	}
	r.emit(RoomTell{})
	if ring && r.state == RoomIn {
		for _, id := range next.Members {
			if !old.Has(id) {
				r.ring(id, false)
			}
		}
	}
	r.settle(Denied)
}

// Advance calls whom it is time to call.
func (r *Room) Advance(now time.Time) {
	for _, s := range r.seats {
		if s.again.IsZero() || now.Before(s.again) {
			continue
		}
		s.again = time.Time{}
		if s.peer == (Peer{}) {
			if r.state == RoomIn && !r.elsewhere(s) {
				r.search(s)
			} else {
				r.forget(s)
			}
			continue
		}
		most := maxLegs
		if len(s.listed) == 0 {
			most = maxAlone
		}
		if r.state != RoomIn || s.phase != seatIdle || s.left || !s.known || s.tries >= most || r.elsewhere(s) {
			continue
		}
		s.tries++
		s.leg, s.phase = r.number(), seatCalls
		r.emit(RoomDial{s.leg, s.at})
	}
	r.settle(Failed)
}

// elsewhere tells whether a leg to the same person at another device stands.
func (r *Room) elsewhere(s *seat) bool {
	return slices.ContainsFunc(r.seats, func(o *seat) bool { return o != s && o.person == s.person && o.phase == seatIn })
}

// Deadline returns when Advance is due next; zero when nothing is.
func (r *Room) Deadline() (t time.Time) {
	for _, s := range r.seats {
		if !s.again.IsZero() && (t.IsZero() || s.again.Before(t)) {
			t = s.again
		}
	}
	return t
}

// NextEvent returns the next event.
func (r *Room) NextEvent() (RoomEvent, bool) {
	if len(r.events) == 0 {
		return nil, false
	}
	e := r.events[0]
	r.events = r.events[1:]
	return e, true
}

// Seats returns where those are whose legs stand.
func (r *Room) Seats() (list []place) {
	for _, s := range r.seats {
		if s.phase == seatIn && len(list) < MaxMembers-1 {
			list = append(list, s.at)
		}
	}
	return list
}

// settle goes out when nobody is left and nobody will come.
func (r *Room) settle(why Reason) {
	if r.state == RoomOut || slices.ContainsFunc(r.seats, func(s *seat) bool { return s.phase != seatIdle || !s.again.IsZero() }) {
		return
	}
	r.state, r.seats = RoomOut, nil
	r.emit(RoomOver{why})
}

// close ends everything.
func (r *Room) close(why Reason) {
	for _, s := range r.seats {
		if s.leg != 0 {
			r.emit(RoomHang{s.leg, why})
			if s.phase == seatIn {
				r.emit(RoomLeft{s.leg, s.peer, why})
			}
		}
	}
	r.state, r.seats = RoomOut, nil
	r.emit(RoomOver{why})
}

func (r *Room) emit(e RoomEvent) { r.events = append(r.events, e) }

// Next returns the number that the next leg will have.
func (r *Room) Next() Leg { return r.legs + 1 }

func (r *Room) number() Leg {
	r.legs++
	return r.legs
}

// add makes a seat, in the place of one that is of no use any more if need be.
func (r *Room) add(id identity.ID) *seat {
	if len(r.seats) == maxSeats {
		i := slices.IndexFunc(r.seats, func(s *seat) bool { return s.phase == seatIdle && len(s.listed) == 0 })
		if i < 0 {
			return nil
		}
		r.seats = slices.Delete(r.seats, i, i+1)
	}
	s := &seat{person: id}
	r.seats = append(r.seats, s)
	return s
}

func (r *Room) forget(s *seat) { r.seats = without(r.seats, s) }

// find returns the seat of a person at a device; the zero Peer is one who is being
// searched.
func (r *Room) find(p Peer, id identity.ID) *seat {
	if i := slices.IndexFunc(r.seats, func(s *seat) bool { return s.peer == p && s.person == id }); i >= 0 {
		return r.seats[i]
	}
	return nil
}

func (r *Room) byLeg(leg Leg) *seat {
	if i := slices.IndexFunc(r.seats, func(s *seat) bool { return s.leg == leg && leg != 0 }); i >= 0 {
		return r.seats[i]
	}
	return nil
}
