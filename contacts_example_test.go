// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"context"
	"fmt"
	"log"
	"time"
)

// Somebody's ticket and a name of one's own choice go into the address book.
func ExampleNode_Contacts() {
	ann, bob := exampleNode("Ann"), exampleNode("Robert")
	defer ann.Close()
	defer bob.Close()
	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	book := ann.Contacts()
	if _, err := book.Add(ticket, "Bob from work"); err != nil {
		log.Fatal(err)
	}
	if err := book.Verify(bob.ID(), true); err != nil { // after comparing safety words
		log.Fatal(err)
	}
	for c := range book.All() {
		fmt.Println(c.Name, c.Verified, c.Blocked)
	}
	// Output: Bob from work true false
}

// What happened, the newest first.
func ExampleNode_History() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	call, err := ann.Call(ctx, ticket, nil)
	if err != nil {
		log.Fatal(err)
	}
	call.HangUp()
	<-call.Done()
	for r, err := range ann.History(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Peer == bob.ID(), r.Incoming, r.Call.Stage, r.Call.Reason)
	}
	// Output: true false ring cancelled
}
