// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"net"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/session"
)

// GroupChanged says that a group is new here, or that its members or name are
// others now.
type GroupChanged struct{ Group *Group }

// GroupRings says that a member calls this person into a group's call:
// GroupCall.Answer or Leave. If nobody does, GroupEnded and CallMissed follow.
type GroupRings struct{ Call *GroupCall }

// GroupJoined says that a member is in the call, from now on or since before:
// Member is the call with them, one of GroupCall.Members.
type GroupJoined struct {
	Call   *GroupCall
	Member *Call
}

// GroupLeft says that a member is not in the call any more, and why, in the words of
// CallError.Reason. One whose link broke ("failed", "offline") is called again.
type GroupLeft struct {
	Call   *GroupCall
	Member *Call
	Reason string
}

// GroupEnded says that this node is out of a group's call: it left, or everybody
// else did. It comes once, last.
type GroupEnded struct {
	Call   *GroupCall
	Reason string
}

func (GroupChanged) event() {}
func (GroupRings) event()   {}
func (GroupJoined) event()  {}
func (GroupLeft) event()    {}
func (GroupEnded) event()   {}

// A GroupCall is one conversation of a group: a call with each of the others, end
// to end as any other, nobody in the middle. One bad link doesn't hurt the rest.
// Those calls come in the events CallAnswered, CallMedia, CallPath, CallEnded and
// the like and in the history; Call.Group tells them from other ones. All methods
// may be called from anywhere.
type GroupCall struct {
	n *Node
	f *session.Conference
	g *Group
}

// groupCall returns the handle of a session's room, the app's one while it lasts.
func (n *Node) groupCall(f *session.Conference) *GroupCall {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.rooms[f]
	if c == nil {
		c = &GroupCall{n, f, &Group{n, f.ID()}}
		select {
		case <-f.Done(): // over before the app got it
		default:
			n.rooms[f] = c
		}
	}
	return c
}

// Group returns whose call it is.
func (c *GroupCall) Group() *Group { return c.g }

// By returns who called this person in; zero when it came by itself.
func (c *GroupCall) By() identity.ID { return c.f.By() }

// Answer enters a call that rings, and puts other calls on hold. Errors: a
// *CallError when it doesn't ring any more, net.ErrClosed.
func (c *GroupCall) Answer() error {
	err := c.f.Answer()
	switch {
	case errors.Is(err, session.ErrNoCall):
		return &CallError{Peer: c.By(), Stage: session.Ring.String(), Reason: "failed", Err: err}
	case err == nil:
		c.n.others(nil, HoldOthers)
	}
	return err
}

// Leave goes out of the call, or declines to come in; the others go on. Coming back
// is Group.Join. Leaving twice is no error.
func (c *GroupCall) Leave() error {
	if err := c.f.Leave(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Members returns the calls with those who are in it, in the order in which they
// came. Each has a track of its own, Call.Tracks, to be played one by one or
// through voice.Mixer, which also tells who speaks. Hold and HangUp of one of them
// concern that member alone.
func (c *GroupCall) Members() (list []*Call) {
	for _, s := range c.f.Calls() {
		list = append(list, c.n.handle(s))
	}
	return list
}

// Track returns what all others hear: a frame that is written to it is sent to
// each. The rate that it advises is the median of what the links to them carry.
// What is written to the track of one member's call is heard by that one alone; do
// one or the other.
func (c *GroupCall) Track() *media.Out { return c.f.Out() }

// Mute sends silence to all instead of what the app writes, or ends that.
func (c *GroupCall) Mute(on bool) { c.f.Out().Mute(on) }

// Done is closed when this node is out of the call.
func (c *GroupCall) Done() <-chan struct{} { return c.f.Done() }

// Reason says why it is over, in the words of CallError.Reason; "" before Done.
func (c *GroupCall) Reason() string {
	select {
	case <-c.f.Done():
		return c.f.Reason().String()
	default:
		return ""
	}
}

// Group returns the group's call that this is a part of; nil = none.
func (c *Call) Group() *GroupCall {
	f := c.c.Conference()
	if f == nil {
		return nil
	}
	return c.n.groupCall(f)
}

// groupNews carries what happens to groups to the app.
func (n *Node) groupNews(e session.HubEvent) {
	switch e := e.(type) {
	case session.GroupChanged:
		n.adoptGroup(e.Roster)
		n.events.publish(GroupChanged{&Group{n, e.Roster.ID}})
	case session.GroupForgotten:
		n.groupGone(e.ID)
	case session.ConferenceRings:
		n.events.publish(GroupRings{n.groupCall(e.Conference)})
	case session.ConferenceMember:
		g, c := n.groupCall(e.Conference), n.handle(e.Call)
		if e.Joined {
			n.events.publish(GroupJoined{g, c})
		} else {
			n.events.publish(GroupLeft{g, c, e.Reason.String()})
		}
	case session.ConferenceEnded:
		c := n.groupCall(e.Conference)
		n.mu.Lock()
		delete(n.rooms, e.Conference)
		n.mu.Unlock()
		n.events.publish(GroupEnded{c, e.Conference.Reason().String()})
	}
}
