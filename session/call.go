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
	LinkUp   struct{ Node identity.NodeID }
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

// drain carries out what the machine wants done; the loop calls it after every
// input.
func (h *Hub) drain(now time.Time) {
	h.drainKin(now)
	for {
		if e, ok := h.m.NextEvent(); ok {
			h.handle(now, e)
		} else if !h.drainRooms(now) {
			break
		}
	}
	for {
		o, ok := h.m.Poll()
		if !ok {
			if o, ok = h.kin.Poll(); !ok {
				h.sweep(now)
				return
			}
		}
		if r := h.peers[o.To.Node]; r != nil {
			body := o.Body
			switch once := r.once; {
			case !IsInvite(body):
			case once != nil && once.pass != nil:
				r.once = nil
				body = newPassed(now, once.pass, h.cfg.Self.ID(), h.ov.Node(), o.To.Node, body)
			case once != nil:
				r.once = nil
				body = NewRing(now, o.To.Identity, once.secret, h.ov.Node(), o.To.Node, body)
			case r.secret != (identity.Secret{}):
				body = NewRing(now, o.To.Identity, r.secret, h.ov.Node(), o.To.Node, body)
			}
			send := r.ov.Send
			if isRing(body) {
				send = r.ov.Ring
			}
			if isDevice(body) {
				h.tell(r, body)
				continue
			}
			if err := send(body); err != nil {
				h.log.Debug("session message not sent", "peer", o.To.Identity, "err", err)
			}
		}
	}
}

func (h *Hub) handle(now time.Time, e Event) {
	switch e := e.(type) {
	case Incoming:
		r := h.peers[e.Peer.Node]
		if r == nil {
			return
		}
		c := h.newCall(e.ID, e.Peer, e.Name, true, r.ov)
		c.waiting = len(h.all()) > 0
		c.by = e.By
		c.view = e.Video
		h.calls[e.ID] = c
		if e.Group != nil {
			h.roomCalls(now, c, e.Group)
			return
		}
		h.emit(CallIncoming{c, e.Reach})
	case Ringing:
		if c := h.calls[e.ID]; c != nil && c.ringing != nil && c.ringing.ring() {
			h.report(now, c, TransferRings, 0)
			if c.room != nil {
				return
			}
			h.emit(CallRinging{c, now.Sub(c.started)})
		}
	case Answered:
		if c := h.calls[e.ID]; c != nil {
			h.talk(now, c, e)
		}
	case Held:
		if c := h.calls[e.ID]; c != nil {
			c.held(now, e)
		}
	case Words:
		if c := h.calls[e.ID]; c != nil {
			c.mu.Lock()
			c.words = e.Words
			c.mu.Unlock()
			h.emit(CallWords{c})
		}
	case Replaced:
		if c := h.calls[e.Old]; c != nil {
			delete(h.calls, e.Old)
			if c.ringing != nil {
				c.ringing.remove(e.Old)
			}
			c.mu.Lock()
			c.id = e.New
			c.mu.Unlock()
			h.calls[e.New] = c
		}
	case Recording:
		if c := h.calls[e.ID]; c != nil {
			h.emit(CallRecording{c, e.On, e.ByUs})
		}
	case Ended:
		if c := h.calls[e.ID]; c != nil {
			delete(h.calls, e.ID)
			if c.ringing != nil {
				h.legEnded(now, c, e)
				break
			}
			h.over(now, c, e)
		}
	case Missed:
		h.emit(CallMissed{e})
	case RoomSaid:
		if c := h.calls[e.ID]; c != nil {
			h.said(now, c, e)
		}
	case TransferAsked:
		if c := h.calls[e.ID]; c != nil {
			h.asksTransfer(c, e)
		}
	case TransferSaid:
		if c := h.calls[e.ID]; c != nil {
			h.transferSaid(c, e)
		}
	}
}

// over ends a call for the application.
func (h *Hub) over(now time.Time, c *Call, e Ended) {
	if c.ringing != nil {
		h.report(now, c, TransferFailed, e.Reason)
	}
	c.ringing = nil
	h.placing = without(h.placing, c)
	h.settleEarly(c)
	h.hush(c)
	talked := c.Talking()
	c.finish(e)
	h.legDown(now, c, e)
	if c.room == nil || talked {
		h.emit(CallEnded{c})
	}
}

// talk starts a call's media.
func (h *Hub) talk(now time.Time, c *Call, e Answered) {
	r := h.peers[e.Peer.Node]
	if r == nil {
		return // its link is gone; the machine will end the call
	}
	c.leg = e.ID
	if k := c.ringing; k != nil {
		k.remove(e.ID)
		h.quit(now, c, Elsewhere)
		c.ringing = nil
		h.placing = without(h.placing, c)
	}
	f, err := newFlow(now, h, c, r.ov, e)
	if err != nil {
		h.log.Warn("media not started", "err", err)
		h.m.HangUp(now, e.ID)
		return
	}
	film, err := h.newFilm(c, r.ov, e)
	if err != nil {
		h.log.Warn("picture not started", "err", err) // the voice goes on
	}
	c.mu.Lock()
	c.peer, c.ov, c.view = e.Peer, r.ov, film != nil
	c.mu.Unlock()
	c.live.Store(f)
	c.film.Store(film)
	c.release = r.ov.Keep()
	r.ov.SetMedia(true)
	close(c.answered)
	h.emit(CallAnswered{c})
	h.emit(CallPath{c, r.ov.Path()})
	h.legUp(now, c, r)
	h.diverted(now, c.placement.of)
	f.start()
	film.start()
	h.early.drain(e.Params.RemoteSSRC, func(pkt []byte) { f.receive(pkt) })
	if film != nil {
		h.early.drain(e.Params.RemoteVideoSSRC, func(pkt []byte) { film.receive(pkt) })
	}
	h.settleEarly(c)
}

func (h *Hub) settleEarly(c *Call) {
	if c.early {
		c.early = false
		h.early.release()
	}
}

// hush ends what talk began. Other calls with the same peer may go on.
func (h *Hub) hush(c *Call) {
	if c.release == nil {
		return
	}
	c.release()
	c.release = nil
	if h.talking(c.ov) {
		return
	}
	c.ov.SetMedia(false)
}

// moved passes a path change on to the calls it concerns.
func (h *Hub) moved(e overlay.PathChanged) {
	for _, c := range h.calls {
		f := c.live.Load()
		if f == nil || c.ov != e.Peer {
			continue
		}
		if e.Replay {
			f.replay()
		}
		if v := c.film.Load(); v != nil {
			v.moved(e.Path)
		}
		h.emit(CallPath{c, e.Path})
	}
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
