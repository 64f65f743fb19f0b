// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay"
)

// flow is the driver of one call's Stream: it stands between the call's tracks
// and the sockets. Packets are sent by the app's goroutine and received by a
// socket reader's, so the two halves have a lock each.
type flow struct {
	hub  *Hub
	call *Call
	ov   *overlay.Peer
	id   CallID
	ssrc uint32 // theirs, on the allow-list

	sendMu sync.Mutex // guards what follows
	out    *Outbound
	last   [replayed][]byte // the latest datagrams, in turn
	next   int

	recvMu   sync.Mutex // guards what follows
	in       *Inbound
	feedback Feedback // on its way to out

	heard  atomic.Bool   // media came since the last report
	urgent chan struct{} // capacity 1: a queue builds up, full = told already
	holds  chan bool     // capacity 1: the latest word on whether the call is held
	first  chan struct{} // closed by the first packet
	once   sync.Once
	stop   chan struct{} // closed by close
	ended  sync.Once
}

// receiver takes the packets of an SSRC that was agreed on.
type receiver interface {
	// receive reports whether the packet was genuine.
	receive(pkt []byte) bool
}

// packetRoom holds the longest frame with everything around it.
const packetRoom = 1500

func newFlow(now time.Time, h *Hub, c *Call, ov *overlay.Peer, e Answered) (*flow, error) {
	// Only the sending half draws from it, under its lock.
	rng := mrand.New(mrand.NewPCG(h.rng.Uint64(), h.rng.Uint64()))
	s, err := NewStream(now, e.Keys, e.Params, rng)
	if err != nil {
		return nil, err
	}
	f := &flow{
		hub: h, call: c, ov: ov, id: e.ID, ssrc: e.Params.RemoteSSRC,
		out: s.Out, in: s.In,
		urgent: make(chan struct{}, 1), holds: make(chan bool, 1),
		first: make(chan struct{}), stop: make(chan struct{}),
	}
	if err := h.ssrcs.Add(f.ssrc, f); err != nil {
		return nil, fmt.Errorf("session: call %v: %w", e.ID.Short(), err)
	}
	return f, nil
}

// hold has the reporter keep the path alive in place of the app, or ends that.
// The hub's loop calls it.
func (f *flow) hold(on bool) {
	select {
	case <-f.holds:
	default:
	}
	f.holds <- on
}

// start begins the reports; the hub's loop calls it once.
func (f *flow) start() { f.hub.wg.Go(f.report) }

// send protects one frame and sends it.
func (f *flow) send(frame *media.Frame) error {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	pkt, err := f.out.Send(time.Now(), frame, f.last[f.next][:0])
	if err != nil || len(pkt) == 0 {
		return err
	}
	f.last[f.next] = pkt
	f.next = (f.next + 1) % replayed
	return f.ov.SendMedia(pkt)
}

// replayed is how many datagrams are sent again when a path died under them:
// what was on the way during the trip of the news, 25 ms and two paths apart,
// and as old as a playout buffer may still use.
const replayed = 8

// replay sends the latest datagrams again, on a path that has just taken over.
// The receiver's replay protection drops those that came through.
func (f *flow) replay() {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	f.out.NewPath()
	for i := range replayed {
		if pkt := f.last[(f.next+i)%replayed]; len(pkt) > 0 {
			if err := f.ov.SendMedia(pkt); err != nil {
				f.hub.log.Debug("not sent again", "call", f.id, "err", err)
			}
		}
	}
}

// receive takes a packet with the flow's SSRC on a socket reader's goroutine,
// and reports whether it was genuine.
func (f *flow) receive(pkt []byte) bool {
	now := time.Now()
	f.recvMu.Lock()
	h, payload, err := f.in.Receive(now, pkt)
	switch {
	case h == nil:
	case f.call.deaf.Load():
		f.call.in.Push(now, h, media.Silent())
	default:
		f.call.in.PushRedundant(now, h, payload, f.in.Copies())
	}
	if f.in.Feedback(&f.feedback) {
		// Always in this order: nobody takes recvMu while holding sendMu.
		f.sendMu.Lock()
		f.out.Feedback(&f.feedback)
		f.call.out.Advise(f.out.Advice())
		f.sendMu.Unlock()
	}
	urgent := h != nil && f.in.Urgent(now)
	f.recvMu.Unlock()
	if err != nil {
		return false
	}
	if urgent {
		select {
		case f.urgent <- struct{}{}:
		default:
		}
	}
	f.heard.Store(true)
	if h != nil {
		f.once.Do(func() { close(f.first) })
	}
	return true
}

// report sends RTCP reports until the flow ends, and tells the machine that
// the other side is still there.
func (f *flow) report() {
	first := f.first
	f.sendMu.Lock()
	timer := time.NewTimer(time.Until(f.out.ReportAt()))
	f.sendMu.Unlock()
	defer timer.Stop()
	buf, receipts := make([]byte, 0, packetRoom), make([]byte, 0, media.MaxReceiptsSize)
	path := f.ov.Path()
	keep := time.NewTicker(media.KeepEvery)
	keep.Stop()
	defer keep.Stop()
	for {
		select {
		case on := <-f.holds:
			keep.Stop()
			if on {
				keep.Reset(media.KeepEvery)
				f.call.out.Keep(time.Now())
			}
		case now := <-keep.C:
			f.call.out.Keep(now)
		case <-first:
			first = nil
			f.hub.loop.Do(f.hub.ctx, func(now time.Time) { f.hub.m.MediaHeard(now, f.id) })
			f.hub.emit(CallMedia{f.call})
		case now := <-timer.C:
			f.recvMu.Lock()
			blocks := f.in.Report(now)
			receipts = f.in.Receipts(now, receipts[:0])
			f.recvMu.Unlock()
			old := path
			path = f.ov.Path()
			f.sendMu.Lock()
			if path.Remote != old.Remote || path.Kind != old.Kind {
				f.out.NewPath()
			}
			pkt, err := f.out.Report(now, blocks, receipts, buf[:0])
			if err == nil {
				err = f.ov.SendMedia(pkt)
			}
			due := f.out.ReportAt()
			f.sendMu.Unlock()
			if err != nil {
				f.hub.log.Debug("report not sent", "call", f.id, "err", err)
			}
			if f.heard.Swap(false) {
				f.hub.loop.Post(func(now time.Time) { f.hub.m.MediaHeard(now, f.id) })
			}
			timer.Reset(max(due.Sub(now), 10*time.Millisecond))
		case <-f.urgent:
			f.recvMu.Lock()
			receipts = f.in.Receipts(time.Now(), receipts[:0])
			f.recvMu.Unlock()
			f.sendMu.Lock()
			pkt, err := f.out.Receipts(receipts, buf[:0])
			if err == nil && len(pkt) > 0 {
				err = f.ov.SendMedia(pkt)
			}
			f.sendMu.Unlock()
			if err != nil {
				f.hub.log.Debug("receipts not sent", "call", f.id, "err", err)
			}
		case <-f.stop:
			return
		case <-f.hub.ctx.Done():
			return
		}
	}
}

func (f *flow) stats(s *media.Stats) {
	f.recvMu.Lock()
	f.in.Stats(s)
	f.recvMu.Unlock()
	f.sendMu.Lock()
	f.out.Stats(s)
	f.sendMu.Unlock()
}

func (f *flow) close() {
	f.ended.Do(func() {
		f.hub.ssrcs.Remove(f.ssrc)
		close(f.stop)
	})
}

// send is where a call's outgoing track ends: before the answer and after the
// end frames go nowhere.
func (c *Call) send(frame *media.Frame) error {
	f := c.live.Load()
	if f == nil {
		return nil
	}
	if err := f.send(frame); err != nil {
		var bad *media.PayloadError
		if errors.As(err, &bad) {
			return err
		}
		// What the network does to a packet is not the app's business: paths
		// recover by themselves.
	}
	return nil
}

// Media takes an SRTP or SRTCP packet on a socket reader's goroutine and
// reports whether it was genuine. Packets with an SSRC that no call has agreed
// on are counted and dropped; while a call of ours waits for its ANSWER, the
// last few are kept, since media may overtake it.
func (h *Hub) Media(b []byte) bool {
	if f, ok := h.ssrcs.Lookup(b); ok {
		return f.receive(b)
	}
	h.early.put(b)
	return false
}

// earlyMedia is Early between socket readers and the loop.
type earlyMedia struct {
	waiting atomic.Int32 // so that readers take the lock only when it matters
	mu      sync.Mutex   // guards e
	e       Early
}

func (e *earlyMedia) expect() {
	e.waiting.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.e.Expect()
}

func (e *earlyMedia) release() {
	e.waiting.Add(-1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.e.Release()
}

func (e *earlyMedia) put(pkt []byte) {
	if e.waiting.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.e.Put(pkt)
}

func (e *earlyMedia) drain(ssrc uint32, f func(pkt []byte)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.e.Drain(ssrc, f)
}
