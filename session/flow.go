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
	pad    media.Keypad
	sentAt time.Time // the last packet of sound, and how long that lasts
	lasts  time.Duration

	recvMu   sync.Mutex // guards what follows
	in       *Inbound
	feedback Feedback // on its way to out
	seen     copies

	qualityMu sync.Mutex // guards what follows
	quality   media.Quality

	dialled chan struct{} // capacity 1: the keypad has something to send
	pressed chan byte     // keys of the other side; when full they are dropped

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
	// receive says what the packet was.
	receive(pkt []byte) overlay.MediaKind
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
		dialled: make(chan struct{}, 1), pressed: make(chan byte, keyBurst), sentAt: now,
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

// start begins what the flow does by itself; the hub's loop calls it once.
func (f *flow) start() { f.hub.wg.Go(f.run) }

// send protects one frame and sends it.
func (f *flow) send(frame *media.Frame) error {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	now := time.Now()
	pkt, err := f.out.Send(now, frame, f.last[f.next][:0])
	if err != nil || len(pkt) == 0 {
		return err
	}
	f.sentAt, f.lasts = now, time.Duration(frame.Samples)*time.Second/media.ClockRate
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
// and says what it was.
func (f *flow) receive(pkt []byte) overlay.MediaKind {
	now := time.Now()
	f.recvMu.Lock()
	h, payload, err := f.in.Receive(now, pkt)
	if key, ok := f.in.Key(); ok {
		select {
		case f.pressed <- key:
		default:
		}
	}
	switch {
	case h != nil && payload == nil:
		f.call.in.Skip(now, h)
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
	again := err != nil && f.seen.again(pkt)
	if err == nil {
		f.seen.note(pkt)
	}
	f.recvMu.Unlock()
	switch {
	case again:
		return overlay.Copy
	case err != nil:
		return overlay.Forged
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
	return overlay.Voice
}

// run is what a flow does by itself until it ends: RTCP reports, keys, a sign of
// life while the app writes nothing, news for the machine and the app.
func (f *flow) run() {
	first := f.first
	f.sendMu.Lock()
	report := time.NewTimer(time.Until(f.out.ReportAt()))
	f.sendMu.Unlock()
	defer report.Stop()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	key := time.NewTimer(forever)
	defer key.Stop()
	buf, receipts := make([]byte, 0, packetRoom), make([]byte, 0, media.MaxReceiptsSize)
	path := f.ov.Path()
	held := false
	for {
		select {
		case held = <-f.holds:
			if held { // at once, or the last word is drawn out
				f.call.out.Keep(time.Now(), 0)
			}
			idle.Reset(media.KeepEvery)
		case <-first:
			first = nil
			f.hub.loop.Do(f.hub.ctx, func(now time.Time) { f.hub.m.MediaHeard(now, f.id) })
			f.hub.emit(CallMedia{f.call})
		case now := <-report.C:
			old := path
			path = f.ov.Path()
			due := f.report(now, path.Remote != old.Remote || path.Kind != old.Kind, receipts, buf)
			report.Reset(max(due.Sub(now), 10*time.Millisecond))
			f.sample(now)
		case <-f.urgent:
			f.recvMu.Lock()
			receipts = f.in.Receipts(time.Now(), receipts[:0])
			f.recvMu.Unlock()
			f.sendMu.Lock()
			pkt, err := f.out.Receipts(receipts, buf[:0])
			f.pass("receipts", pkt, err)
			f.sendMu.Unlock()
		case <-f.dialled:
			key.Reset(f.keys(time.Now(), buf))
		case now := <-key.C:
			key.Reset(f.keys(now, buf))
		case digit := <-f.pressed:
			f.hub.emit(CallKey{f.call, digit})
		case now := <-idle.C:
			idle.Reset(f.keep(now, held))
		case <-f.stop:
			return
		case <-f.hub.ctx.Done():
			return
		}
	}
}

// forever is when a timer that nobody has set fires.
const forever = time.Duration(1<<63 - 1)

// report sends a report and returns when the next one is due.
func (f *flow) report(now time.Time, moved bool, receipts, buf []byte) time.Time {
	f.recvMu.Lock()
	blocks := f.in.Report(now)
	receipts = f.in.Receipts(now, receipts[:0])
	f.recvMu.Unlock()
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	if moved {
		f.out.NewPath()
	}
	pkt, err := f.out.Report(now, blocks, receipts, buf[:0])
	f.pass("report", pkt, err)
	if f.heard.Swap(false) {
		f.hub.loop.Post(func(now time.Time) { f.hub.m.MediaHeard(now, f.id) })
	}
	return f.out.ReportAt()
}

// sample keeps account of how the call sounds.
func (f *flow) sample(now time.Time) {
	var s media.Stats
	f.counters(&s)
	f.call.in.Peek(&s)
	f.qualityMu.Lock()
	began, ended := f.quality.Add(now, &s)
	f.qualityMu.Unlock()
	if began|ended != 0 {
		f.hub.emit(CallQuality{f.call, began, ended})
	}
}

// pass sends a packet that an app knows nothing of, under sendMu.
func (f *flow) pass(what string, pkt []byte, err error) {
	if err == nil && len(pkt) > 0 {
		err = f.ov.SendMedia(pkt)
	}
	if err != nil {
		f.hub.log.Debug(what+" not sent", "call", f.id, "err", err)
	}
}

// dial presses keys.
func (f *flow) dial(digits string) error {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	if !f.out.Keys() {
		return fmt.Errorf("%w: it does not know of keys", ErrIncapable)
	}
	if err := f.pad.Dial(time.Now(), digits); err != nil {
		return err
	}
	select {
	case f.dialled <- struct{}{}:
	default:
	}
	return nil
}

// keys sends what is due of the keypad's, and returns how long to wait for more.
func (f *flow) keys(now time.Time, buf []byte) time.Duration {
	f.sendMu.Lock()
	defer f.sendMu.Unlock()
	for {
		e, first, ok := f.pad.Next(now)
		if !ok {
			break
		}
		pkt, err := f.out.SendKey(now, e, first, buf[:0])
		f.pass("key", pkt, err)
	}
	if next := f.pad.Deadline(); !next.IsZero() {
		return next.Sub(now)
	}
	return forever
}

// idleAfter is how long after the end of a packet a tiny one goes out if the app
// has sent no other: the other side takes a path for dead that is silent for
// little more than that, and NATs forget it. An app that writes frames of any
// length without a pause is never overtaken.
const idleAfter = 100 * time.Millisecond

// keep sends a sign of life if the app has sent nothing, or may not, and returns
// when to look again.
func (f *flow) keep(now time.Time, held bool) time.Duration {
	f.sendMu.Lock()
	quiet, limit := now.Sub(f.sentAt), f.lasts+idleAfter
	f.sendMu.Unlock()
	if !held && quiet < limit {
		return limit - quiet
	}
	f.call.out.Keep(now, quiet) // what the network does to it is not our business
	return media.KeepEvery
}

// stats fills in what the flow knows, the score of the last second included.
func (f *flow) stats(s *media.Stats) {
	f.counters(s)
	f.qualityMu.Lock()
	defer f.qualityMu.Unlock()
	if x, ok := f.quality.Last(); ok {
		s.MOS, s.Concealed = x.MOS, x.Concealed
	}
}

func (f *flow) counters(s *media.Stats) {
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

// Media takes an SRTP or SRTCP packet on a socket reader's goroutine and says
// what it was. Packets with an SSRC that no call has agreed
// on are counted and dropped; while a call of ours waits for its ANSWER, the
// last few are kept, since media may overtake it.
func (h *Hub) Media(b []byte) overlay.MediaKind {
	if f, ok := h.ssrcs.Lookup(b); ok {
		return f.receive(b)
	}
	h.early.put(b)
	return overlay.Forged
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
