// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/webrtc"
)

// far is the other end of a call: what is written to its tracks, and what is
// pushed into them.
type far struct {
	webrtc.Tracks
	mu     sync.Mutex // guards what follows
	frames []media.Frame
	film   []media.Packet
	asked  atomic.Int32
	change chan struct{}
}

func newFar(video media.Codec) *far {
	f := &far{change: make(chan struct{}, 1)}
	nudge := func() {
		select {
		case f.change <- struct{}{}:
		default:
		}
	}
	f.In = media.NewIn(media.PlayoutConfig{})
	f.Out = media.NewOut(func(fr *media.Frame) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		c := *fr
		c.Payload = bytes.Clone(fr.Payload)
		f.frames = append(f.frames, c)
		nudge()
		return nil
	})
	if video.Name != "" {
		f.VideoIn = media.NewVideoIn(func() { f.asked.Add(1); nudge() })
		f.VideoOut = media.NewVideoOut(func(p *media.Packet) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			c := *p
			c.Payload = bytes.Clone(p.Payload)
			f.film = append(f.film, c)
			nudge()
			return nil
		})
		f.VideoIn.Agree(video)
		f.VideoOut.Agree(video)
	}
	return f
}

func (f *far) close() {
	f.In.Close()
	f.Out.Close()
	if f.VideoIn != nil {
		f.VideoIn.Close()
		f.VideoOut.Close()
	}
}

func (f *far) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		f.mu.Lock()
		yes := ok()
		f.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-f.change:
		case <-timer.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// connect opens an Edge for a page.
func connect(t *testing.T, p *page, video media.Codec) *webrtc.Edge {
	t.Helper()
	e, answer, err := webrtc.Open(webrtc.Config{Video: video}, p.offer())
	must(t, err)
	t.Cleanup(func() { e.Close() })
	p.accept(answer)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, e.Connected(ctx))
	return e
}

// Sound and picture go through untouched in both directions, and so does what
// each side wishes of the other's picture.
func TestBridge(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8(), media.H264()} {
		t.Run(codec.Name, func(t *testing.T) {
			p, f := newPage(t, codec), newFar(codec)
			e := connect(t, p, codec)
			over := make(chan error, 1)
			go func() { over <- e.Bridge(context.Background(), f.Tracks) }()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			defer wg.Wait()
			defer close(stop)
			wg.Go(func() { // both talk until all is seen
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for n := 0; ; n++ {
					p.say(n)
					f.In.Push(time.Now(), &rtp.Header{SequenceNumber: uint16(65530 + n), Timestamp: uint32(960 * n), SSRC: 9}, speech(n))
					f.VideoIn.Push(&media.Packet{Sequence: uint16(65500 + n), Timestamp: uint32(3000 * n), Marker: true, Payload: film(n)})
					select {
					case <-tick.C:
					case <-stop:
						return
					}
				}
			})
			f.until(t, "the page is heard", func() bool { return len(f.frames) > 50 })
			f.until(t, "the page is seen", func() bool { return len(f.film) > 50 })
			p.until("the page hears", func() bool { return len(p.heard) > 50 })
			p.until("the page sees", func() bool { return len(p.seen) > 50 })

			f.mu.Lock()
			frames, shots := f.frames, f.film
			for i, fr := range frames {
				if n := number(fr.Payload); !bytes.Equal(fr.Payload, speech(n)) || i > 0 && fr.Timestamp-frames[i-1].Timestamp != uint32(960*(n-number(frames[i-1].Payload))) {
					t.Fatalf("frame %d: %+v after %+v", i, fr, frames[max(i-1, 0)])
				}
			}
			for i, s := range shots {
				n := number(s.Payload)
				if !bytes.Equal(s.Payload, film(n)) || s.Marker != (n%2 == 1) {
					t.Fatalf("picture packet %d: %+v", i, s)
				}
				if i > 0 {
					step := n - number(shots[i-1].Payload)
					if s.Sequence-shots[i-1].Sequence != uint16(step) || s.Timestamp-shots[i-1].Timestamp != uint32(1800*step) {
						t.Fatalf("picture packet %d: %d %d after %d %d", n, s.Sequence, s.Timestamp, shots[i-1].Sequence, shots[i-1].Timestamp)
					}
				}
			}
			f.mu.Unlock()
			p.mu.Lock()
			for list, want := range map[*[]rtp.Packet]func(int) []byte{&p.heard: speech, &p.seen: film} {
				for i, got := range *list {
					n := number(got.Payload)
					if !bytes.Equal(got.Payload, want(n)) {
						t.Fatalf("packet %d: %x", i, got.Payload)
					}
					if before := (*list)[max(i-1, 0)]; got.SequenceNumber-before.SequenceNumber != uint16(n-number(before.Payload)) {
						t.Fatalf("packet %d: %v after %v", i, got.Header, before.Header)
					}
				}
			}
			lens := p.lens
			p.mu.Unlock()

			asked := f.asked.Load()
			must(t, p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: lens}}))
			f.until(t, "the page's wish for a key frame", func() bool { return f.asked.Load() > asked })
			f.VideoOut.Advise(123000)
			f.VideoOut.WantKeyframe()
			p.until("the call's wish for a key frame", func() bool { return p.plis > 0 })
			p.until("the bit rate", func() bool { return p.remb > 123000 && p.remb < 200000 })

			if err := e.Bridge(context.Background(), f.Tracks); !errors.Is(err, webrtc.ErrBridged) {
				t.Errorf("a second bridge: %v", err)
			}
			f.close()
			if err := <-over; err != nil {
				t.Errorf("at the end of the call: %v", err)
			}
			if d := e.Dropped(); d["ssrc"]+d["dtls"]+d["other"] != 0 {
				t.Errorf("dropped %v", d)
			}
		})
	}
}

// One page, two calls after each other: the numbers go on, none comes twice.
func TestBridgeAgain(t *testing.T) {
	p := newPage(t, media.Codec{})
	e := connect(t, p, media.Codec{})
	said := 0
	for round := range 2 {
		f := newFar(media.VP8()) // the page has no place for it
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		go func() { over <- e.Bridge(ctx, f.Tracks) }()
		have := func() (n int) { p.mu.Lock(); defer p.mu.Unlock(); return len(p.heard) }()
		for n := 0; ; n++ {
			f.In.Push(time.Now(), &rtp.Header{SequenceNumber: uint16(n), Timestamp: uint32(960 * n), SSRC: 9}, speech(n))
			p.say(said)
			said++
			p.mu.Lock()
			heard, change := len(p.heard) >= have+20, p.change
			p.mu.Unlock()
			f.mu.Lock()
			spoken := len(f.frames) > 0
			f.mu.Unlock()
			if heard && spoken {
				break
			}
			select {
			case <-change:
			case <-time.After(10 * time.Millisecond):
			}
			if n > 6000 {
				t.Fatalf("heard %t, spoken %t", heard, spoken)
			}
		}
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Errorf("round %d: %v", round, err)
		}
		f.close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	used := map[uint16]bool{}
	for _, got := range p.heard {
		if used[got.SequenceNumber] {
			t.Errorf("number %d twice", got.SequenceNumber)
		}
		used[got.SequenceNumber] = true
	}
}

// An Edge ends with its page.
func TestEdgeEndsWithPage(t *testing.T) {
	t.Parallel() // it takes seconds to be sure
	p := newPage(t, media.VP8())
	e := connect(t, p, media.VP8())
	f := newFar(media.VP8())
	defer f.close()
	over := make(chan error, 1)
	go func() { over <- e.Bridge(context.Background(), f.Tracks) }()
	p.close()
	select {
	case <-e.Done():
	case <-time.After(time.Minute):
		t.Fatal("outlives its page")
	}
	if err := <-over; !errors.Is(err, webrtc.ErrGone) || !errors.Is(e.Err(), webrtc.ErrGone) {
		t.Errorf("bridge %v, edge %v", err, e.Err())
	}
	if err := e.Bridge(t.Context(), f.Tracks); !errors.Is(err, webrtc.ErrGone) {
		t.Errorf("bridge after the end: %v", err)
	}
}

// Close ends everything and leaves nothing, with a page and without.
func TestEdgeCloses(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newPage(t, media.VP8())
	e := connect(t, p, media.VP8())
	f := newFar(media.VP8())
	over := make(chan error, 1)
	go func() { over <- e.Bridge(context.Background(), f.Tracks) }()
	for n := 0; ; n++ { // until the bridge stands
		f.In.Push(time.Now(), &rtp.Header{SequenceNumber: uint16(n), Timestamp: uint32(960 * n), SSRC: 9}, speech(n))
		p.mu.Lock()
		heard, change := len(p.heard) > 0, p.change
		p.mu.Unlock()
		if heard {
			break
		}
		select {
		case <-change:
		case <-time.After(10 * time.Millisecond):
		}
	}
	must(t, e.Close())
	must(t, e.Close())
	if err := <-over; !errors.Is(err, net.ErrClosed) {
		t.Errorf("bridge: %v", err)
	}
	f.close()
	p.close()

	p = newPage(t, media.VP8())
	e, _, err := webrtc.Open(webrtc.Config{}, p.offer()) // and the answer gets lost
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := e.Connected(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a page: %v", err)
	}
	must(t, e.Close())
	if err := e.Connected(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	p.close()
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		<-time.After(10 * time.Millisecond)
	}
}

// killer is the datagram of CVE-2026-54909: a binding request that ends in an
// empty XOR-MAPPED-ADDRESS.
const killer = "000100042112a442000102030405060708090a0b" + "00200000"

// What strangers send to the socket is counted and changes nothing.
func TestEdgeUnderFire(t *testing.T) {
	p := newPage(t, media.VP8())
	e, answer, err := webrtc.Open(webrtc.Config{}, p.offer())
	must(t, err)
	t.Cleanup(func() { e.Close() })
	var port string
	for line := range strings.Lines(answer) {
		if rest, ok := strings.CutPrefix(line, "a=candidate:"); ok {
			f := strings.Fields(rest)
			if port != "" && f[5] != port || f[4] != "127.0.0.1" || f[2] != "udp" {
				t.Errorf("candidate %q", line)
			}
			port = f[5]
		}
	}
	conn, err := net.Dial("udp4", "127.0.0.1:"+port)
	must(t, err)
	defer conn.Close()
	fire := func() {
		for _, s := range []string{
			killer,
			"010100042112a442000102030405060708090a0b" + "00200000", // the same as an answer
			"17fefd00010000000000010010" + strings.Repeat("00", 16), // DTLS application data
			"16fefd0000000000000000ffff",                            // a record longer than the datagram
			"8060000100000000000000ff" + strings.Repeat("00", 30),   // RTP of a stream that was not offered
			"", "40", "ff",
		} {
			b, err := hex.DecodeString(s)
			must(t, err)
			_, err = conn.Write(b)
			must(t, err)
		}
	}
	fire()
	p.accept(answer)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, e.Connected(ctx))
	fire()
	f := newFar(media.VP8())
	defer f.close()
	go e.Bridge(ctx, f.Tracks)
	for n := 0; ; n++ {
		p.say(n)
		f.mu.Lock()
		enough := len(f.frames) > 10
		f.mu.Unlock()
		d := e.Dropped()
		if enough && d["stun"] >= 4 && d["dtls"] >= 4 && d["ssrc"] >= 2 && d["other"] >= 4 {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d frames heard, dropped %v", len(f.frames), d)
		}
	}
}
