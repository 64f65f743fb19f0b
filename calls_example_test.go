// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
)

// exampleCall has from call to, who answers, and returns both ends.
func exampleCall(ctx context.Context, from, to *p2pos.Node) (mine, theirs *p2pos.Call) {
	ticket, err := to.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	calls := to.Incoming(ctx)
	if mine, err = from.Call(ctx, ticket, nil); err != nil {
		log.Fatal(err)
	}
	for theirs = range calls {
		break
	}
	if err := theirs.Answer(); err != nil {
		log.Fatal(err)
	}
	if err := mine.Answered(ctx); err != nil {
		log.Fatal(err)
	}
	return mine, theirs
}

// wait returns the first event of a type.
func wait[E p2pos.Event](ctx context.Context, n *p2pos.Node, do func()) (first E) {
	events := n.Events(ctx)
	do()
	for e := range events {
		if e, ok := e.(E); ok {
			return e
		}
	}
	log.Fatal("it does not come: ", ctx.Err())
	return first
}

// Whoever is called may decline; the caller can tell that from a busy line or
// somebody who is not there.
func ExampleCall_Reject() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	calls := bob.Incoming(ctx)
	go func() {
		for call := range calls {
			call.Reject()
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
	err = call.Answered(ctx)
	fmt.Println(errors.Is(err, p2pos.ErrRejected), errors.Is(err, p2pos.ErrBusy), errors.Is(err, p2pos.ErrOffline))
	stage, reason, _ := call.End()
	fmt.Println(reason, "at", stage)
	// Output:
	// true false false
	// rejected at ring
}

// Either side may part from a call for a while, and learns what the other one
// does.
func ExampleCall_Hold() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	mine, theirs := exampleCall(ctx, ann, bob)
	wait[p2pos.CallHeld](ctx, bob, func() { mine.Hold() })
	me, peer := theirs.Held()
	fmt.Println("Bob holds:", me, "Ann holds:", peer)
	wait[p2pos.CallResumed](ctx, bob, func() { mine.Resume() })
	me, peer = theirs.Held()
	fmt.Println("Bob holds:", me, "Ann holds:", peer)
	// Output:
	// Bob holds: false Ann holds: true
	// Bob holds: false Ann holds: false
}

// A second call rings while one is up: answering it puts the first one on hold.
func ExampleCall_AnswerAnd() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob, cleo := exampleNode("Ann"), exampleNode("Bob"), exampleNode("Cleo")
	defer ann.Close()
	defer bob.Close()
	defer cleo.Close()
	first, _ := exampleCall(ctx, ann, bob)
	ticket, err := bob.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	calls := bob.Incoming(ctx)
	if _, err := cleo.Call(ctx, ticket, nil); err != nil {
		log.Fatal(err)
	}
	wait[p2pos.CallHeld](ctx, ann, func() {
		for call := range calls {
			if call.Name() != "Cleo" {
				continue
			}
			fmt.Println(call.Name(), "is waiting:", call.Waiting())
			call.AnswerAnd(p2pos.HoldOthers)
			break
		}
	})
	_, held := first.Held()
	fmt.Println("Ann is held:", held)
	// Output:
	// Cleo is waiting: true
	// Ann is held: true
}

// Bob brings Ann to Cleo, and is out of it.
func ExampleCall_Transfer() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob, cleo := exampleNode("Ann"), exampleNode("Bob"), exampleNode("Cleo")
	defer ann.Close()
	defer bob.Close()
	defer cleo.Close()
	_, atBob := exampleCall(ctx, ann, bob)
	calls := cleo.Incoming(ctx)
	go func() {
		for call := range calls {
			fmt.Println(call.Name(), "calls Cleo, transferred by Bob:", call.TransferredBy() == bob.ID())
			call.Answer()
		}
	}()
	ticket, err := cleo.Ticket(time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	if err := atBob.Transfer(ctx, ticket); err != nil {
		log.Fatal(err)
	}
	_, reason, _ := atBob.End()
	fmt.Println("Bob's call:", reason)
	// Output:
	// Ann calls Cleo, transferred by Bob: true
	// Bob's call: transferred
}

// Both sides read the words aloud. They are alike, unless somebody sits between.
func ExampleCall_SafetyWords() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	var mine, theirs *p2pos.Call
	wait[p2pos.CallWords](ctx, ann, func() {
		wait[p2pos.CallWords](ctx, bob, func() { mine, theirs = exampleCall(ctx, ann, bob) })
	})
	fmt.Println(len(mine.SafetyWords()), "words, alike:", slices.Equal(mine.SafetyWords(), theirs.SafetyWords()))
	// Output:
	// 4 words, alike: true
}

// Keys of a telephone's keypad reach the other side as events.
func ExampleCall_SendDTMF() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	mine, _ := exampleCall(ctx, ann, bob)
	key := wait[p2pos.CallDTMF](ctx, bob, func() { mine.SendDTMF("7") })
	fmt.Printf("Ann pressed %c\n", key.Digit)
	// Output:
	// Ann pressed 7
}

// The other side is told of a recording before it begins.
func ExampleCall_Record() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ann, bob := exampleNode("Ann"), exampleNode("Bob")
	defer ann.Close()
	defer bob.Close()
	mine, theirs := exampleCall(ctx, ann, bob)
	var file bytes.Buffer
	var stop func() error
	wait[p2pos.CallRecording](ctx, ann, func() {
		var err error
		if stop, err = mine.Record(&file, p2pos.Ours); err != nil {
			log.Fatal(err)
		}
	})
	fmt.Println("Bob knows:", theirs.Recorded())
	_, out := mine.Tracks()
	for range 5 {
		out.WriteFrame(&media.Frame{Payload: []byte{0xf8, 0xff, 0xfe}}) // 20 ms of Opus
	}
	if err := stop(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4s\n", file.Bytes())
	// Output:
	// Bob knows: true
	// OggS
}
