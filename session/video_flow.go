// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay"
)

// videoFlow is the driver of a call's picture, beside the flow of its sound and
// made like it: a half for the app's goroutine, a half for socket readers, each
// with a lock.
type videoFlow struct {
	hub  *Hub
	call *Call
	ov   *overlay.Peer
	id   CallID
	ssrc uint32 // theirs, on the allow-list

	sendMu sync.Mutex // guards what follows
	out    *VideoOutbound

	recvMu   sync.Mutex // guards what follows
	in       *VideoInbound
	feedback VideoFeedback // on its way to out

	wake     chan struct{} // capacity 1: something is due earlier than it was
	keyframe chan struct{} // capacity 1: one is to be asked for
	stop     chan struct{} // closed by close
	ended    sync.Once
}

// newFilm returns the driver of the picture that was agreed on; nil when none
// was.
func (h *Hub) newFilm(c *Call, ov *overlay.Peer, e Answered) (*videoFlow, error) {
	if !e.Params.HasVideo() {
		return nil, nil
	}
	out, err := NewVideoOutbound(e.Keys, e.Params, mrand.New(mrand.NewPCG(h.rng.Uint64(), h.rng.Uint64())))
	if err != nil {
		return nil, err
	}
	in, err := NewVideoInbound(e.Keys, e.Params)
	if err != nil {
		return nil, err
	}
	f := &videoFlow{
		hub: h, call: c, ov: ov, id: e.ID, ssrc: e.Params.RemoteVideoSSRC, out: out, in: in,
		wake: make(chan struct{}, 1), keyframe: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	f.out.NewPath(time.Now(), ov.Path().Kind == nat.Relay)
	c.videoOut.Advise(f.out.Bitrate())
	c.videoIn.Agree(e.Params.Video)
	c.videoOut.Agree(e.Params.Video)
	if err := h.ssrcs.Add(f.ssrc, f); err != nil { // packets come from here on
		return nil, fmt.Errorf("session: call %v: %w", e.ID.Short(), err)
	}
	return f, nil
}

// start begins the feedback; the hub's loop calls it once.
func (f *videoFlow) start() {
	if f != nil {
		f.hub.wg.Go(f.reply)
	}
}

// send protects one packet and sends it.
func (f *videoFlow) send(p *media.Packet) error {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	pkt, err := f.out.Send(time.Now(), p)
	if err != nil || pkt == nil {
		return err
	}
	return f.ov.SendMedia(pkt)
}

// receive takes a packet with the flow's SSRC on a socket reader's goroutine,
// and reports whether it was genuine.
func (f *videoFlow) receive(pkt []byte) overlay.MediaKind {
	now := time.Now()
	f.recvMu.Lock()
	due := f.in.Deadline()
	p, err := f.in.Receive(now, pkt)
	if p != nil && !f.call.deaf.Load() {
		f.call.videoIn.Push(p)
	}
	keyframe := false
	if f.in.Feedback(&f.feedback) {
		// Always in this order: nobody takes recvMu while holding sendMu.
		keyframe = f.feedback.Keyframe
		f.answer(now)
	}
	next := f.in.Deadline()
	f.recvMu.Unlock()
	if err != nil {
		return overlay.Forged
	}
	if keyframe {
		f.call.videoOut.WantKeyframe()
	}
	if !next.IsZero() && (due.IsZero() || next.Before(due)) {
		nudge(f.wake)
	}
	return overlay.Genuine
}

// answer does what the peer's feedback asks for; recvMu is held.
func (f *videoFlow) answer(now time.Time) {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	f.out.Feedback(&f.feedback)
	f.call.videoOut.Advise(f.out.Bitrate())
	for _, seq := range f.feedback.Missed {
		if pkt := f.out.Resend(now, seq); pkt != nil {
			if err := f.ov.SendMedia(pkt); err != nil {
				f.hub.log.Debug("picture not sent again", "call", f.id, "err", err)
			}
		}
	}
}

// reply tells the peer what came of its picture, until the flow ends.
func (f *videoFlow) reply() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	buf, receipts := make([]byte, 0, packetRoom), make([]byte, 0, packetRoom)
	var missing []uint16
	for {
		keyframe := false
		select {
		case <-timer.C:
		case <-f.wake:
		case <-f.keyframe:
			keyframe = true
		case <-f.stop:
			return
		case <-f.hub.ctx.Done():
			return
		}
		now := time.Now()
		f.recvMu.Lock()
		receipts, missing = f.in.Reply(now, f.ov.Path().RTT, receipts[:0], missing[:0])
		due := f.in.Deadline()
		f.recvMu.Unlock()
		f.sendMu.Lock()
		pkt, err := f.out.Reply(receipts, missing, keyframe, buf[:0])
		if err == nil && len(pkt) > 0 {
			err = f.ov.SendMedia(pkt)
		}
		f.sendMu.Unlock()
		if err != nil {
			f.hub.log.Debug("feedback not sent", "call", f.id, "err", err)
		}
		if due.IsZero() {
			timer.Reset(time.Hour) // wake comes first
		} else {
			timer.Reset(max(due.Sub(now), time.Millisecond))
		}
	}
}

// moved tells that packets take another way from now on.
func (f *videoFlow) moved(path overlay.PathInfo) {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	f.out.NewPath(time.Now(), path.Kind == nat.Relay)
	f.call.videoOut.Advise(f.out.Bitrate())
}

func (f *videoFlow) stats(s *media.VideoStats) {
	f.recvMu.Lock()
	f.in.Stats(s)
	f.recvMu.Unlock()
	f.sendMu.Lock()
	f.out.Stats(s)
	f.sendMu.Unlock()
}

func (f *videoFlow) close() {
	f.ended.Do(func() {
		f.hub.ssrcs.Remove(f.ssrc)
		close(f.stop)
	})
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sendVideo is where a call's outgoing picture ends: before the answer, after
// the end, and where no picture was agreed on, packets go nowhere.
func (c *Call) sendVideo(p *media.Packet) error {
	f := c.film.Load()
	if f == nil {
		return nil
	}
	if err := f.send(p); err != nil {
		// As for sound, what the network does is not the app's business.
		f.hub.log.Debug("picture not sent", "call", f.id, "err", err)
	}
	return nil
}

// wantKeyframe asks the other side for one.
func (c *Call) wantKeyframe() {
	if f := c.film.Load(); f != nil {
		nudge(f.keyframe)
	}
}

// Video says whether the call has a picture beside the voice: before the answer
// whether the caller offers one, after it whether it was agreed on.
func (c *Call) Video() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// VideoTracks returns the picture in both directions. They may be used at any
// time, as Tracks; where no picture is agreed on, nothing comes and nothing goes.
func (c *Call) VideoTracks() (*media.VideoIn, *media.VideoOut) { return c.videoIn, c.videoOut }

// VideoStats returns the counters of the picture so far.
func (c *Call) VideoStats() media.VideoStats {
	var s media.VideoStats
	if f := c.film.Load(); f != nil {
		f.stats(&s)
	}
	c.videoIn.Stats(&s)
	c.videoOut.Stats(&s)
	return s
}

// AnswerVideo takes an incoming call with its picture, where one is offered.
// Errors: those of Answer.
func (c *Call) AnswerVideo() error {
	return c.command(func(now time.Time) error { return c.hub.m.AnswerVideo(now, c.id) })
}
