// SPDX-License-Identifier: 0BSD

//go:build cgo && libopus

package main

import (
	"context"
	"testing"
	"time"

	"github.com/gen2brain/malgo"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

// whistler stands in front of a microphone that records nothing, since there is
// no sound card: what comes out of it is a tone, at the card's pace.
type whistler struct {
	voice.Sink
	tone voice.Tone
	pcm  []int16
}

func (w *whistler) WritePCM(pcm []int16) error {
	w.pcm = append(w.pcm[:0], pcm...)
	w.tone.ReadPCM(w.pcm)
	return w.Sink.WritePCM(w.pcm)
}

// phone is a node on this machine.
func phone(t *testing.T) *p2pos.Node {
	t.Helper()
	n, err := p2pos.New(p2pos.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", NoLAN: true, NoPortMap: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// plug connects a call with a sound card that keeps time and makes no sound, and
// whistles into it.
func plug(t *testing.T, call *p2pos.Call) {
	t.Helper()
	in, out := call.Tracks()
	enc, err := libopus.NewEncoder(libopus.EncoderConfig{DTX: true})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := libopus.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	mic := &whistler{Sink: voice.NewMicrophone(out, enc)}
	c, err := open([]malgo.Backend{malgo.BackendNull + 1}, mic, voice.NewSpeaker(in, dec, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
}

// TestCall is a whole call from sound card to sound card, over loopback: both
// hear the other whistle.
func TestCall(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, b := phone(t), phone(t)
	answered := make(chan *p2pos.Call, 1)
	incoming := b.Incoming(ctx)
	go func() {
		for call := range incoming {
			if call.Answer() == nil {
				answered <- call
			}
		}
	}()
	ticket, err := b.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	call, err := a.Call(ctx, ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Answered(ctx); err != nil {
		t.Fatal(err)
	}
	other := <-answered
	plug(t, call)
	plug(t, other)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, o := call.Stats(), other.Stats()
		// The tone is at a quarter of full scale, 15 dB below the loudest.
		if s.AudioLevel > 0.1 && o.AudioLevel > 0.1 && s.SourceLevel > 0.1 && s.PacketsReceived > 100 && o.PacketsReceived > 100 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nothing is heard: %+v; %+v", s, o)
		}
	}
	if err := call.HangUp(); err != nil {
		t.Error(err)
	}
	select {
	case <-other.Done():
	case <-ctx.Done():
		t.Error("the other side does not hang up")
	}
}
