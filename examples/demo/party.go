// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/opus"
)

// party is one of the two who talk.
type party struct {
	name   string
	node   *p2pos.Node
	speech []byte // what it says
	file   string // where what it hears goes

	cancel context.CancelFunc // ends its goroutines
	wg     sync.WaitGroup
	marked chan struct{} // capacity 1: there is a new mark

	mu    sync.Mutex // guards what follows
	marks marks
	call  *p2pos.Call
	path  p2pos.Path
	vias  []identity.NodeID // that have relayed the call, in order
	over  *p2pos.Call       // a call that has ended
	err   error             // what went wrong in a goroutine

	speaks, hears time.Time // the first frame written, and the first played
	level         []float64 // of each 20 ms heard, 0 to 1
	missing       []int     // those of them that were lost
	stats         media.Stats
}

// marks are when things happened first; zero = not yet.
type marks struct {
	called, placed, incoming, ringing, answered, media time.Time
	direct                                             time.Time // the path
}

func newParty(name string, node *p2pos.Node, speech []byte, out string) *party {
	return &party{
		name: name, node: node, speech: speech, file: filepath.Join(out, "heard-"+name+".ogg"),
		marked: make(chan struct{}, 1),
	}
}

// start begins to watch the node's events, and to answer calls.
func (p *party) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	events, calls := p.node.Events(ctx), p.node.Incoming(ctx)
	p.wg.Go(func() {
		for e := range events {
			p.note(e)
		}
	})
	p.wg.Go(func() {
		for c := range calls {
			p.mark(func(m *marks) *time.Time { return &m.incoming })
			if err := c.Answer(); err != nil {
				p.fail(err)
				continue
			}
			p.talk(ctx, c)
		}
	})
}

// stop ends what start and talk began.
func (p *party) stop() {
	p.cancel()
	p.wg.Wait()
}

func (p *party) mark(of func(*marks) *time.Time) {
	p.mu.Lock()
	if t := of(&p.marks); t.IsZero() {
		*t = time.Now()
	}
	p.mu.Unlock()
	p.wake()
}

// again begins a call, and forgets one that failed.
func (p *party) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks = marks{called: time.Now()}
}

// since returns the marks as they are now.
func (p *party) since() marks {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.marks
}

func (p *party) wake() {
	select {
	case p.marked <- struct{}{}:
	default:
	}
}

func (p *party) fail(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Unlock()
	p.wake()
}

func (p *party) note(e p2pos.Event) {
	switch e := e.(type) {
	case p2pos.CallRinging:
		p.mark(func(m *marks) *time.Time { return &m.ringing })
	case p2pos.CallAnswered:
		p.mark(func(m *marks) *time.Time { return &m.answered })
	case p2pos.CallMedia:
		p.mark(func(m *marks) *time.Time { return &m.media })
	case p2pos.CallPath:
		p.mu.Lock()
		p.path = e.Path
		for _, v := range e.Path.Vias {
			if !slices.Contains(p.vias, v) {
				p.vias = append(p.vias, v)
			}
		}
		p.mu.Unlock()
		if e.Path.Kind == "direct" {
			p.mark(func(m *marks) *time.Time { return &m.direct })
		}
	case p2pos.CallEnded:
		p.mu.Lock()
		if e.Call == p.call { // else it is one that never came about
			p.over = e.Call
		}
		p.mu.Unlock()
		p.wake()
	}
}

// await waits until done holds, which is called with the lock held. It fails
// when the call ends before, or something else goes wrong.
func (p *party) await(ctx context.Context, done func() bool) error {
	for {
		p.mu.Lock()
		ok, over, err := done(), p.over, p.err
		p.mu.Unlock()
		switch {
		case ok:
			return nil
		case err != nil:
			return err
		case over != nil:
			stage, reason, _ := over.End()
			return fmt.Errorf("%s: the call has ended: %s (at %s)", p.name, reason, stage)
		}
		select {
		case <-p.marked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connected says that the other side's sound comes in.
func (p *party) connected() bool {
	return p.call != nil && !p.marks.answered.IsZero() && !p.marks.media.IsZero()
}

// well says that the call goes on, and nothing has gone wrong.
func (p *party) well() bool { return p.over == nil && p.err == nil }

// ended says that the call is over, in order or not.
func (p *party) ended() bool { return p.over != nil }

// talk lets the party speak and listen, in a call that was answered.
func (p *party) talk(ctx context.Context, c *p2pos.Call) {
	p.mu.Lock()
	p.call = c
	p.mu.Unlock()
	p.wake()
	in, out := c.Tracks()
	p.wg.Go(func() {
		ogg.Play(ctx, fromMemory(p.speech), true, mouth{p, out}) // until the call ends
	})
	p.wg.Go(func() {
		if err := p.listen(ctx, in); err != nil {
			p.fail(err)
		}
	})
}

// mouth notes when the first frame leaves it.
type mouth struct {
	p   *party
	out *media.Out
}

func (m mouth) WriteFrame(f *media.Frame) error {
	m.p.mu.Lock()
	if m.p.speaks.IsZero() {
		m.p.speaks = time.Now()
	}
	m.p.mu.Unlock()
	return m.out.WriteFrame(f)
}

// listen records the call and measures its level until it ends.
func (p *party) listen(ctx context.Context, in *media.In) error {
	f, err := os.Create(p.file)
	if err != nil {
		return err
	}
	defer f.Close()
	dec, err := opus.NewDecoder(1)
	if err != nil {
		return err
	}
	_, err = ogg.Record(ctx, &ear{p: p, in: in, dec: dec, pcm: make([]int16, opus.MaxSamples)}, f)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return f.Close()
}

// ear hands frames on, and measures them.
type ear struct {
	p   *party
	in  *media.In
	dec *opus.Decoder
	pcm []int16
}

func (e *ear) ReadFrame(ctx context.Context, f *media.Frame) error {
	if err := e.in.ReadFrame(ctx, f); err != nil {
		return err
	}
	n, _ := sound(e.dec, f.Payload, f.Samples, e.pcm) // what is no Opus is silence here
	level := rms(e.pcm[:n]) / 32768
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.p.hears.IsZero() {
		e.p.hears = time.Now()
	}
	if f.Lost {
		e.p.missing = append(e.p.missing, len(e.p.level))
	}
	for ; n > 0; n -= media.FrameSamples {
		e.p.level = append(e.p.level, level)
	}
	return nil
}

// keepStats takes the statistics at the end of the call, while it still is one.
func (p *party) keepStats() {
	p.mu.Lock()
	c := p.call
	p.mu.Unlock()
	s, path := c.Stats(), c.Path()
	s.Score(&media.Stats{})
	p.mu.Lock()
	p.stats, p.path = s, path
	p.mu.Unlock()
}
