// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/p2pos/p2pos"
)

// Ann makes a group of three and calls it. The others are called in, answer, and
// find each other: each of the three is in a call with the two others.
func ExampleNode_NewGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob, cleo := exampleNode("Ann"), exampleNode("Bob"), exampleNode("Cleo")
	defer ann.Close()
	defer bob.Close()
	defer cleo.Close()
	choir, err := ann.NewGroup("choir")
	if err != nil {
		log.Fatal(err)
	}
	for _, member := range []*p2pos.Node{bob, cleo} {
		ticket, err := member.Ticket(time.Hour)
		if err != nil {
			log.Fatal(err)
		}
		if err := choir.Add(ticket); err != nil {
			log.Fatal(err)
		}
	}
	all := make(chan int, 3)
	for _, n := range []*p2pos.Node{ann, bob, cleo} {
		events := n.Events(ctx)
		go func() {
			for e := range events {
				switch e := e.(type) {
				case p2pos.GroupRings:
					e.Call.Answer()
				case p2pos.GroupJoined: // here e.Member's track would go to a voice.Mixer
					if others := e.Call.Members(); len(others) == 2 {
						all <- len(others)
						return
					}
				}
			}
		}()
	}
	call, err := choir.Call(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		select {
		case others := <-all:
			fmt.Println("with", others)
		case <-ctx.Done():
			log.Fatal("not all have come")
		}
	}
	call.Leave()
	<-call.Done()
	fmt.Println(choir.Name(), "has", len(choir.Members()), "members; Ann's call:", call.Reason())
	// Output:
	// with 2
	// with 2
	// with 2
	// choir has 3 members; Ann's call: hangup
}
