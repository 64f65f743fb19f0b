// SPDX-License-Identifier: 0BSD

// Demo shows a call from end to end, in one process and without a network
// card: five nodes on a simulated Internet in real time. b hands a a ticket; a
// finds b through c, an ordinary node that both are linked with; the two open
// their NAT boxes to each other, and talk. It writes what both heard and a
// picture of the call to demo-out/, and exits 0 only when both heard the
// other's words.
//
//	go run ./examples/demo
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	out     string
	seconds int
	loss    float64 // share of 1
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "demo-out", "directory for the recordings and the picture")
	flag.IntVar(&o.seconds, "seconds", 10, "how long they talk, 3 to 60")
	loss := flag.Float64("loss", 0, "packets in 100 that get lost between a and b, up to 50;\nabove 2 or so the speech may not be recognized any more:\nnothing repairs losses yet")
	verbose := flag.Bool("v", false, "log to stderr what the nodes do")
	flag.Parse()
	o.loss = *loss / 100
	wrong := ""
	switch {
	case flag.NArg() > 0:
		wrong = "unexpected argument " + flag.Arg(0)
	case o.seconds < 3 || o.seconds > 60:
		wrong = "-seconds takes 3 to 60"
	case !(o.loss >= 0 && o.loss <= 0.5):
		wrong = "-loss takes 0 to 50"
	}
	if wrong != "" {
		fmt.Fprintln(os.Stderr, "demo:", wrong, "(demo -help lists the flags)")
		os.Exit(2)
	}
	var log *slog.Logger
	if *verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, &screen{w: os.Stdout, live: isTerminal(os.Stdout)}, log)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo: failed:", err)
		os.Exit(1)
	}
}

// setupTime bounds each step until both hear each other. It is a hundred times
// what they need, so that a machine may be busy.
const setupTime = 20 * time.Second

// run is the whole demo. Its error is the one line that says what failed.
func run(ctx context.Context, o options, s *screen, log *slog.Logger) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	keys, err := os.MkdirTemp("", "p2pos-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(keys)
	s.intro(o)
	start := time.Now()
	n, err := newNetwork(keys, o.loss, log)
	if err != nil {
		return err
	}
	defer n.close()
	a := newParty("a", n.nodes["a"], speechA, o.out)
	b := newParty("b", n.nodes["b"], speechB, o.out)
	for _, p := range []*party{a, b} {
		p.marks.began = start
		p.start(ctx)
		defer p.stop()
	}
	if err := join(ctx, n, a, b); err != nil {
		return err
	}
	s.say("a, b, d and e have joined, each by a link to c")
	if err := connect(ctx, s, a, b); err != nil {
		return err
	}
	if err := converse(ctx, o, s, a, b); err != nil {
		return err
	}
	links := n.links()
	a.keepStats()
	b.keepStats()
	if err := a.call.HangUp(); err != nil {
		return err
	}
	end, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	for _, p := range []*party{a, b} {
		if err := p.await(end, p.ended); err != nil {
			return fmt.Errorf("a hung up, but %s did not hear of it: %w", p.name, err)
		}
		p.stop()
	}
	return judge(o, s, a, b, links)
}

// join links everybody with c, all at once.
func join(ctx context.Context, n *network, a, b *party) error {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	failed := make(chan error, len(n.nodes))
	for name, node := range n.nodes {
		go func() {
			err := node.Join(ctx)
			for _, p := range []*party{a, b} {
				if p.name == name {
					p.mark(func(m *marks) *time.Time { return &m.joined })
				}
			}
			if err != nil {
				err = fmt.Errorf("%s could not join: %w", name, err)
			}
			failed <- err
		}()
	}
	var all error
	for range n.nodes {
		all = errors.Join(all, <-failed)
	}
	return all
}

// connect lets a call b, until both hear each other.
func connect(talking context.Context, s *screen, a, b *party) error {
	ctx, cancel := context.WithTimeout(talking, setupTime)
	defer cancel()
	ticket, err := b.node.Ticket(time.Hour)
	if err != nil {
		return fmt.Errorf("b could not make a ticket: %w", err)
	}
	s.say("b hands a its ticket %.24s…, %d characters", ticket, len(ticket))
	a.mark(func(m *marks) *time.Time { return &m.called })
	call, err := a.node.Call(ctx, ticket, nil)
	if err != nil {
		return fmt.Errorf("a could not find b: %w", err)
	}
	a.mark(func(m *marks) *time.Time { return &m.placed })
	if err := call.Answered(ctx); err != nil {
		return fmt.Errorf("b did not answer: %w", err)
	}
	a.talk(talking, call)
	for _, p := range []*party{a, b} {
		err := p.await(ctx, p.connected)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the call was answered, but %s hears nothing", p.name)
		}
		if err != nil {
			return err
		}
	}
	s.say("b answered; both hear each other, %.0f ms after a began to call", ms(a.marks.media.Sub(a.marks.called)))
	return nil
}

// converse lets them talk, and shows it.
func converse(ctx context.Context, o options, s *screen, a, b *party) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(s.every())
	defer tick.Stop()
	began := a.marks.media
	end := time.After(time.Duration(o.seconds)*time.Second - time.Since(began))
	for {
		select {
		case <-end:
			s.status(a, b)
			s.done()
			return ctx.Err()
		case <-tick.C:
			s.status(a, b)
		case <-ctx.Done():
			s.done()
			return ctx.Err()
		}
		for _, p := range []*party{a, b} {
			if err := p.await(ctx, p.well); err != nil {
				s.done()
				return err
			}
		}
	}
}

// judge compares what was heard with what was said, and writes it all down.
func judge(o options, s *screen, a, b *party, links [][2]string) error {
	r := result{seconds: o.seconds, loss: o.loss, links: links}
	for _, w := range []struct{ speaker, listener *party }{{a, b}, {b, a}} {
		d, err := newDirection(w.speaker, w.listener, o.seconds)
		if err != nil {
			return fmt.Errorf("what %s heard cannot be decoded: %w", w.listener.name, err)
		}
		r.ways = append(r.ways, d)
	}
	r.a, r.b = a.marks, b.marks
	r.path, r.rtt = a.path, roundTrip(a)
	picture := filepath.Join(o.out, "call.svg")
	if err := os.WriteFile(picture, draw(r), 0o644); err != nil {
		return err
	}
	s.report(r, a.file, b.file, picture)
	for _, d := range r.ways {
		if !d.heard.enough() {
			return fmt.Errorf("%s did not hear what %s said: only %.0f %% of the speech was recognized", d.listener, d.speaker, 100*d.heard.Share)
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// isTerminal tells whether somebody watches: a line can be written over then.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}
