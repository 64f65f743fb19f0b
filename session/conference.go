// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/media"
)

// What happens to groups.
type (
	// GroupChanged tells that a group is new here, or has changed.
	GroupChanged struct{ Roster *GroupRoster }
	// GroupForgotten tells that a group is not known here any more.
	GroupForgotten struct{ ID GroupID }
	// ConferenceRings tells that a member calls us in; Answer or Leave.
	ConferenceRings struct{ Conference *Conference }
	// ConferenceMember tells that a leg stands, or does no longer, and why.
	ConferenceMember struct {
		Conference *Conference
		Call       *Call
		Joined     bool
		Reason     Reason
	}
	// ConferenceEnded comes once, last.
	ConferenceEnded struct{ Conference *Conference }
)

func (GroupForgotten) hubEvent()   {}
func (GroupChanged) hubEvent()     {}
func (ConferenceRings) hubEvent()  {}
func (ConferenceMember) hubEvent() {}
func (ConferenceEnded) hubEvent()  {}

const (
	// maxRooms at a time: one to talk in and one that calls.
	maxRooms = 2
	// maxRosters are remembered, the oldest forgotten; the RINGs of those used
	// last are opened.
	maxRosters    = 64
	maxRoomSecret = 15
	// adviseEvery is how many frames pass until the rate is looked at again.
	adviseEvery = 25
)

// A Conference is one conversation of a group, as this node is in it. All methods
// may be called from anywhere.
type Conference struct {
	hub  *Hub
	id   GroupID
	out  *media.Out
	by   Peer // who called us in; zero = nobody
	done chan struct{}

	// Owned by the hub's loop.
	room    *Room
	legs    map[Leg]*Call
	pending map[Leg]context.CancelFunc // of legs that are being searched for
	rang    bool                       // it called us in, and nobody has answered or left yet

	frames atomic.Uint64
	joined atomic.Pointer[[]*Call] // those whose legs stand; never changed in place

	mu     sync.Mutex // guards what follows
	roster *GroupRoster
	reason Reason
}

func (h *Hub) newConference(r *GroupRoster, by Peer) *Conference {
	f := &Conference{
		hub: h, id: r.ID, by: by, roster: r, done: make(chan struct{}),
		legs: make(map[Leg]*Call), pending: make(map[Leg]context.CancelFunc),
	}
	f.room = NewRoom(Peer{Identity: h.cfg.Self.ID(), Device: h.cfg.Self.Certificate().DeviceID(), Node: h.ov.Node()}, r)
	f.out = media.NewOut(f.send)
	f.joined.Store(new([]*Call))
	h.rooms[r.ID] = f
	return f
}

// ID names the group.
func (f *Conference) ID() GroupID { return f.id }

// Roster returns who belongs to the group, as far as is known here.
func (f *Conference) Roster() *GroupRoster {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roster
}

// By returns who called us in; zero = we came by ourselves.
func (f *Conference) By() identity.ID { return f.by.Identity }

// Calls returns the legs that stand, in the order in which they came.
func (f *Conference) Calls() []*Call { return slices.Clone(*f.joined.Load()) }

// Out is the track that everybody in the room hears. What is written goes out on
// every leg; the rate it advises is what most of them can carry.
func (f *Conference) Out() *media.Out { return f.out }

// send hands a frame to every leg.
func (f *Conference) send(frame *media.Frame) error {
	calls := *f.joined.Load()
	if f.frames.Add(1)%adviseEvery == 0 {
		f.advise(calls)
	}
	for _, c := range calls {
		c.out.WriteFrame(frame) // a leg that has just ended is no error of the app's
	}
	return nil
}

// advise takes the median of the legs' rates, so that one bad link makes nobody
// else's sound worse: it has copies and a rate control of its own.
func (f *Conference) advise(calls []*Call) {
	if len(calls) == 0 {
		return
	}
	list := make([]media.Advice, len(calls))
	for i, c := range calls {
		list[i] = c.out.Advice()
	}
	order.Sort(list, func(a, b media.Advice) int { return a.Bitrate - b.Bitrate })
	a := list[len(list)/2]
	a.RED = media.Distances{} // each leg's own
	f.out.Advise(a)
}

// Answer enters the room that calls. Errors: ErrNoCall, net.ErrClosed.
func (f *Conference) Answer() error {
	return f.command(func(now time.Time) error {
		if f.hub.rooms[f.id] != f || f.room.State() != RoomRings {
			return fmt.Errorf("%w: room %v", ErrNoCall, f.id)
		}
		f.rang = false
		f.room.Answer(now)
		return nil
	})
}

// Leave goes out of the room, or declines to come in. Leaving twice is no error.
// Error: net.ErrClosed.
func (f *Conference) Leave() error {
	return f.command(func(now time.Time) error {
		if f.hub.rooms[f.id] == f {
			f.rang = false
			f.room.Leave(now)
		}
		return nil
	})
}

func (f *Conference) command(do func(now time.Time) error) (err error) {
	if e := f.hub.loop.Do(context.Background(), func(now time.Time) { err = do(now); f.hub.drain(now) }); e != nil {
		return e
	}
	return err
}

// Done is closed when this node is out of the room.
func (f *Conference) Done() <-chan struct{} { return f.done }

// Reason says why; only after Done.
func (f *Conference) Reason() Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reason
}

// Conference returns the room that a call is a leg of; nil = none.
func (c *Call) Conference() *Conference { return c.room }

// SetGroup makes a group known, or changes it; who was added is called into the
// room if this node is in it. Errors: ctx's, net.ErrClosed.
func (h *Hub) SetGroup(ctx context.Context, r *GroupRoster) error {
	return h.closedOr(h.loop.Do(ctx, func(now time.Time) { h.adopt(now, r, true); h.drain(now) }))
}

// ForgetGroup leaves the group's room, if this node is in it, and forgets it.
// Errors: ctx's, net.ErrClosed.
func (h *Hub) ForgetGroup(ctx context.Context, id GroupID) error {
	return h.closedOr(h.loop.Do(ctx, func(now time.Time) {
		h.rosters = slices.DeleteFunc(h.rosters, func(r *GroupRoster) bool { return r.ID == id })
		h.emit(GroupForgotten{id})
		if f := h.rooms[id]; f != nil {
			f.room.Leave(now)
		}
		h.drain(now)
	}))
}

// adopt takes a roster if it is news, and puts it in front of the others.
func (h *Hub) adopt(now time.Time, r *GroupRoster, ring bool) *GroupRoster {
	i := slices.IndexFunc(h.rosters, func(o *GroupRoster) bool { return o.ID == r.ID })
	if i >= 0 && !r.Newer(h.rosters[i]) {
		r = h.rosters[i]
	} else {
		h.emit(GroupChanged{r})
	}
	if i >= 0 {
		h.rosters = slices.Delete(h.rosters, i, i+1)
	}
	h.rosters = slices.Insert(h.rosters, 0, r)
	if len(h.rosters) > maxRosters {
		h.emit(GroupForgotten{h.rosters[maxRosters].ID})
		h.rosters = h.rosters[:maxRosters]
	}
	if f := h.rooms[r.ID]; f != nil {
		f.mu.Lock()
		f.roster = r
		f.mu.Unlock()
		f.room.Adopt(now, r, ring)
	}
	return r
}

// Enter goes into a group's room and calls every member in; quietly, it joins those
// who are there. Errors: ErrNoGroup, ErrBusy, ctx's, net.ErrClosed.
func (h *Hub) Enter(ctx context.Context, id GroupID, quiet bool) (f *Conference, err error) {
	e := h.loop.Do(ctx, func(now time.Time) {
		i := slices.IndexFunc(h.rosters, func(r *GroupRoster) bool { return r.ID == id })
		if i < 0 || !h.rosters[i].Has(h.cfg.Self.ID()) {
			err = ErrNoGroup
			return
		}
		if f = h.rooms[id]; f == nil {
			if len(h.rooms) >= maxRooms {
				err = fmt.Errorf("%w: %d rooms", ErrBusy, len(h.rooms))
				return
			}
			f = h.newConference(h.rosters[i], Peer{})
		}
		f.rang = false
		h.adopt(now, h.rosters[i], false) // to the front
		f.room.Call(now, quiet)
		h.drain(now)
	})
	if e != nil {
		return nil, h.closedOr(e)
	}
	return f, err
}

// roomCalls takes a call that is a leg of a room.
func (h *Hub) roomCalls(now time.Time, c *Call, g *GroupCall) {
	mine := h.cfg.Self.ID()
	if !g.Roster.Has(mine) || !g.Roster.Has(c.peer.Identity) {
		h.m.Reject(now, c.id, Denied)
		return
	}
	known := slices.ContainsFunc(h.rosters, func(r *GroupRoster) bool { return r.ID == g.Roster.ID })
	if !known && (g.Quiet || len(h.rosters) >= maxRosters) { // nobody who calls makes us forget a group
		h.m.Reject(now, c.id, NoAnswer)
		return
	}
	r := h.adopt(now, g.Roster, false)
	if !r.Has(mine) { // a newer one is known here
		h.m.Reject(now, c.id, Denied)
		return
	}
	f := h.rooms[r.ID]
	if f == nil {
		if len(h.rooms) >= maxRooms {
			h.m.Reject(now, c.id, Busy)
			return
		}
		f = h.newConference(r, c.peer)
	}
	c.room, c.edition = f, g.Roster.Edition
	// The call is a leg before the room says what becomes of it.
	f.legs[f.room.Next()] = c
	c.roomLeg = f.room.Invited(now, c.peer, g.Quiet)
	if f.room.State() == RoomOut && h.rooms[r.ID] == f {
		delete(h.rooms, r.ID) // it was refused: nobody is in
		h.drainRoom(now, f)
	}
}

// said takes what the other side of a leg says of the room.
func (h *Hub) said(now time.Time, c *Call, e RoomSaid) {
	f := c.room
	if f == nil || h.rooms[f.id] != f {
		return
	}
	if e.Roster != nil {
		h.adopt(now, e.Roster, false)
	}
	stale := e.Edition < f.room.Roster().Edition && c.edition != e.Edition
	c.edition = max(c.edition, e.Edition)
	f.room.Told(now, c.roomLeg, e.seats)
	if stale {
		h.tellLeg(now, f, c)
	}
}

// drainRooms carries out what the rooms want done, and reports whether there was
// anything.
func (h *Hub) drainRooms(now time.Time) (any bool) {
	for _, f := range h.conferences() {
		any = h.drainRoom(now, f) || any
	}
	return any
}

// conferences returns the rooms in an order that does not depend on a map's.
func (h *Hub) conferences() (list []*Conference) {
	for _, f := range h.rooms {
		list = append(list, f)
	}
	order.Sort(list, func(a, b *Conference) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}

func (h *Hub) drainRoom(now time.Time, f *Conference) (any bool) {
	for {
		e, ok := f.room.NextEvent()
		if !ok {
			return any
		}
		any = true
		h.carryOut(now, f, e)
	}
}

func (h *Hub) carryOut(now time.Time, f *Conference, e RoomEvent) {
	switch e := e.(type) {
	case RoomRing:
		h.searchLeg(f, e)
	case RoomDial:
		h.dialLeg(f, e)
	case RoomAccept:
		if c := f.legs[e.Leg]; c != nil {
			if err := h.m.Answer(now, c.id); err != nil {
				h.log.Debug("leg not answered", "err", err)
			}
		}
	case RoomHang:
		h.hangLeg(now, f, e)
	case RoomTell:
		for _, c := range *f.joined.Load() {
			h.tellLeg(now, f, c)
		}
	case RoomCalled:
		f.rang = true
		h.emit(ConferenceRings{f})
	case RoomJoined:
		if c := f.legs[e.Leg]; c != nil {
			list := append(slices.Clone(*f.joined.Load()), c)
			f.joined.Store(&list)
			h.emit(ConferenceMember{Conference: f, Call: c, Joined: true})
		}
	case RoomLeft:
		list := *f.joined.Load()
		i := slices.IndexFunc(list, func(c *Call) bool { return c.roomLeg == e.Leg })
		if i >= 0 {
			c := list[i]
			list = slices.Delete(slices.Clone(list), i, i+1)
			f.joined.Store(&list)
			h.emit(ConferenceMember{Conference: f, Call: c, Reason: e.Reason})
		}
	case RoomOver:
		h.roomOver(now, f, e.Reason)
	}
}

func (h *Hub) roomOver(now time.Time, f *Conference, why Reason) {
	if h.rooms[f.id] != f {
		return
	}
	delete(h.rooms, f.id)
	for leg, stop := range f.pending {
		stop()
		delete(f.pending, leg)
	}
	if f.rang {
		h.emit(CallMissed{Missed{Peer: f.by, Name: f.Roster().Name, When: now}})
	}
	f.finish(why)
	h.emit(ConferenceEnded{f})
}

func (f *Conference) finish(why Reason) {
	f.mu.Lock()
	f.reason = why
	f.mu.Unlock()
	f.out.Close()
	close(f.done)
}
