// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// line is a call as the phone sees it: from the command, when the callee still
// has to be found, or from its first ring, until it has ended.
type line struct {
	who
	began    time.Time   // t_call counts from here
	call     *p2pos.Call // nil while the callee is looked up
	incoming bool
	answered bool
	hungUp   bool // while it was looked up
	failed   *p2pos.CallError

	before media.Stats // at the last statistics
	asked  time.Time
	ticks  int

	tape   *tape  // nil = not recorded
	keys   string // pressed by the other side, and not told yet
	keyed  time.Time
	ctx    context.Context // of the goroutines that are the line's mouth and ear
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// add makes a line. Calls are numbered from 1, since a call has to have a name
// before anybody is found.
func (p *phone) add(ctx context.Context, peer string, began time.Time) *line {
	p.numbered++
	l := &line{who: who{Call: strconv.Itoa(p.numbered), Peer: peer}, began: began}
	l.ctx, l.cancel = context.WithCancel(ctx)
	p.calls = append(p.calls, l)
	return l
}

// line returns the call for which f holds, or nil.
func (p *phone) line(f func(*line) bool) *line {
	for _, l := range p.calls {
		if f(l) {
			return l
		}
	}
	return nil
}

// of returns the line of a call in an event. The event may be ahead of what
// else tells us about the call: of Node.Call's return, and of Node.Incoming.
func (p *phone) of(ctx context.Context, c *p2pos.Call) *line {
	if c.Group() != nil {
		return nil // see groupNews
	}
	if l := p.line(func(l *line) bool { return l.call == c }); l != nil {
		return l
	}
	if c.Incoming() {
		l := p.add(ctx, c.Peer().String(), c.Started())
		l.call, l.incoming = c, true
		known, _ := p.node.Contacts().Get(c.Peer())
		p.emit(incomingEvent{l.who, c.Name(), c.Waiting(), known.Name, person(c.TransferredBy())})
		return l
	}
	peer := c.Peer().String()
	l := p.line(func(l *line) bool { return l.call == nil && l.Peer == peer })
	if l != nil {
		l.call = c
	}
	return l
}

// rings takes a call from Node.Incoming.
func (p *phone) rings(ctx context.Context, c *p2pos.Call) {
	select {
	case <-c.Done():
		return // an event says so, or has
	default:
	}
	p.of(ctx, c)
	if p.opt.answer {
		// A phone without ears can talk with several at a time.
		if err := c.AnswerAnd(p2pos.KeepOthers); err != nil {
			p.complain("answer", err)
		}
	}
}

// place calls somebody; the search goes on in the background.
func (p *phone) place(ctx context.Context, to, peer string, at time.Time) {
	l := p.add(ctx, peer, at)
	p.emit(outgoingEvent{who: l.who})
	p.wg.Go(func() {
		c, err := p.node.Call(l.ctx, to, nil)
		p.post(ctx, func() { p.placed(ctx, l, c, err) })
	})
}

// placed goes on when somebody was found, or wasn't.
func (p *phone) placed(ctx context.Context, l *line, c *p2pos.Call, err error) {
	if err == nil {
		l.call = c
		select {
		case <-c.Done():
			p.ended(l) // if the event came while the line had no call
			return
		default:
		}
		if l.hungUp {
			c.HangUp() // an event will say that it has ended
		}
		return
	}
	if !errors.As(err, &l.failed) {
		l.failed = &p2pos.CallError{Stage: "lookup", Reason: "failed", Err: err}
	}
	if !l.hungUp {
		p.complain("call", l.failed.Err)
	}
	p.ended(l)
}

// handle takes the node's events.
func (p *phone) handle(ctx context.Context, e p2pos.Event) {
	switch e := e.(type) {
	case p2pos.Joined:
		p.emit(joinedEvent{e.Links})
	case p2pos.NAT:
		p.emit(natOf(e))
	case p2pos.CallMissed:
		p.emit(missedEvent{e.Peer.String(), e.Name, e.When.Format(time.RFC3339)})
	case p2pos.FileEvent:
		p.fileChanged(e)
	case p2pos.ContactChanged:
		p.emit(contactEvent{entryOf(e.Contact), e.Removed})
	case p2pos.Knock:
		p.emit(knockEvent{e.Peer.String(), e.Name, e.Text, e.Callable, e.Rings})
	case p2pos.Presence:
		p.emit(presenceOf(e, p.called(e.Peer)))
	case p2pos.DeviceAsks, p2pos.DeviceAskEnded, p2pos.DevicesChanged:
		p.deviceNews(e)
	case p2pos.GroupChanged, p2pos.GroupRings, p2pos.GroupJoined, p2pos.GroupLeft, p2pos.GroupEnded:
		p.groupNews(ctx, e)
	case p2pos.CallSearch:
		l := p.line(func(l *line) bool { return l.call == nil && l.Peer == e.Peer.String() })
		if l != nil {
			p.emit(searchEvent{l.who, e.State, l.age()})
		}
	case p2pos.Message, p2pos.MessageStored, p2pos.MessageDelivered, p2pos.MessageRead:
		p.texts(e)
	case p2pos.CallRinging:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(ringingEvent{l.who, l.age(), millis(e.RTT)})
		}
	case p2pos.CallAnswered:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(answeredEvent{l.who, l.age()})
			p.talk(l)
		}
	case p2pos.CallMedia:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(mediaEvent{l.Call, l.age()})
		}
	case p2pos.CallPath:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(pathOf(e.Path, l.Call, time.Since(l.began)))
		}
	case p2pos.CallTransfer:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(transferEvent{l.Call, e.State, e.Reason})
		}
	case p2pos.CallDiverted:
		l := p.add(ctx, e.New.Peer().String(), e.New.Started())
		l.call = e.New
		p.emit(outgoingEvent{who: l.who, By: e.Call.Peer().String()})
	case p2pos.CallHeld:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(holdEvent{Call: l.Call, By: by(e.ByMe), on: true})
		}
	case p2pos.CallResumed:
		if l := p.of(ctx, e.Call); l != nil {
			p.emit(holdEvent{Call: l.Call, By: by(e.ByMe)})
		}
	case p2pos.CallDTMF:
		if l := p.of(ctx, e.Call); l != nil {
			l.keys += string(rune(e.Digit))
			l.keyed = time.Now()
			p.keyTimer.Reset(keyQuiet)
		}
	case p2pos.CallRecording:
		if l := p.of(ctx, e.Call); l != nil {
			p.recorded(l, e)
		}
	case p2pos.CallQuality:
		if l := p.of(ctx, e.Call); l != nil {
			_, bad := e.Call.Quality()
			p.emit(qualityEvent{l.Call, strings.Fields(bad.String())})
		}
	case p2pos.CallEnded:
		if l := p.of(ctx, e.Call); l != nil {
			p.ended(l)
		}
	}
}

// age is t_call.
func (l *line) age() float64 { return seconds(time.Since(l.began)) }

// talk lets the line speak and listen.
func (p *phone) talk(l *line) {
	l.answered, l.asked = true, time.Now()
	if p.tick == nil {
		p.tick = time.NewTicker(time.Second)
		p.seconds = p.tick.C
	}
	if p.shelf.file != "" {
		if err := p.record(l, &p.shelf); err != nil {
			p.complain("record", err)
		}
	}
	in, out := l.call.Tracks()
	l.wg.Go(func() {
		err := ogg.Play(l.ctx, p.mic, true, out)
		if err != nil && l.ctx.Err() == nil && !errors.Is(err, io.ErrClosedPipe) {
			p.post(l.ctx, func() { p.complain("play", err) })
		}
	})
	l.wg.Go(func() {
		var f media.Frame
		for in.ReadFrame(l.ctx, &f) == nil {
		}
	})
}

// record begins a line's next recording. An event says when it runs: the other
// side is told first. One that runs ends then.
func (p *phone) record(l *line, s *shelf) error {
	t, err := newTape(l.call, s.next(), s.sides)
	if err != nil {
		return err
	}
	old := l.tape
	l.tape = t
	if old != nil { // they know already
		p.emit(recordingEvent{l.Call, t.path, "me", true})
	}
	return old.stop()
}

// recorded tells that a call is recorded, by either side.
func (p *phone) recorded(l *line, e p2pos.CallRecording) {
	switch {
	case !e.ByMe:
		p.emit(recordingEvent{l.Call, "", "peer", e.On})
	case e.On && l.tape != nil:
		p.emit(recordingEvent{l.Call, l.tape.path, "me", true})
	}
}

// keyQuiet is how long nobody presses a key until those before are told: a
// number is one event, whether typed or sent by a program.
const keyQuiet = 500 * time.Millisecond

// pressed tells the keys of all calls in which none was pressed for a while.
func (p *phone) pressed(now time.Time) {
	for _, l := range p.calls {
		switch wait := keyQuiet - now.Sub(l.keyed); {
		case l.keys == "":
		case wait > 0:
			p.keyTimer.Reset(wait)
		default:
			p.tellKeys(l)
		}
	}
}

func (p *phone) tellKeys(l *line) {
	if l.keys != "" {
		p.emit(dtmfEvent{l.Call, l.keys})
		l.keys = ""
	}
}

// second tells how the calls are.
func (p *phone) second(now time.Time) {
	for _, l := range p.calls {
		if !l.answered {
			continue
		}
		s := l.call.Stats()
		e := statsOf(l.Call, &s, &l.before, now.Sub(l.asked))
		if e.RTT == 0 { // no report of the other side yet
			e.RTT = millis(l.call.Path().RTT)
		}
		l.ticks++
		e.tick = l.ticks
		l.before, l.asked = s, now
		p.emit(e)
	}
}

// ended takes a line out of service. The recording is complete when the event
// comes.
func (p *phone) ended(l *line) {
	l.cancel()
	l.wg.Wait()
	p.tellKeys(l)
	if err := l.tape.stop(); err != nil && !errors.Is(err, p2pos.ErrNotTold) {
		p.complain("record", err)
	}
	e := endedEvent{Call: l.Call, Stage: "lookup", Reason: "cancelled"}
	switch {
	case l.call != nil:
		var talked time.Duration
		e.Stage, e.Reason, talked = l.call.End()
		e.Seconds = seconds(talked)
	case l.failed != nil && !l.hungUp:
		e.Stage, e.Reason = l.failed.Stage, l.failed.Reason
	}
	p.emit(e)
	for i := range p.calls {
		if p.calls[i] == l {
			p.calls = append(p.calls[:i:i], p.calls[i+1:]...)
			break
		}
	}
	if p.line(func(l *line) bool { return l.answered }) == nil && p.tick != nil {
		p.tick.Stop()
		p.tick, p.seconds = nil, nil
	}
}
