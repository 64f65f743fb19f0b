// SPDX-License-Identifier: 0BSD

// Sendfile sends a file to somebody, or receives what others send:
//
//	sendfile -dir me receive             prints a ticket, then takes what comes
//	sendfile -dir me TICKET FILE         sends a file to whoever made the ticket
//
// Kill either side at any time and start it again: the transfer goes on where
// it was. A sender that is started without arguments goes on with what it had.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos"
)

func main() {
	dir := flag.String("dir", "", "where identity and state are kept")
	join := flag.String("join", "", "a ticket or host:port to start from, besides the LAN")
	listen := flag.String("listen", "", "UDP address; default any free port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *dir, *join, *listen, flag.Args()); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "sendfile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir, join, listen string, args []string) error {
	receives := len(args) == 1 && args[0] == "receive"
	if !receives && len(args) != 0 && len(args) != 2 {
		return fmt.Errorf("say sendfile TICKET FILE, sendfile receive, or sendfile to go on; not %q", args)
	}
	cfg := p2pos.Config{Dir: dir, Listen: listen}
	if join != "" {
		cfg.Join = []string{join}
	}
	node, err := p2pos.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	go node.Join(ctx) // goes on in the background until there is somebody
	if receives {
		return receive(ctx, out, node, filepath.Join(dir, "received"))
	}
	var list []*p2pos.Transfer // of earlier starts
	for _, t := range node.Transfers() {
		if t.State() != p2pos.FileOffered || !t.Incoming() { // nobody accepts those here
			list = append(list, t)
		}
	}
	if len(args) == 2 {
		t, err := node.SendFile(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return fmt.Errorf("nothing to send: sendfile TICKET FILE, or sendfile receive")
	}
	ended := make(chan error, len(list))
	for _, t := range list {
		go func() { ended <- watch(ctx, out, t) }()
	}
	var failed []error
	for range list { // one that fails doesn't end the others
		failed = append(failed, <-ended)
	}
	return errors.Join(failed...)
}

// receive takes every file that is offered.
func receive(ctx context.Context, out io.Writer, node *p2pos.Node, to string) error {
	events := node.Events(ctx)
	ticket, err := node.Ticket(24 * time.Hour)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "for whoever may send you files, good for a day:\n"+ticket)
	follow := func(t *p2pos.Transfer) {
		if err := watch(ctx, out, t); err != nil && ctx.Err() == nil {
			fmt.Fprintln(out, err)
		}
	}
	accept := func(t *p2pos.Transfer) {
		switch err := t.Accept(to); {
		case errors.Is(err, p2pos.ErrTransferState): // in the list and in an event
			return
		case err != nil:
			fmt.Fprintln(out, err)
			return
		}
		go follow(t)
	}
	for _, t := range node.Transfers() {
		if t.Incoming() && t.State() == p2pos.FileOffered { // before the last end
			accept(t)
		} else {
			go follow(t)
		}
	}
	for e := range events {
		if f, ok := e.(p2pos.FileEvent); ok && f.Transfer.Incoming() && f.State == p2pos.FileOffered {
			accept(f.Transfer)
		}
	}
	return ctx.Err()
}

// watch prints how far a transfer is, until its end.
func watch(ctx context.Context, out io.Writer, t *p2pos.Transfer) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-t.Done():
			if err := t.Err(); err != nil {
				return fmt.Errorf("%s: %w", t.Name(), err)
			}
			fmt.Fprintf(out, "%s: complete, SHA-256 %x\n", t.Name(), t.SHA256())
			return nil
		case <-tick.C:
			p := t.Progress()
			if err := t.Err(); err != nil { // paused: a full disk, say
				fmt.Fprintf(out, "%s: %v\n", t.Name(), err)
			}
			fmt.Fprintf(out, "%s: %s, %d of %d bytes, %.1f MB/s, %v left\n", t.Name(), t.State(), p.Done, p.Total, p.Speed/1e6, p.Left.Round(time.Second))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
