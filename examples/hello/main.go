// SPDX-License-Identifier: 0BSD

// Hello is the smallest phone. In one terminal it answers:
//
//	go run ./examples/hello
//
// and prints what to type in another one, here or on another machine, to call:
//
//	go run ./examples/hello p2pos:040g…
//
// Each side says hello.ogg and writes what it hears to a file.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media/ogg"
)

//go:embed hello.ogg
var hello []byte

func main() {
	ctx, node := context.Background(), must(p2pos.New(p2pos.Config{Dir: dir()}))
	defer node.Shutdown(ctx)
	if len(os.Args) < 2 {
		fmt.Println("go run ./examples/hello", must(node.Ticket(24*time.Hour)))
		for call := range node.Incoming(ctx) {
			talk(ctx, call, call.Answer())
		}
	}
	call := must(node.Call(ctx, os.Args[1], nil))
	talk(ctx, call, call.Answered(ctx))
}

// talk plays hello.ogg once and then hangs up; meanwhile it records. err says
// whether there is a call at all.
func talk(ctx context.Context, call *p2pos.Call, err error) {
	if err != nil {
		log.Println(err)
		return
	}
	log.Printf("talking with %s", call.Peer().Short())
	in, out := call.Tracks()
	go func() {
		sound := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(hello)), nil }
		ogg.Play(ctx, sound, false, out) // ends early with an error when the call does
		call.HangUp()
	}()
	file := must(os.Create("heard-by-" + role() + ".ogg"))
	defer file.Close()
	frames := must(ogg.Record(ctx, in, file)) // until the call is over
	log.Printf("call is over; %s holds %d frames of 20 ms", file.Name(), frames)
}

func role() string { return []string{"callee", "caller"}[min(len(os.Args)-1, 1)] }

// dir gives both roles an identity, so that they can be tried on one machine.
func dir() string { return filepath.Join(must(os.UserConfigDir()), "p2pos-hello", role()) }

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatalln("hello:", err)
	}
	return v
}
