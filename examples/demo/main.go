// SPDX-License-Identifier: 0BSD

// Demo shows a network that carries itself, and a call through it, in one
// process and without a network card: 24 nodes on a simulated Internet in real
// time, every one behind a NAT box, a third of them symmetric. They link with
// each other; a finds b by a ticket without any address in it; the call is
// relayed by other nodes from the first packet and goes direct when the two boxes
// are punched. It writes what both heard, a picture of the call and a map of the
// network to demo-out/, and exits 0 only when both heard the other's words.
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

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

type options struct {
	out     string
	seconds int
	loss    float64 // share of 1
	easy    bool    // b's box is like a's
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "demo-out", "directory for the recordings and the pictures")
	flag.IntVar(&o.seconds, "seconds", 10, "how long they talk, 3 to 60")
	loss := flag.Float64("loss", 0, "packets in 100 that get lost between a and b, up to 50;\nabove 2 or so the speech may not be recognized any more:\nnothing repairs losses yet")
	flag.BoolVar(&o.easy, "easy", false, "call somebody behind a port-restricted box instead of a symmetric one")
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
const setupTime = 30 * time.Second

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
	n, err := newNetwork(keys, log)
	if err != nil {
		return err
	}
	defer n.close()
	v, err := form(ctx, o, s, n)
	if err != nil {
		return err
	}
	a := newParty("a", v.a.node, speechA, o.out)
	b := newParty("b", v.b.node, speechB, o.out)
	for _, p := range []*party{a, b} {
		p.start(ctx)
		defer p.stop()
	}
	if err := connect(ctx, s, v, a, b); err != nil {
		return err
	}
	if err := converse(ctx, o, s, a, b); err != nil {
		return err
	}
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
	return judge(o, s, a, b, v)
}

// form lets the nodes become a network, and chooses who calls whom.
func form(ctx context.Context, o options, s *screen, n *network) (v survey, err error) {
	if err := n.join(ctx); err != nil {
		return v, err
	}
	v = newSurvey(n)
	s.say("all %d have joined: the first link of each stood after %.0f to %.0f ms", len(v.places), ms(v.first), ms(v.last))
	if err := n.learn(ctx); err != nil {
		return v, err
	}
	v.links = n.links()
	s.say("%s learnt from their neighbours what their NATs do; %s", v.knowing(), v.told())
	to := symmetric
	if o.easy {
		to = restricted
	}
	if v.a, v.b, err = n.pick(restricted, to, v.links, o.loss); err != nil {
		return v, err
	}
	s.say("a is a node behind a %s box, b one behind a %s box; they have no link", classes[v.a.class].name, classes[v.b.class].name)
	return v, nil
}

// strip takes everything out of a ticket that says where somebody is, or who
// their neighbours are. What stays is who: the key, and a secret to find the
// record that b's node keeps up to date in the network.
func strip(ticket string) (string, error) {
	t, err := identity.ParseTicket(ticket, time.Now())
	if err != nil {
		return "", err
	}
	t.Addrs, t.Introducers = nil, nil
	return t.Text()
}

// connect lets a call b, until both hear each other.
func connect(talking context.Context, s *screen, v survey, a, b *party) error {
	ctx, cancel := context.WithTimeout(talking, setupTime)
	defer cancel()
	ticket, err := b.node.Ticket(time.Hour)
	if err == nil {
		ticket, err = strip(ticket)
	}
	if err != nil {
		return fmt.Errorf("b could not make a ticket: %w", err)
	}
	s.say("b hands a its ticket %.20s…, %d characters, no address in it", ticket, len(ticket))
	call, err := ring(ctx, s, a, ticket)
	if err != nil {
		return err
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
	m := a.since()
	s.say("b answered; both hear each other, %.0f ms after a began to call%s", ms(m.media.Sub(m.called)), v.how(a, b))
	return nil
}

// tries is how often a calls when b is not reached: on a busy machine the
// network may need longer to settle than it was given.
const tries = 3

// ring calls until b answers.
func ring(ctx context.Context, s *screen, a *party, ticket string) (*p2pos.Call, error) {
	for try := 1; ; try++ {
		a.again()
		call, err := a.node.Call(ctx, ticket, nil)
		if err == nil {
			a.mark(func(m *marks) *time.Time { return &m.placed })
			if err = call.Answered(ctx); err == nil {
				return call, nil
			}
		}
		if !errors.Is(err, p2pos.ErrOffline) || try == tries {
			return nil, fmt.Errorf("a could not reach b: %w", err)
		}
		s.say("b was not reached; a calls again")
	}
}

// converse lets them talk, and shows it.
func converse(ctx context.Context, o options, s *screen, a, b *party) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(s.every())
	defer tick.Stop()
	began, told := a.since().media, false
	end := time.After(time.Duration(o.seconds)*time.Second - time.Since(began))
	for {
		select {
		case <-end:
			s.status(a, b)
			s.done()
			return ctx.Err()
		case <-a.marked:
		case <-tick.C:
			s.status(a, b)
		case <-ctx.Done():
			s.done()
			return ctx.Err()
		}
		if m := a.since(); !told && !m.direct.IsZero() {
			told = true
			s.done()
			s.say("both boxes are open: the call is direct, %.0f ms after a began to call", ms(m.direct.Sub(m.called)))
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
func judge(o options, s *screen, a, b *party, v survey) error {
	r := result{seconds: o.seconds, loss: o.loss, net: v}
	for _, w := range []struct{ speaker, listener *party }{{a, b}, {b, a}} {
		d, err := newDirection(w.speaker, w.listener, o.seconds)
		if err != nil {
			return fmt.Errorf("what %s heard cannot be decoded: %w", w.listener.name, err)
		}
		r.ways = append(r.ways, d)
	}
	r.a, r.b = a.marks, b.marks
	r.path, r.rtt = a.path, roundTrip(a)
	r.relays = v.relays(a, b)
	files := []string{a.file, b.file}
	for _, p := range []struct {
		name string
		b    []byte
	}{{"call.svg", draw(r)}, {"network.svg", drawMap(r)}} {
		name := filepath.Join(o.out, p.name)
		if err := os.WriteFile(name, p.b, 0o644); err != nil {
			return err
		}
		files = append(files, name)
	}
	s.report(r, files...)
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
