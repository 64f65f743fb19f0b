// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// window is how many datagrams are under way: what fits into maxWait even on
// a machine that does other things.
const window = 64

// BenchmarkConn sends datagrams over loopback, a window at a time as QUIC
// does. Compare with BenchmarkBareTCP.
func BenchmarkConn(b *testing.B) {
	for _, size := range []int{160, 1200} {
		b.Run(map[int]string{160: "160", 1200: "1200"}[size], func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			l, err := Listen(Config{}, "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			dialled, accepted := pair(b, ctx, l, direct())
			credit := make(chan struct{}, window)
			got := make(chan struct{})
			go func() {
				defer close(got)
				buf := make([]byte, MaxDatagram)
				for {
					if _, _, err := accepted.ReadFrom(buf); err != nil {
						return
					}
					select {
					case <-credit:
					default:
					}
				}
			}()
			d := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				credit <- struct{}{}
				if _, err := dialled.WriteTo(d, dialled.RemoteAddr()); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			s := dialled.Stats()
			b.ReportMetric(float64(s.Late+s.Full)/float64(b.N), "lost/op")
			dialled.Close()
			<-got
		})
	}
}

// BenchmarkBareTCP is the same without TLS, queue and rules: one write and two
// reads for each datagram.
func BenchmarkBareTCP(b *testing.B) {
	for _, size := range []int{160, 1200} {
		b.Run(map[int]string{160: "160", 1200: "1200"}[size], func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			w, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			r, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			credit := make(chan struct{}, window)
			got := make(chan struct{})
			go func() {
				defer close(got)
				buf := make([]byte, MaxDatagram)
				for {
					if _, err := io.ReadFull(r, buf[:frameHeader]); err != nil {
						return
					}
					if _, err := io.ReadFull(r, buf[:binary.BigEndian.Uint16(buf)]); err != nil {
						return
					}
					<-credit
				}
			}()
			d := frame(make([]byte, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				credit <- struct{}{}
				if _, err := w.Write(d); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			w.Close()
			<-got
		})
	}
}
