// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
)

// CallOptions tune one call. Nil means voice with the defaults.
type CallOptions struct {
	// Others says what becomes of the calls that are up when this one rings at
	// the other side.
	Others Others
	// Video offers a picture beside the voice, in both directions. The other
	// side may take the call as voice alone; Call.Video tells after the answer.
	Video bool
	// VideoCodecs are what the picture may be, most wanted first. nil = VP8, then
	// H264: browsers have both.
	VideoCodecs []media.Codec
}

// Others says what becomes of a node's other calls when one is placed or taken:
// people have one pair of ears. Calls of a group go on: see GroupCall.Leave.
type Others int

// What may become of them. A call that is held already, or not answered yet, is
// left alone.
const (
	HoldOthers Others = iota // they are put on hold
	EndOthers                // they are hung up
	KeepOthers               // they go on, for programs that listen to several
)

// video returns the codecs that are offered; none without a picture.
func (o *CallOptions) video() []media.Codec {
	switch {
	case o == nil || !o.Video:
		return nil
	case o.VideoCodecs == nil:
		return []media.Codec{media.VP8(), media.H264()}
	}
	return o.VideoCodecs
}

// A Call is one conversation with one person, from the first ring to its end.
type Call struct {
	n    *Node
	c    *session.Call
	kind atomic.Pointer[string] // of the last path that was up

	recorded sync.Once // in the history

	records records

	answeredAt time.Time // the pump's, for the tally
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
	// Server is the TURN server that leads, this node's by its URL, the other
	// side's by the address there; "" = none does.
	Server string
}

func pathOf(i overlay.PathInfo) Path {
	p := Path{Kind: i.Kind.String(), Local: i.Local, Remote: i.Remote, RTT: i.RTT, Reason: i.Reason, Vias: i.Vias, Server: i.Server}
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

// Answer takes an incoming call, and puts the other ones on hold. Media flows at
// once. A picture that is offered is not taken: see AnswerVideo. Errors: a
// *CallError when the call is over, net.ErrClosed.
func (c *Call) Answer() error { return c.AnswerAnd(HoldOthers) }

// AnswerAnd takes an incoming call, and says what becomes of the other ones.
// Errors as Answer.
func (c *Call) AnswerAnd(o Others) error {
	if err := c.late(c.c.Answer()); err != nil {
		return err
	}
	c.n.others(c, o)
	return nil
}

// AnswerVideo is Answer, and takes the picture too where the caller offers one.
func (c *Call) AnswerVideo() error {
	if err := c.late(c.c.AnswerVideo()); err != nil {
		return err
	}
	c.n.others(c, HoldOthers)
	return nil
}

// others deals with the calls beside c.
func (n *Node) others(c *Call, o Others) {
	if o == KeepOthers {
		return
	}
	n.mu.Lock()
	var list []*Call
	for _, h := range n.handles {
		if h != c {
			list = append(list, h)
		}
	}
	n.mu.Unlock()
	for _, h := range list {
		if held, _ := h.Held(); held || !h.c.Talking() || h.c.Conference() != nil {
			continue
		}
		if o == EndOthers {
			h.HangUp()
		} else {
			h.Hold() // one that has just ended needs it no more
		}
	}
}

// Hold puts the other side on hold: neither hears the other until Resume, and
// both are told. What the app writes meanwhile goes nowhere; a few tiny packets
// a second keep the path alive. Either side may hold, or both; sound flows when
// neither does. Holding twice is no error. Errors: a *CallError when the call is
// not answered or over, net.ErrClosed.
func (c *Call) Hold() error { return c.late(c.c.Hold(true)) }

// Resume ends Hold, not the other side's, and leaves other calls alone. Errors as
// Hold.
func (c *Call) Resume() error { return c.ResumeAnd(KeepOthers) }

// ResumeAnd ends Hold, and says what becomes of the other calls. Errors as Hold.
func (c *Call) ResumeAnd(o Others) error {
	c.n.others(c, o)
	return c.late(c.c.Hold(false))
}

// Held tells which sides hold the call.
func (c *Call) Held() (byMe, byPeer bool) { return c.c.Held() }

// SafetyWords returns four words for the two people to read to each other, half
// each: when they are the same on both sides, nobody stands between the two, and
// the ID at the other end is that person's. Then it is time to mark the contact as
// verified, since the words are different in each call and need to be compared
// only once. They are nil for a moment after the answer; the event CallWords tells
// that they are there.
func (c *Call) SafetyWords() []string { return c.c.SafetyWords() }

// Waiting tells of an incoming call that it came while another was up.
func (c *Call) Waiting() bool { return c.c.Waiting() }

// Reject declines an incoming call. Errors as Answer.
func (c *Call) Reject() error { return c.late(c.c.Reject(session.Rejected)) }

func (c *Call) late(err error) error {
	switch {
	case errors.Is(err, session.ErrIncapable):
		return ErrIncapable
	case !errors.Is(err, session.ErrNoCall):
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

// SendDTMF presses keys on the telephone's keypad, as telephone events (RFC 4733):
// 0-9, *, #, A-D, and a comma that waits for two seconds. It returns at once; a
// key takes 170 ms, and keys of several calls of SendDTMF follow each other. The
// voice goes on meanwhile. Errors, all before anything is sent: media.ErrKey and
// media.ErrManyKeys (128 may wait), ErrIncapable, a *CallError when the call is
// not answered or over, net.ErrClosed.
func (c *Call) SendDTMF(digits string) error { return c.late(c.c.SendKeys(digits)) }

// Mute sends silence instead of what the app writes, or ends that. A few tiny
// packets a second keep the path alive, also when the app writes nothing.
func (c *Call) Mute(on bool) {
	_, out := c.c.Tracks()
	out.Mute(on)
}

// Tracks returns the sound of both directions, as encoded Opus frames at
// 48 kHz. in.ReadFrame paces itself and waits for the other side; out takes
// frames from the start, and sends them once the call is answered.
func (c *Call) Tracks() (in *media.In, out *media.Out) { return c.c.Tracks() }

// Video says whether there is a picture beside the voice. Before the answer it
// says whether the caller offers one.
func (c *Call) Video() bool { return c.c.Video() }

// VideoTracks returns the picture of both directions, as RTP payloads of the
// agreed codec: VP8 or H264, which pass through untouched. Package media/webrtc
// brings them to a browser and from there. They are there in every call and at
// any time; without Video nothing comes, and what is written goes nowhere.
func (c *Call) VideoTracks() (in *media.VideoIn, out *media.VideoOut) { return c.c.VideoTracks() }

// VideoStats returns the counters of the picture.
func (c *Call) VideoStats() media.VideoStats { return c.c.VideoStats() }

// Path returns how the other side is reached now.
func (c *Call) Path() Path { return pathOf(c.c.Path()) }

// Stats returns the call's counters, and the score of about the last second;
// media.Stats.Score with an earlier result gives the quality of the time between.
// LongestGap starts anew at each call.
func (c *Call) Stats() media.Stats { return c.c.Stats() }

// Quality returns how the call has sounded, a sample about each second of the
// last minute, oldest first, and what is wrong with it now. CallQuality tells
// when that changes.
func (c *Call) Quality() ([]media.Sample, media.Warning) { return c.c.Quality(nil) }

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

// missed tells whether a call that is over rang here in vain.
func (c *Call) missed() bool {
	e := c.c.End()
	return c.Incoming() && e.Stage == session.Ring && e.Reason != session.Elsewhere && (!e.ByUs || e.Reason == session.NoAnswer)
}

// ended puts the end of a call that is over into words, a normal one too.
func (c *Call) ended() error {
	e := c.c.End()
	err := sentinel(e.Reason)
	if e.Reason == session.Denied && e.Stage > session.Ring {
		err = c.n.expelled(c.Peer())
	}
	if e.Reason == session.Offline {
		if out := c.n.shutOut(c.Started()); out != nil {
			err = out // it may well be there: this node is kept out
		}
	}
	if c.n.ctx.Err() != nil {
		err = net.ErrClosed
	}
	return &CallError{Peer: c.Peer(), Stage: e.Stage.String(), Reason: e.Reason.String(), Err: err}
}
