// SPDX-License-Identifier: 0BSD

// Company closes a network to the people on a list that its admin signs:
//
//	company -dir boss found acme        runs the admin's node, prints an invitation
//	company -dir ann join INVITATION    runs a member's node, prints its ID
//	admit ID                            typed into the first: ann belongs
//
// "revoke ID" ends that, on all nodes within moments; "who" lists the members.
// Somebody who only has the invitation is refused, and both sides say why.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
)

func main() {
	dir := flag.String("dir", "", "where identity and state are kept")
	listen := flag.String("listen", "", "UDP address; default any free port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdin, os.Stdout, *dir, *listen, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "company:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer, dir, listen string, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "found":
		return found(ctx, in, out, dir, listen, args[1])
	case len(args) == 2 && args[0] == "join":
		return join(ctx, out, dir, listen, args[1])
	}
	return fmt.Errorf("found NAME, or join INVITATION")
}

// company is what the admin keeps, in company.json.
type company struct {
	Network, Key string
	Number       uint64
	Members      []identity.ID
}

// found runs the admin's node, and obeys what is typed.
func found(ctx context.Context, in io.Reader, out io.Writer, dir, listen, name string) error {
	path := filepath.Join(dir, "company.json")
	var c company
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &c); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err // there is one: another would lock everybody out
	default:
		network, err := identity.NewNetwork(name)
		if err != nil {
			return err
		}
		c.Network, c.Key = network.Text(), identity.NewAdminKey().Text()
	}
	network, err := identity.ParseNetwork(c.Network)
	if err != nil {
		return err
	}
	key, err := identity.ParseAdminKey(c.Key)
	if err != nil {
		return err
	}
	node, err := p2pos.New(p2pos.Config{Dir: dir, Listen: listen, Network: network, Admin: key.Admin(), Audit: func(e p2pos.AuditEvent) {
		if e.Result == "denied" {
			fmt.Fprintf(out, "refused %s: %s\n", e.Peer.Short(), e.Detail)
		}
	}})
	if err != nil {
		return err
	}
	defer node.Close()
	// sign signs the list as it is now and hands it to the network.
	sign := func() error {
		c.Number++
		now := time.Now()
		roster := p2pos.Roster{Network: network.Tag(), Number: c.Number, Issued: now, Expires: now.AddDate(0, 3, 0)}
		for _, id := range c.Members {
			roster.Members = append(roster.Members, identity.Member{ID: id})
		}
		signed, err := key.Sign(roster)
		if err != nil {
			return err
		}
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		// Written beside and renamed: half a file would be the end of the network.
		if err := os.WriteFile(path+".new", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
		return node.SetRoster(signed.Raw())
	}
	if !slices.Contains(c.Members, node.ID()) {
		c.Members = append(c.Members, node.ID())
	}
	if err := sign(); err != nil {
		return err
	}
	ticket, err := node.Ticket(30 * 24 * time.Hour)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s,%s,%s\n", network.Text(), key.Admin().Text(), ticket)
	for line := range typed(ctx, in) {
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, err := identity.ParseID(arg)
		switch {
		case verb == "who":
			fmt.Fprintln(out, c.Members)
			continue
		case err != nil || verb != "admit" && verb != "revoke":
			fmt.Fprintln(out, "admit ID, revoke ID, or who:", err)
			continue
		case verb == "admit" && !slices.Contains(c.Members, id):
			c.Members = append(c.Members, id)
		case verb == "revoke":
			c.Members = slices.DeleteFunc(c.Members, func(m identity.ID) bool { return m == id })
		}
		if err := sign(); err != nil {
			return err
		}
		fmt.Fprintf(out, "roster %d, %d members\n", c.Number, len(c.Members))
	}
	return nil
}

// typed returns the lines of in until it or ctx ends.
func typed(ctx context.Context, in io.Reader) iter.Seq[string] {
	lines := make(chan string)
	go func() { // nothing interrupts a read from a terminal: it ends with the program
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(yield func(string) bool) {
		for {
			select {
			case l, more := <-lines:
				if !more || !yield(l) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// join runs a member's node and tells how it stands.
func join(ctx context.Context, out io.Writer, dir, listen, invitation string) error {
	parts := strings.Split(strings.TrimSpace(invitation), ",")
	if len(parts) != 3 {
		return fmt.Errorf("that is no invitation")
	}
	network, err := identity.ParseNetwork(parts[0])
	if err != nil {
		return err
	}
	admin, err := identity.ParseAdmin(parts[1])
	if err != nil {
		return err
	}
	node, err := p2pos.New(p2pos.Config{Dir: dir, Listen: listen, Network: network, Admin: admin, Join: parts[2:]})
	if err != nil {
		return err
	}
	defer node.Close()
	fmt.Fprintln(out, "I am", node.ID())
	events := node.Events(ctx)
	go node.Join(ctx) // goes on trying
	for e := range events {
		switch e := e.(type) {
		case p2pos.Joined:
			fmt.Fprintln(out, "linked")
		case p2pos.RosterChanged:
			fmt.Fprintf(out, "roster %d, %d members\n", e.Roster.Number, len(e.Roster.Members))
		case p2pos.Refused:
			fmt.Fprintln(out, "refused:", e.Err)
		}
	}
	return nil
}
