// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay"
)

// HubEvent is what Hub.Next returns: one of the types below.
type HubEvent interface{ hubEvent() }

// LinkUp and LinkDown report that the first link to a node stands, and that
// the last one is gone.
type (
	LinkUp struct {
		Node     identity.NodeID
		Member   identity.ID // whose it is, in a network with a roster
		Incoming bool        // the other side dialled
	}
	LinkDown struct{ Node identity.NodeID }
)

// NATFound reports what is known of the NATs around this node.
type NATFound struct{ overlay.NATChanged }

// RosterFound reports a newer roster of the network's admin, RosterRefused that
// other nodes refuse this one by theirs.
type (
	RosterFound   struct{ overlay.RosterChanged }
	RosterRefused struct{ overlay.RosterRefused }
	MemberRefused struct{ overlay.MemberRefused } // another node, by this one
)

// What happens to calls. CallEnded comes once for each, last.
type (
	CallIncoming struct {
		Call  *Call
		Reach identity.Secret // of the caller, to call back; zero = not told
	}
	CallRinging struct {
		Call *Call
		RTT  time.Duration // INVITE sent to RINGING received
	}
	CallAnswered struct{ Call *Call }
	CallMedia    struct{ Call *Call } // the other side's first genuine packet
	CallPath     struct {
		Call *Call
		Path overlay.PathInfo
	}
	CallHeld struct {
		Call     *Call
		On, ByUs bool
	}
	CallWords struct{ Call *Call } // Call.SafetyWords are known
	// CallRecording says that a call is recorded from now on, or no longer: by
	// us, and the other side knows, or by the other side.
	CallRecording struct {
		Call     *Call
		On, ByUs bool
	}
	// CallQuality says that something began to be wrong with a call's sound, or
	// is no longer.
	CallQuality struct {
		Call         *Call
		Began, Ended media.Warning
	}
	// CallKey says that the other side has pressed a key of its keypad.
	CallKey struct {
		Call  *Call
		Digit byte
	}
	CallEnded  struct{ Call *Call }
	CallMissed struct{ Missed Missed }
)

func (LinkUp) hubEvent()        {}
func (LinkDown) hubEvent()      {}
func (NATFound) hubEvent()      {}
func (RosterFound) hubEvent()   {}
func (RosterRefused) hubEvent() {}
func (MemberRefused) hubEvent() {}
func (CallIncoming) hubEvent()  {}
func (CallRinging) hubEvent()   {}
func (CallAnswered) hubEvent()  {}
func (CallMedia) hubEvent()     {}
func (CallPath) hubEvent()      {}
func (CallHeld) hubEvent()      {}
func (CallWords) hubEvent()     {}
func (CallEnded) hubEvent()     {}
func (CallMissed) hubEvent()    {}
func (CallRecording) hubEvent() {}
func (CallQuality) hubEvent()   {}
func (CallKey) hubEvent()       {}

// A Call is one conversation, from the first ring to its end.
type Call struct {
	hub      *Hub
	name     string
	incoming bool
	waiting  bool // it came while another call was up
	started  time.Time
	in       *media.In
	out      *media.Out
	videoIn  *media.VideoIn
	videoOut *media.VideoOut
	answered chan struct{} // closed when media may flow
	done     chan struct{} // closed at the end

	// Owned by the hub's loop.
	early   bool // counted in hub.early
	release func()
	ringing *ringing // of an own call until it is answered
	leg     CallID   // the Machine's call that was answered; of an incoming one id

	placement placement         // of an own call: what all its legs have in common
	by        identity.ID       // of an incoming one: who has transferred it
	transfer  chan TransferSaid // to whoever waits for a transfer; nil = nobody

	// Of a leg of a room; written before anybody else has the call, but for edition.
	room    *Conference
	roomLeg Leg
	edition uint32 // of the roster that the other side is known to have

	deaf atomic.Bool               // held by us: what still comes is not heard
	live atomic.Pointer[flow]      // nil before the answer
	film atomic.Pointer[videoFlow] // nil before the answer, and without a picture

	mu   sync.Mutex // guards what follows
	id   CallID     // written by the loop alone
	peer Peer
	ov   *overlay.Peer
	end  Ended

	heldByUs, heldByThem bool
	words                []string
	view                 bool // a picture is offered, then agreed on
}

func (h *Hub) newCall(id CallID, peer Peer, name string, incoming bool, ov *overlay.Peer) *Call {
	c := &Call{
		hub: h, id: id, peer: peer, name: name, incoming: incoming, started: time.Now(), ov: ov,
		in:       media.NewIn(media.PlayoutConfig{}),
		answered: make(chan struct{}), done: make(chan struct{}), leg: id,
	}
	c.out = media.NewOut(c.send)
	c.videoIn, c.videoOut = media.NewVideoIn(c.wantKeyframe), media.NewVideoOut(c.sendVideo)
	return c
}

// ID returns the call's name in events and logs. It changes when two calls
// that crossed become one.
func (c *Call) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id.String()
}

// Peer returns who is at the other end, proved.
func (c *Call) Peer() identity.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.Identity
}

// PeerDevice returns which of the other person's devices is at the other end; of
// an own call that nobody has answered yet, the first that was rung.
func (c *Call) PeerDevice() identity.DeviceID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.Device
}

// Name returns what the caller calls itself: shown, never trusted. Empty for
// own calls.
func (c *Call) Name() string { return c.name }

// Incoming reports whether the other side called.
func (c *Call) Incoming() bool { return c.incoming }

// Started returns when the call arrived or was placed.
func (c *Call) Started() time.Time { return c.started }

// Tracks returns the sound in both directions. They may be used at any time:
// reading waits for the other side, and what is written before the answer is
// dropped.
func (c *Call) Tracks() (*media.In, *media.Out) { return c.in, c.out }

// Answer takes an incoming call. Errors: ErrNoCall, net.ErrClosed.
func (c *Call) Answer() error {
	return c.command(func(now time.Time) error { return c.hub.m.Answer(now, c.id) })
}

// Reject declines an incoming call. Errors: ErrNoCall, net.ErrClosed.
func (c *Call) Reject(r Reason) error {
	return c.command(func(now time.Time) error { return c.hub.m.Reject(now, c.id, r) })
}

// HangUp ends the call, or stops ringing. Ending an ended call is no error.
func (c *Call) HangUp() error {
	err := c.command(func(now time.Time) error {
		if c.ringing != nil {
			c.hub.hangUpRinging(now, c)
			return nil
		}
		return c.hub.m.HangUp(now, c.leg)
	})
	if errors.Is(err, ErrNoCall) {
		return nil
	}
	return err
}

// Hold puts the other side on hold, or ends that. Errors: ErrNoCall when the
// call is not answered or over, net.ErrClosed.
func (c *Call) Hold(on bool) error {
	return c.command(func(now time.Time) error { return c.hub.m.Hold(now, c.leg, on) })
}

// Held tells which sides have put the other on hold.
func (c *Call) Held() (byUs, byThem bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heldByUs, c.heldByThem
}

// SafetyWords returns the words that both people should read to each other; nil
// before they are known, a moment after the answer.
func (c *Call) SafetyWords() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.words)
}

// held carries out what the machine says of one side's hold.
func (c *Call) held(now time.Time, e Held) {
	c.mu.Lock()
	if e.ByUs {
		c.heldByUs = e.On
	} else {
		c.heldByThem = e.On
	}
	any := c.heldByUs || c.heldByThem
	c.deaf.Store(c.heldByUs)
	c.mu.Unlock()
	c.out.Hold(now, any)
	c.videoOut.Hold(any)
	if f := c.live.Load(); f != nil {
		f.hold(any)
	}
	c.hub.emit(CallHeld{c, e.On, e.ByUs})
}

// Record tells the other side that the call is recorded from now on, or no
// longer; CallRecording follows when it knows. Errors: ErrNoCall, ErrIncapable,
// net.ErrClosed.
func (c *Call) Record(on bool) error {
	return c.command(func(now time.Time) error { return c.hub.m.Record(now, c.leg, on) })
}

// SendKeys presses keys, one after the other; see media.Keypad.Dial for what
// there is and its errors. It returns at once. Further errors: ErrNoCall,
// ErrIncapable.
func (c *Call) SendKeys(digits string) error {
	f := c.live.Load()
	if f == nil {
		return ErrNoCall
	}
	select {
	case <-c.done:
		return ErrNoCall
	default:
	}
	return f.dial(digits)
}

func (c *Call) command(f func(now time.Time) error) (err error) {
	// Draining before the command returns means that its effects are there:
	// what the app sends right after Answer is heard.
	if e := c.hub.loop.Do(context.Background(), func(now time.Time) { err = f(now); c.hub.drain(now) }); e != nil {
		return e
	}
	return err
}

// Answered waits until the call is answered. It returns nil then, errEnded
// wrapped in nothing when it ended without (see End), or ctx's error.
func (c *Call) Answered(ctx context.Context) error {
	select {
	case <-c.answered:
		return nil
	case <-c.done:
		select {
		case <-c.answered:
			return nil
		default:
			return ErrNoCall
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done is closed when the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// End returns how the call ended; only after Done.
func (c *Call) End() Ended {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// Path returns how the other side is reached now.
func (c *Call) Path() overlay.PathInfo {
	c.mu.Lock()
	ov := c.ov
	c.mu.Unlock()
	return ov.Path()
}

// Stats returns the call's counters so far.
func (c *Call) Stats() media.Stats {
	var s media.Stats
	if f := c.live.Load(); f != nil {
		f.stats(&s)
	}
	c.in.Stats(&s)
	c.out.Stats(&s)
	return s
}

// Quality appends a minute of the call's samples to dst, oldest first, and
// returns what is wrong now. Before the answer there is nothing.
func (c *Call) Quality(dst []media.Sample) ([]media.Sample, media.Warning) {
	f := c.live.Load()
	if f == nil {
		return dst, 0
	}
	f.qualityMu.Lock()
	defer f.qualityMu.Unlock()
	return f.quality.History(dst), f.quality.Warnings()
}

// finish marks the call as ended and lets go of everything. It runs on the
// loop, or after it.
func (c *Call) finish(e Ended) {
	c.mu.Lock()
	c.end = e
	c.mu.Unlock()
	if f := c.live.Load(); f != nil {
		f.close()
	}
	if f := c.film.Load(); f != nil {
		f.close()
	}
	c.in.Close()
	c.out.Close()
	c.videoIn.Close()
	c.videoOut.Close()
	close(c.done)
}

// Talking reports whether the call was answered and lasts.
func (c *Call) Talking() bool {
	select {
	case <-c.done:
		return false
	default:
	}
	select {
	case <-c.answered:
		return true
	default:
		return false
	}
}

// Waiting tells of an incoming call that it came while another was up.
func (c *Call) Waiting() bool { return c.waiting }
