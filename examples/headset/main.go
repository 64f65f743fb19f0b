// SPDX-License-Identifier: 0BSD

// Headset is hello with a microphone and a loudspeaker. It needs libopus, and is
// a module of its own, so that only those who want it get a sound library:
//
//	cd examples/headset
//	go run -tags libopus,nolibopusfile .
//
// prints what to type on another machine, to call:
//
//	go run -tags libopus,nolibopusfile . p2pos:040g…
//
// Wear a headset: nothing here keeps the loudspeaker out of the microphone.
package main

import (
	"context"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !libopus.Available {
		log.Fatalln("headset:", libopus.ErrUnavailable)
	}
	node := must(p2pos.New(p2pos.Config{Dir: filepath.Join(must(os.UserConfigDir()), "p2pos-headset")}))
	defer node.Close()
	if len(os.Args) > 1 {
		call := must(node.Call(ctx, os.Args[1], nil))
		talk(ctx, call, call.Answered(ctx))
		return
	}
	fmt.Println("go run -tags libopus,nolibopusfile .", must(node.Ticket(24*time.Hour)))
	for call := range node.Incoming(ctx) {
		talk(ctx, call, call.Answer())
	}
}

// talk connects the call with the sound card until either side hangs up.
func talk(ctx context.Context, call *p2pos.Call, err error) {
	if err != nil {
		log.Println(err)
		return
	}
	in, out := call.Tracks()
	enc := must(libopus.NewEncoder(libopus.EncoderConfig{DTX: true}))
	dec := must(libopus.NewDecoder(1))
	mic, speaker := voice.NewMicrophone(out, enc), voice.NewSpeaker(in, dec, 1)
	sound, err := open(nil, mic, speaker)
	if err != nil {
		log.Println(err)
		call.HangUp()
		return
	}
	defer sound.close()
	log.Printf("talking with %s; Ctrl-C hangs up", call.Peer().Short())
	for {
		select {
		case <-ctx.Done():
			call.HangUp()
			return
		case <-call.Done():
			log.Println("\nthe call is over")
			return
		case <-time.After(time.Second):
			s := call.Stats()
			fmt.Fprintf(os.Stderr, "\ryou %s  they %s  MOS %.1f ", bar(s.SourceLevel), bar(s.AudioLevel), s.MOS)
		}
	}
}

// bar draws a level of 0 to 1, the loudest, on a scale of 60 dB.
func bar(level float64) string {
	const width, quietest = 20, 60
	db := max(-20*math.Log10(max(level, 1e-9)), 0)
	n := width - int(min(db, quietest))*width/quietest
	return fmt.Sprintf("[%-*s]", width, "####################"[:n])
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatalln("headset:", err)
	}
	return v
}
