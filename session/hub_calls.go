// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

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
			} else {
				h.over(now, c, e)
			}
			if r := h.peers[e.Peer.Node]; r != nil {
				h.rest(r.ov)
			}
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

// hush ends what talk began.
func (h *Hub) hush(c *Call) {
	if c.release == nil {
		return
	}
	c.release()
	c.release = nil
	h.rest(c.ov)
}

// rest has what was made ready for a call given back, whether it was answered or
// not. Other calls with the same peer may go on.
func (h *Hub) rest(p *overlay.Peer) {
	if !h.talking(p) {
		p.SetMedia(false)
	}
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
