// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
)

// BenchmarkBareLink: what quic-go alone takes for one side of a connection
// under our settings, to hold beside BenchmarkLink of the root.
func BenchmarkBareLink(b *testing.B) {
	const links = 60
	open := func() *quic.Transport {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		tr := &quic.Transport{Conn: c}
		b.Cleanup(func() { tr.Close(); c.Close() })
		return tr
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := nodeCertificate(key)
	if err != nil {
		b.Fatal(err)
	}
	memory := func() (heap, stack uint64) {
		for range 8 {
			runtime.GC()
		}
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64(), s[1].Value.Uint64()
	}
	for b.Loop() {
		server, client := open(), open()
		ln, err := server.Listen(tlsConfig(cert, identity.NodeID{}, nil), quicConfig())
		if err != nil {
			b.Fatal(err)
		}
		var conns []*quic.Conn
		link := func() {
			c, err := client.Dial(b.Context(), server.Conn.LocalAddr(), tlsConfig(cert, identity.NodeID{}, nil), quicConfig())
			if err != nil {
				b.Fatal(err)
			}
			s, err := ln.Accept(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			conns = append(conns, c, s)
		}
		link() // what a transport needs once
		heap, stack := memory()
		goroutines := runtime.NumGoroutine()
		for range links {
			link()
		}
		<-time.NewTimer(3 * time.Second).C
		heap2, stack2 := memory()
		b.ReportMetric(float64(heap2-heap)/(2*links)/1024, "KiB-heap/side")
		b.ReportMetric(float64(stack2-stack)/(2*links)/1024, "KiB-stack/side")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/(2*links), "goroutines/side")
		b.ReportMetric(0, "ns/op")
		for _, c := range conns {
			c.CloseWithError(0, "")
		}
	}
}
