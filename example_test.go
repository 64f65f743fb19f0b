// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
)

// exampleNode makes a node with an identity of its own, reachable on this
// computer only.
func exampleNode(name string) *p2pos.Node {
	dir, err := os.MkdirTemp("", "p2pos")
	if err != nil {
		log.Fatal(err)
	}
	n, err := p2pos.New(p2pos.Config{Dir: dir, Name: name, Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	return n
}

// Two nodes in one program: bob hands out a ticket, ann calls.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()

	calls := bob.Incoming(ctx)
	go func() {
		for call := range calls {
			fmt.Println(call.Name(), "is calling")
			call.Answer()
			_, out := call.Tracks()
			out.WriteFrame(&media.Frame{Payload: []byte{0xf8, 0xff, 0xfe}}) // an Opus packet
		}
	}()

	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	call, err := ann.Call(ctx, ticket, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := call.Answered(ctx); err != nil {
		log.Fatal(err)
	}
	in, _ := call.Tracks()
	var frame media.Frame
	for len(frame.Payload) == 0 {
		if err := in.ReadFrame(ctx, &frame); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("heard", frame.Samples/48, "ms of Bob:", call.Peer() == bob.ID())
	call.HangUp()
	<-call.Done()
	_, reason, _ := call.End()
	fmt.Println(reason)
	// Output:
	// Ann is calling
	// heard 20 ms of Bob: true
	// hangup
}

// What went wrong with a call is found with errors.Is and errors.As.
func ExampleNode_Call_errors() {
	ann := exampleNode("Ann")
	defer ann.Close()
	nobody, err := identity.NewDevice(time.Now(), "")
	if err != nil {
		log.Fatal(err)
	}
	_, err = ann.Call(context.Background(), nobody.ID().String(), nil)
	fmt.Println(errors.Is(err, p2pos.ErrNotFound))
	var ce *p2pos.CallError
	if errors.As(err, &ce) {
		fmt.Println(ce.Stage, ce.Reason)
	}
	_, err = ann.Call(context.Background(), "my mother", nil)
	fmt.Println(err)
	// Output:
	// true
	// lookup not-found
	// p2pos: identity: not an ID: 8 characters, an ID has 58
}

// Events tell what happens, for display and logs.
func ExampleNode_Events() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	events := bob.Events(ctx)
	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	call, err := ann.Call(ctx, ticket, nil)
	if err != nil {
		log.Fatal(err)
	}
	call.HangUp() // before Bob could answer
	for e := range events {
		switch e := e.(type) {
		case p2pos.Joined:
			fmt.Println("joined")
		case p2pos.CallMissed:
			fmt.Println("missed a call from", e.Name)
			return
		}
	}
	// Output:
	// joined
	// missed a call from Ann
}
