// SPDX-License-Identifier: 0BSD

// Chat writes to people, online or not. In one terminal:
//
//	go run ./examples/chat -dir bob
//
// prints a ticket; in another one, here or on another machine,
//
//	go run ./examples/chat -dir ann -join HOST:PORT p2pos:040g…
//
// Every line that is typed goes to the person whose ticket was given, or to
// whoever wrote last. Quit one with Ctrl-D, write to it from the other, and start
// it again: what was written waits in the network, if there are others in it.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/p2pos/p2pos"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "", "where identity and texts are kept; default: the user's configuration directory")
	join := flag.String("join", "", "a node of the network, as host:port or ticket; default: those remembered, and the LAN")
	listen := flag.String("listen", "", "UDP address of the node; default: any port")
	flag.Parse()

	cfg := p2pos.Config{Dir: *dir, Listen: *listen}
	if *join != "" {
		cfg.Join = []string{*join}
	}
	node, err := p2pos.New(cfg)
	if err != nil {
		log.Fatalln("chat:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		if err := node.Join(ctx); err != nil && ctx.Err() == nil {
			log.Println("not joined yet:", err) // it goes on trying
		}
	}()
	ticket, err := node.Ticket(30 * 24 * time.Hour)
	if err != nil {
		log.Fatalln("chat:", err)
	}
	fmt.Println("listening on", node.Status().Listen)
	fmt.Println("whoever may write to you starts: go run ./examples/chat -dir DIR", ticket)

	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	events := make(chan p2pos.Event)
	go func() {
		for e := range node.Events(ctx) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		}
	}()
	talk(ctx, node, flag.Arg(0), lines, events)

	// What nobody has taken yet is left with other nodes.
	stop() // who is in a hurry presses Ctrl-C once more
	bye, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node.Shutdown(bye)
}

// talk sends lines to one person, and shows what comes, until there are no
// more lines.
func talk(ctx context.Context, node *p2pos.Node, to string, lines <-chan string, events <-chan p2pos.Event) {
	names := make(map[string]int) // our texts by ID, numbered
	for {
		select {
		case line, more := <-lines:
			switch {
			case !more:
				return
			case line == "":
			case to == "":
				fmt.Println("to whom? start with a ticket, or wait until somebody writes")
			default:
				receipt, err := node.Send(ctx, to, line)
				if err != nil {
					fmt.Println("not sent:", err)
					break
				}
				names[receipt.ID] = len(names) + 1
				fmt.Printf("  %d: on its way\n", names[receipt.ID])
			}
		case <-ctx.Done():
			return
		case e := <-events:
			switch e := e.(type) {
			case p2pos.Message:
				to = e.Peer.String()
				fmt.Printf("%s, %s: %q\n", e.Peer.Short(), e.Sent.Local().Format(time.TimeOnly), e.Text)
				if err := node.MarkRead(ctx, e.ID); err != nil {
					fmt.Println("not marked as read:", err)
				}
			case p2pos.MessageStored:
				fmt.Printf("  %d: waits in the network\n", names[e.ID])
			case p2pos.MessageDelivered:
				fmt.Printf("  %d: delivered\n", names[e.ID])
			case p2pos.MessageRead:
				fmt.Printf("  %d: read\n", names[e.ID])
			}
		}
	}
}
