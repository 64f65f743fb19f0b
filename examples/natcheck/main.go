// SPDX-License-Identifier: 0BSD

// Natcheck tells in plain words what NAT is around this computer, what can be
// reached directly from behind it and what can't. It asks no server: ordinary
// nodes of the network tell at which address they see it.
//
//	go run ./examples/natcheck -join HOST:PORT -join TICKET
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
)

// options is the command line.
type options struct {
	p2pos.Config
	wait time.Duration
	json bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program; ctx ends the looking, not the telling.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "natcheck: %v (natcheck -help lists the flags)\n", err)
		return 2
	}
	switch known, err := check(ctx, o, stdout, stderr); {
	case err != nil:
		fmt.Fprintf(stderr, "natcheck: %v\n", err)
	case known:
		return 0
	}
	return 1
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{wait: 15 * time.Second}
	f := flag.NewFlagSet("natcheck", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("join", "", func(s string) (err error) {
		o.Join = append(o.Join, s)
		if !identity.IsTicket(s) {
			_, _, err = net.SplitHostPort(s)
		} else if _, err = identity.ParseTicket(s, time.Now()); errors.Is(err, identity.ErrTicketExpired) {
			err = nil // others may do
		}
		return err
	})
	var secret error // one of the package flag would echo it
	f.Func("network", "", func(s string) error { o.Network, secret = identity.ParseNetwork(s); return nil })
	f.Func("wait", "", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 3600 {
			return errors.New("a number of seconds up to 3600 is wanted")
		}
		o.wait = time.Duration(n) * time.Second
		return nil
	})
	f.StringVar(&o.Dir, "dir", "", "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolFunc("portmap", "", func(s string) error { on, err := strconv.ParseBool(s); o.NoPortMap = !on; return err })
	verbose := f.Bool("v", false, "")
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err == nil && secret != nil {
		err = fmt.Errorf("-network: %w", secret)
	}
	if *verbose {
		o.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return o, err
}

// open opens the node. Without -dir its identity is a new one: with the user's
// own, calls would ring here too.
func open(o options) (node *p2pos.Node, done func(), err error) {
	var dir string
	if o.Dir == "" {
		if dir, err = os.MkdirTemp("", "natcheck-"); err != nil {
			return nil, nil, err
		}
		o.Dir = dir
	}
	if node, err = p2pos.New(o.Config); err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	return node, func() { node.Close(); os.RemoveAll(dir) }, nil
}

// check looks, and tells; known says whether there was anything to tell.
func check(ctx context.Context, o options, stdout, stderr io.Writer) (known bool, err error) {
	start := time.Now()
	node, done, err := open(o)
	if err != nil {
		return false, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	failed := node.Join(ctx)
	if len(o.Join) > 0 && failed == nil {
		fmt.Fprintf(stderr, "natcheck: looking for %v\n", o.wait)
		<-ctx.Done()
	}
	found, around := node.NAT(), look(node.Status())
	around.named, around.failed = len(o.Join), failed
	known = found.Behaviour.Mapping != nat.UnknownDependence
	if !o.json {
		return known, page(stdout, found, around)
	}
	if why := around.missing(); len(why) > 0 {
		fmt.Fprintf(stderr, "natcheck: %s\n", strings.Join(why, " "))
	}
	return known, json.NewEncoder(stdout).Encode(struct {
		Ev string  `json:"ev"`
		T  float64 `json:"t"`
		natEvent
	}{"nat", float64(time.Since(start).Milliseconds()) / 1000, natOf(found)})
}
