// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/p2pos/p2pos"
)

// A text is stored here when Send returns; what becomes of it the events tell.
func ExampleNode_Send() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	news := ann.Events(ctx)

	go func() {
		for e := range bob.Events(ctx) {
			if m, ok := e.(p2pos.Message); ok {
				fmt.Println("Bob has:", m.Text)
				bob.MarkRead(ctx, m.ID)
			}
		}
	}()

	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := ann.Send(ctx, ticket, "Dinner at eight?")
	if err != nil {
		log.Fatal(err)
	}
	for e := range news {
		if e, ok := e.(p2pos.MessageRead); ok && e.ID == receipt.ID {
			fmt.Println("and Ann knows that he has read it")
			break
		}
	}
	// Output:
	// Bob has: Dinner at eight?
	// and Ann knows that he has read it
}

// All that a person has written is marked as read at once.
func ExampleNode_MarkAllRead() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	news := bob.Events(ctx)
	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"Are you there?", "Bob?"} {
		if _, err := ann.Send(ctx, ticket, text); err != nil {
			log.Fatal(err)
		}
	}
	for n := 0; n < 2; {
		for e := range news {
			if m, ok := e.(p2pos.Message); ok {
				fmt.Println(m.Text)
				if n++; n == 2 {
					break
				}
			}
		}
	}
	if err := bob.MarkAllRead(ctx, ann.ID()); err != nil {
		log.Fatal(err)
	}
	for r, err := range bob.History(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Message.Text, !r.Message.Read.IsZero())
	}
	// Output:
	// Are you there?
	// Bob?
	// Bob? true
	// Are you there? true
}
