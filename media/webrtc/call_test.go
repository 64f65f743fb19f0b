// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/webrtc"
)

// Two pages, two edges, two nodes: what one page says and shows is heard and
// seen in the other, byte for byte.
func TestCallBetweenPages(t *testing.T) {
	type end struct {
		page *page
		edge *webrtc.Edge
		call *p2pos.Call
		over chan error
	}
	node := func(name string) *p2pos.Node {
		n, err := p2pos.New(p2pos.Config{Dir: t.TempDir(), Name: name, Listen: "127.0.0.1:0"})
		must(t, err)
		t.Cleanup(func() { n.Close() })
		return n
	}
	anna, ben := node("anna"), node("ben")
	join := func(p *page, c *p2pos.Call) *end {
		e := &end{p, connect(t, p, media.VP8()), c, make(chan error, 1)}
		in, out := c.Tracks()
		vin, vout := c.VideoTracks()
		go func() {
			e.over <- e.edge.Bridge(context.Background(), webrtc.Tracks{In: in, Out: out, VideoIn: vin, VideoOut: vout})
		}()
		return e
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bens := make(chan *end, 1)
	calls := ben.Incoming(ctx)
	benPage := newPage(t, media.VP8())
	go func() {
		for c := range calls {
			if !c.Video() || c.AnswerVideo() != nil {
				t.Error("no picture to answer")
			}
			bens <- join(benPage, c)
			return
		}
	}()
	ticket, err := ben.Ticket(time.Hour)
	must(t, err)
	call, err := anna.Call(ctx, ticket, &p2pos.CallOptions{Video: true})
	must(t, err)
	must(t, call.Answered(ctx))
	a, b := join(newPage(t, media.VP8()), call), <-bens

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			a.page.say(n)
			b.page.say(n + 1000)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	for _, e := range []*end{a, b} {
		e.page.until("the other page's sound", func() bool { return len(e.page.heard) > 50 })
		e.page.until("the other page's picture", func() bool { return len(e.page.seen) > 50 })
		e.page.until("its wish for a key frame", func() bool { return e.page.plis > 0 })
	}
	close(stop)
	wg.Wait()
	must(t, call.HangUp())
	for i, e := range []*end{a, b} {
		if err := <-e.over; err != nil {
			t.Errorf("bridge: %v", err)
		}
		e.page.mu.Lock()
		voices := 0
		for _, p := range e.page.heard {
			if len(p.Payload) < 10 {
				continue // silence before the page spoke
			}
			voices++
			if n := number(p.Payload); !bytes.Equal(p.Payload, speech(n)) || (n >= 1000) == (i == 1) {
				t.Fatalf("heard %x", p.Payload)
			}
		}
		for _, p := range e.page.seen {
			if n := number(p.Payload); !bytes.Equal(p.Payload, film(n)) || (n >= 1000) == (i == 1) {
				t.Fatalf("seen %x", p.Payload)
			}
		}
		if voices == 0 {
			t.Error("nothing but silence")
		}
		e.page.mu.Unlock()
	}
}
