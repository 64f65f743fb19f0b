// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Embedtest is another module's program: it imports P2P OS as anybody would,
// with what is documented and nothing else. Bob answers whoever rings, Ann rings,
// waits until she hears him, and writes so. The tests beside it hold what a program gets
// with the import to a budget.
package main

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	bob := must(p2pos.New(p2pos.Config{Dir: dir(), Name: "Bob", Listen: "127.0.0.1:0"}))
	defer bob.Close()
	ann := must(p2pos.New(p2pos.Config{Dir: dir(), Name: "Ann", Listen: "127.0.0.1:0"}))
	defer ann.Close()
	go func() {
		for call := range bob.Incoming(ctx) {
			must(0, call.Answer())
			_, out := call.Tracks()
			must(0, out.WriteFrame(&media.Frame{Payload: []byte{0xf8, 0xff, 0xfe}})) // 20 ms of Opus
		}
	}()
	call := must(ann.Call(ctx, must(bob.Ticket(time.Hour)), nil))
	must(0, call.Answered(ctx))
	in, _ := call.Tracks()
	for frame := (media.Frame{}); len(frame.Payload) == 0; {
		must(0, in.ReadFrame(ctx, &frame))
	}
	log.Printf("heard %s, %s", call.Peer().Short(), call.Path().Kind)
	events := bob.Events(ctx)
	must(ann.Send(ctx, call.Peer().String(), "well heard"))
	for e := range events {
		if text, ok := e.(p2pos.Message); ok {
			log.Printf("read %q", text.Text)
			break
		}
	}
	must(0, call.HangUp())
}

// dir gives each of the two an identity of its own.
func dir() string { return must(os.MkdirTemp("", "embedtest")) }

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
