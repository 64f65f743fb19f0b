// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
)

// Benchmarks print numbers, they don't judge them: docs/numbers.md says what
// each should be.

// simPair returns two nodes 25 ms apart on the real clock.
func simPair(b *testing.B) (caller, callee *Node) {
	b.Helper()
	world := simnet.NewWorld(1, time.Now())
	sn := simnet.Start(world)
	b.Cleanup(sn.Close)
	nodes := make([]*Node, 2)
	for i := range nodes {
		var h *simnet.Host
		sn.Do(func(w *simnet.World) {
			h = w.Host("h", simnet.Profile{Delay: 12500 * time.Microsecond}, netip.AddrFrom4([4]byte{45, 0, 0, byte(i + 1)}))
		})
		c, err := sn.Listen(h, 4000)
		if err != nil {
			b.Fatal(err)
		}
		cfg := Config{PacketConn: c}
		if i == 0 {
			cfg.Join = []string{"45.0.0.2:4000"}
		}
		nodes[i] = testNode(b, "n", cfg)
	}
	return nodes[0], nodes[1]
}

// BenchmarkFirstMedia: INVITE to first media at the caller, and link set-up,
// over simnet at 25 ms one way. One round trip is 50 ms.
func BenchmarkFirstMedia(b *testing.B) {
	var link, ringing, first time.Duration
	n := 0
	for b.Loop() {
		a, c := simPair(b)
		start := time.Now()
		if err := a.Join(b.Context()); err != nil {
			b.Fatal(err)
		}
		link += time.Since(start)
		incoming := c.Incoming(b.Context())
		go func() {
			for call := range incoming {
				call.Answer()
				_, out := call.Tracks()
				out.WriteFrame(&media.Frame{Payload: opusSpeech})
			}
		}()
		ticket := mustTicket(b, c)
		for range 2 { // the first one also proves identities; the INVITE's clock starts behind that
			events := a.Events(b.Context())
			call, err := a.Call(b.Context(), ticket, nil)
			if err != nil {
				b.Fatal(err)
			}
			over := c.Events(b.Context())
			for e := range events {
				if r, ok := e.(CallRinging); ok {
					ringing += r.RTT
				}
				if _, ok := e.(CallMedia); ok {
					first += time.Since(call.Started())
					break
				}
			}
			call.HangUp()
			for e := range over {
				if _, ok := e.(CallEnded); ok {
					break
				}
			}
			n++
		}
		a.Close()
		c.Close()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(link)/float64(n/2), "ms-link-up")
	b.ReportMetric(ms(ringing)/float64(n), "ms-ringing")
	b.ReportMetric(ms(first)/float64(n), "ms-first-media")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkMediaPath sends frames through a real call over loopback UDP: app,
// protect, socket, kernel, socket, unprotect, playout buffer. cpu-µs is the
// processor time of the whole process for each frame, both ends included;
// BenchmarkBareUDP is the same trip without any of ours.
func BenchmarkMediaPath(b *testing.B) {
	a, c := testNode(b, "a", Config{}), testNode(b, "c", Config{})
	incoming := c.Incoming(b.Context())
	answered := make(chan *Call, 1)
	go func() {
		for call := range incoming {
			call.Answer()
			answered <- call
		}
	}()
	call, err := a.Call(b.Context(), mustTicket(b, c), nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := call.Answered(b.Context()); err != nil {
		b.Fatal(err)
	}
	other := <-answered
	_, out := call.Tracks()
	in, _ := other.Tracks()
	var f media.Frame
	heard := make(chan struct{})
	go func() { // somebody must play, or the buffer fills
		defer close(heard)
		var f media.Frame
		for in.ReadFrame(context.Background(), &f) == nil {
		}
	}()
	payload := make([]byte, 60) // 24 kb/s
	copy(payload, opusSpeech)
	f = media.Frame{Payload: payload, Samples: media.FrameSamples}
	count := func() uint64 { return other.Stats().PacketsReceived }
	pause := time.NewTimer(0)
	b.ReportAllocs()
	b.ResetTimer()
	start, had, sent := cpuTime(), count(), uint64(0)
	for b.Loop() {
		if err := out.WriteFrame(&f); err != nil {
			b.Fatal(err)
		}
		if sent++; sent%32 == 0 { // a window, so that loopback drops nothing
			for count()-had < sent-16 {
				pause.Reset(50 * time.Microsecond)
				<-pause.C
			}
		}
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(sent)/1e3, "cpu-µs/frame")
	b.StopTimer()
	b.ReportMetric(100*float64(count()-had)/float64(sent), "%received")
	call.HangUp()
	<-heard
}

// BenchmarkBareUDP sends datagrams of the same size between two bare sockets.
func BenchmarkBareUDP(b *testing.B) {
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		return c
	}
	from, to := listen(), listen()
	dst := to.LocalAddr().(*net.UDPAddr).AddrPort()
	got := make(chan struct{}, 1<<16)
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := to.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			got <- struct{}{}
		}
	}()
	p := make([]byte, 12+60+16)
	b.ReportAllocs()
	start, sent, had := cpuTime(), 0, 0
	for b.Loop() {
		if _, err := from.WriteToUDPAddrPort(p, dst); err != nil {
			b.Fatal(err)
		}
		if sent++; sent%32 == 0 {
			for ; had < sent-16; had++ {
				<-got
			}
		}
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(sent)/1e3, "cpu-µs/frame")
}

// memory returns what live heap and stacks take, after collection.
func memory() (heap, stack uint64) {
	for range 8 { // stacks halve at each collection, down to what is in use
		runtime.GC()
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}

// BenchmarkIdleNode: heap and goroutines of a process with one node and no
// links.
func BenchmarkIdleNode(b *testing.B) {
	for b.Loop() {
		n, err := New(Config{Dir: b.TempDir(), NoPortMap: true, NoLAN: true})
		if err != nil {
			b.Fatal(err)
		}
		heap, stack := memory()
		b.ReportMetric(float64(heap)/(1<<20), "MiB-heap")
		b.ReportMetric(float64(stack)/(1<<20), "MiB-stack")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		b.ReportMetric(0, "ns/op")
		n.Close()
	}
}

// BenchmarkLink: what one side of a link adds. Each node has one link already
// when counting starts, so that what a node needs once isn't taken for the
// link's. BenchmarkBareLink in overlay is QUIC's part.
func BenchmarkLink(b *testing.B) {
	const links = 60
	for b.Loop() {
		first, hub := testNode(b, "first", Config{}), testNode(b, "hub", Config{})
		nodes := make([]*Node, links)
		for i := range nodes {
			nodes[i] = testNode(b, "n", Config{})
		}
		join := func(to *Node) {
			for _, n := range nodes {
				if _, err := to.ov.Dial(b.Context(), n.Status().Listen[0]); err != nil {
					b.Fatal(err)
				}
			}
			settle := time.NewTimer(20 * time.Second) // replays are trimmed by then
			<-settle.C
		}
		if _, err := hub.ov.Dial(b.Context(), first.Status().Listen[0]); err != nil {
			b.Fatal(err)
		}
		join(first)
		heap, stack := memory()
		goroutines := runtime.NumGoroutine()
		join(hub)
		heap2, stack2 := memory()
		b.ReportMetric(float64(heap2-heap)/(2*links)/1024, "KiB-heap/side")
		b.ReportMetric(float64(stack2-stack)/(2*links)/1024, "KiB-stack/side")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/(2*links), "goroutines/side")
		b.ReportMetric(0, "ns/op")
		for _, n := range nodes {
			n.Close()
		}
		hub.Close()
		first.Close()
	}
}
