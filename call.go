// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
)

// CallOptions tune one call. Nil means voice with the defaults.
type CallOptions struct{}

// A Call is one conversation with one person, from the first ring to its end.
type Call struct {
	n *Node
	c *session.Call
}

// Path says how the other side of a call is reached.
type Path struct {
	Kind   string         // "lan", "direct", "relay", "tcp"; "" = none at the moment
	Local  netip.AddrPort // the node's own end
	Remote netip.AddrPort // where packets go; the first relay's when relayed
	RTT    time.Duration  // smoothed; 0 = not measured yet
	Reason string         // why it isn't direct; "" when it is
	// Vias are the nodes that relay the call now, the one that leads first.
	Vias []identity.NodeID
}

func pathOf(i overlay.PathInfo) Path {
	p := Path{Kind: i.Kind.String(), Local: i.Local, Remote: i.Remote, RTT: i.RTT, Reason: i.Reason, Vias: i.Vias}
	if !i.Up {
		p.Kind, p.Reason = "", "no path answers at the moment; "+i.Reason
	}
	return p
}

// ID names the call in events and logs.
func (c *Call) ID() string { return c.c.ID() }

// Peer returns who is at the other end; their node has proved it.
func (c *Call) Peer() identity.ID { return c.c.Peer() }

// Name returns what the caller calls itself: show it, don't trust it.
func (c *Call) Name() string { return c.c.Name() }

// Incoming reports whether the other side called.
func (c *Call) Incoming() bool { return c.c.Incoming() }

// Started returns when the call arrived or was placed.
func (c *Call) Started() time.Time { return c.c.Started() }

// Answered waits until the other side answers, or this one has. It returns
// nil then and only then, a *CallError when the call ended without an answer,
// for whatever reason, or ctx's error; the call goes on ringing then.
func (c *Call) Answered(ctx context.Context) error {
	err := c.c.Answered(ctx)
	if errors.Is(err, session.ErrNoCall) {
		return c.ended()
	}
	return err
}

// Answer takes an incoming call. Media flows at once. Errors: a *CallError
// when the call is over, net.ErrClosed.
func (c *Call) Answer() error { return c.late(c.c.Answer()) }

// Reject declines an incoming call. Errors as Answer.
func (c *Call) Reject() error { return c.late(c.c.Reject(session.Rejected)) }

func (c *Call) late(err error) error {
	if !errors.Is(err, session.ErrNoCall) {
		return err
	}
	select {
	case <-c.Done():
		return c.ended()
	default:
	}
	return &CallError{Peer: c.Peer(), Stage: session.Talk.String(), Reason: "failed", Err: err}
}

// HangUp ends the call, or stops the ringing. The other side is told. Hanging
// up twice is no error.
func (c *Call) HangUp() error {
	if err := c.c.HangUp(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Mute sends silence instead of what the app writes, or ends that. A few tiny
// packets a second keep the path alive.
func (c *Call) Mute(on bool) {
	_, out := c.c.Tracks()
	out.Mute(on)
}

// Tracks returns the sound of both directions, as encoded Opus frames at
// 48 kHz. in.ReadFrame paces itself and waits for the other side; out takes
// frames from the start, and sends them once the call is answered.
func (c *Call) Tracks() (in *media.In, out *media.Out) { return c.c.Tracks() }

// Path returns how the other side is reached now.
func (c *Call) Path() Path { return pathOf(c.c.Path()) }

// Stats returns the call's counters; media.Stats.Score with an earlier result
// gives the quality of the time between. LongestGap starts anew at each call.
func (c *Call) Stats() media.Stats { return c.c.Stats() }

// Done is closed when the call is over.
func (c *Call) Done() <-chan struct{} { return c.c.Done() }

// End returns the last words on a call that is over: the stage it reached,
// the reason, and how long it was talked. Before that the stage is "".
func (c *Call) End() (stage, reason string, talked time.Duration) {
	select {
	case <-c.Done():
		e := c.c.End()
		return e.Stage.String(), e.Reason.String(), e.Duration
	default:
		return "", "", 0
	}
}

// Err returns nil while the call lasts and after a normal end (either side
// hung up, or this one cancelled); else a *CallError.
func (c *Call) Err() error {
	select {
	case <-c.Done():
	default:
		return nil
	}
	e := c.c.End()
	switch {
	case e.Reason == session.HungUp, e.Reason == session.Cancelled && e.ByUs:
		return nil
	}
	return c.ended()
}

// ended puts the end of a call that is over into words, a normal one too.
func (c *Call) ended() error {
	e := c.c.End()
	err := sentinel(e.Reason)
	if c.n.ctx.Err() != nil {
		err = net.ErrClosed
	}
	return &CallError{Peer: c.Peer(), Stage: e.Stage.String(), Reason: e.Reason.String(), Err: err}
}
