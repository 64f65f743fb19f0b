// SPDX-License-Identifier: 0BSD

// Softphone is a phone without a window, for terminals, scripts and
// laboratories: people type commands, programs write the same commands on its
// stdin and read one JSON object a line (-json). softphone -help tells more.
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
	"syscall"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const (
	// goodbye is how long the other sides may take to hear that we hang up, and
	// lastWords how long our reader may take for what is left to say. Together
	// they stay well below the two seconds within which a phone has to be gone.
	goodbye   = time.Second
	lastWords = 500 * time.Millisecond
)

func main() {
	// A reader that goes away is an error of writing, not a death by signal.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, signals))
}

// run is the whole program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	start := time.Now()
	o, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "softphone: %v (softphone -help lists the flags)\n", err)
		return exitUsage
	}
	if o.newNetwork != "" {
		n, err := identity.NewNetwork(o.newNetwork)
		if err != nil {
			fmt.Fprintf(stderr, "softphone: -new-network: %s\n", plain(err))
			return exitUsage
		}
		fmt.Fprintln(stdout, n.Text())
		return exitOK
	}
	if err := serve(o, start, stdin, stdout, stderr, signals); err != nil {
		fmt.Fprintf(stderr, "softphone: %s\n", plain(err))
		return exitFailed
	}
	return exitOK
}

// serve runs a phone until it is told to quit.
func serve(o options, start time.Time, stdin io.Reader, stdout, stderr io.Writer, signals <-chan os.Signal) error {
	mic, err := microphone(o.play)
	if err != nil {
		return fmt.Errorf("-play: %w", err)
	}
	if o.record != "" {
		if err := checkShelf(o.record); err != nil {
			return fmt.Errorf("-record: %w", err)
		}
	}
	c := p2pos.Config{Dir: o.dir, Name: o.name, Network: o.network, Join: o.join, Listen: o.listen, NoLAN: !o.lan, NoPortMap: !o.portmap, Knocks: o.knocks, STUN: o.stun, ListenTCP: o.tcp}
	if !o.relay {
		c.Relay.Rate = -1
	}
	if o.knocksRing {
		c.Knocks, c.KnockRings = true, func(p2pos.Knock) bool { return true }
	}
	if o.verbose {
		c.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	node, err := p2pos.New(c)
	if err != nil {
		return err
	}
	all, end := context.WithCancel(context.Background())
	defer end()
	commands, out := make(chan typed), newPrinter(stdout, o.json, start)
	go read(all, stdin, commands) // not waited for: stdin may never end
	for again := true; again && err == nil; {
		p := &phone{
			opt: o, node: node, out: out, mic: mic,
			shelf:   shelf{file: o.record, sides: []p2pos.Side{p2pos.Theirs}},
			results: make(chan func()),
		}
		ctx, cancel := context.WithCancel(all)
		err = p.loop(ctx, cancel, commands, signals)
		if again = p.again && err == nil; again {
			node, err = p2pos.New(c)
		}
	}
	if e := out.close(lastWords); err == nil {
		err = e
	}
	return err
}
