// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"net"
	"testing"
	"time"
)

// One op is one datagram to a public host and back through a NAT, at no
// distance: what the laboratory itself adds to a round trip.
func BenchmarkRoundTrip(b *testing.B) {
	for _, k := range []Kind{Open, EIMAPDF, EIMAPDFBox} {
		b.Run(string(k), func(b *testing.B) {
			l := New(b)
			l.SetDelay(0)
			x, h := l.Public("x"), l.Site("host", k)
			server, err := x.Listen("udp4", ":3478")
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			conn, err := h.Listen("udp4", ":0")
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			to := &net.UDPAddr{IP: x.Addr().AsSlice(), Port: 3478}
			buf := make([]byte, 1200)
			for b.Loop() {
				end := time.Now().Add(patience)
				server.SetReadDeadline(end)
				conn.SetReadDeadline(end)
				if _, err := conn.WriteTo(buf, to); err != nil {
					b.Fatal(err)
				}
				_, from, err := server.ReadFrom(buf)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := server.WriteTo(buf, from); err != nil {
					b.Fatal(err)
				}
				if _, _, err := conn.ReadFrom(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
