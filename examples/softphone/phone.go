// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/p2pos/p2pos"
)

// maxLine bounds a command; the longest sensible one sends the longest text.
const maxLine = 16 << 10

// phone is the program's state. One goroutine owns it, that of loop; others
// hand it functions to run by post.
type phone struct {
	opt   options
	node  *p2pos.Node
	out   *printer
	mic   func() (io.ReadCloser, error)
	shelf shelf
	err   error // why the output is of no use any more

	calls    []*line
	rooms    []*room      // calls of groups that ring or go on
	numbered int          // calls so far
	tick     *time.Ticker // runs while a call is answered
	seconds  <-chan time.Time
	keyTimer *time.Timer // keys of the other side are to be told
	quit     bool

	fileTicker *time.Ticker // runs while a file moves
	files      <-chan time.Time

	asks    []p2pos.DeviceAsks // phones that ask to be this person's; three at most
	linking bool               // this one asks somebody
	again   bool               // it is another person's device now: start anew

	results chan func() // unbuffered: who hands one over knows that it will run
	wg      sync.WaitGroup
}

// typed is a command line and when it was read.
type typed struct {
	text string
	at   time.Time
	long bool // it was longer than maxLine
}

// loop runs the phone until it is to quit, and closes the node. cancel ends
// ctx, which all goroutines of the phone live by.
func (p *phone) loop(ctx context.Context, cancel context.CancelFunc, commands <-chan typed, signals <-chan os.Signal) error {
	defer p.wg.Wait()
	defer cancel()
	events, incoming := make(chan p2pos.Event), make(chan *p2pos.Call)
	forward(ctx, &p.wg, p.node.Events(ctx), events)
	forward(ctx, &p.wg, p.node.Incoming(ctx), incoming)

	s := p.node.Status()
	ready := readyEvent{ID: s.ID.String(), Node: s.Node.String(), Listen: []string{}}
	for _, a := range s.Listen {
		ready.Listen = append(ready.Listen, a.String())
	}
	p.emit(ready)
	p.join(ctx)
	p.keyTimer = time.NewTimer(keyQuiet)
	defer p.keyTimer.Stop()

	for !p.quit && p.err == nil {
		select {
		case c := <-commands:
			p.command(ctx, c)
		case e, ok := <-events:
			if !ok {
				p.quit = true
				break
			}
			p.handle(ctx, e)
		case c, ok := <-incoming:
			if !ok {
				incoming = nil
				break
			}
			p.rings(ctx, c)
		case f := <-p.results:
			f()
		case now := <-p.seconds:
			p.second(now)
		case <-p.files:
			p.filesMove()
		case now := <-p.keyTimer.C:
			p.pressed(now)
		case <-p.out.done:
			p.err = errNobodyReads
		case <-signals:
			p.quit = true
		}
	}
	p.shutdown()
	return p.err
}

// shutdown hangs up, closes the node and tells how the calls ended.
func (p *phone) shutdown() {
	for _, l := range p.calls {
		l.cancel()
	}
	for _, r := range p.rooms {
		r.call.Leave()
		r.cancel()
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	p.node.Shutdown(ctx)
	for len(p.calls) > 0 {
		p.ended(p.calls[0])
	}
}

// emit tells the world. A reader that is gone ends the phone.
func (p *phone) emit(e event) {
	if err := p.out.emit(e); err != nil && p.err == nil {
		p.err = err
	}
}

// complain is the answer to a command that can't be obeyed.
func (p *phone) complain(command string, err error) {
	p.emit(errorEvent{Command: clip(command, 40), Message: plain(err)})
}

// post runs f on the phone's goroutine, unless the phone has ended.
func (p *phone) post(ctx context.Context, f func()) {
	select {
	case p.results <- f:
	case <-ctx.Done():
	}
}

// join makes the node part of the network. The node goes on trying after the
// first failure, of which people should know all the same.
func (p *phone) join(ctx context.Context) {
	p.wg.Go(func() {
		if err := p.node.Join(ctx); err != nil && ctx.Err() == nil {
			msg := errors.New(strings.ReplaceAll(plain(err), "\n", "; ") + " (goes on trying)")
			p.post(ctx, func() { p.complain("join", msg) })
		}
	})
}

// forward turns an iterator into a channel, closed at its end.
func forward[T any](ctx context.Context, wg *sync.WaitGroup, seq iter.Seq[T], to chan<- T) {
	wg.Go(func() {
		defer close(to)
		for v := range seq {
			select {
			case to <- v:
			case <-ctx.Done():
				return
			}
		}
	})
}

// read hands over the lines of stdin. Its end is not the phone's.
func read(ctx context.Context, stdin io.Reader, to chan<- typed) {
	r := bufio.NewReaderSize(stdin, maxLine)
	for {
		b, err := r.ReadSlice('\n')
		c := typed{text: strings.TrimSpace(string(b)), at: time.Now()}
		for errors.Is(err, bufio.ErrBufferFull) {
			c.long = true
			_, err = r.ReadSlice('\n')
		}
		if c.text != "" {
			select {
			case to <- c:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}
