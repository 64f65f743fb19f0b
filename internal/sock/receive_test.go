// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"bytes"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
)

// Every first byte goes where design/001-wire.md and RFC 9443 send it.
func TestDemux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(map[string]int)
		count := func(kind string) func(Path, []byte) {
			return func(p Path, b []byte) {
				if p != to("192.0.2.1:9") {
					t.Errorf("%s came from %v", kind, p)
				}
				got[kind]++
			}
		}
		conn := newMemNet().listen("192.0.2.9:1")
		s := Open(Config{
			Conns: []net.PacketConn{conn},
			STUN:  count("stun"),
			Relay: count("relay"),
			Media: func(p Path, b []byte) MediaKind {
				if count("media")(p, b); b[0] < 160 {
					return Genuine
				}
				return Forged
			},
		})
		defer s.Close()
		s.NewPeer().Bind(to("192.0.2.1:9"))
		for first := range 256 {
			b := message(0x0001)
			b[0] = byte(first)
			conn.feed("192.0.2.1:9", b, nil)
		}
		conn.feed("192.0.2.1:9", nil, nil)
		conn.feed("192.0.2.1:9", killer, nil)
		conn.feed("192.0.2.1:9", make([]byte, MaxDatagram+1), nil)
		conn.feed("192.0.2.1:0", shortHeader(), nil)
		conn.feed("0.0.0.0:9", shortHeader(), nil)
		conn.feed("224.0.0.251:5353", shortHeader(), nil)
		synctest.Wait()
		if got["stun"] != 4 || got["relay"] != 1 || got["media"] != 64 {
			t.Errorf("got %v", got)
		}
		if n := s.quic.count; n != 128 {
			t.Errorf("%d packets for QUIC, want 128", n)
		}
		dropped(t, s, map[reason]uint64{
			garbage: 1 + 11 + 4, dtls: 44, badSTUN: 1, unsignalled: 32, oversize: 1, badSource: 3,
		})
	})
}

func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newMemNet().listen("192.0.2.9:1")
		s := Open(Config{Conns: []net.PacketConn{conn}})
		defer s.Close()
		conn.feed("192.0.2.1:9", message(0x0001), nil)
		conn.feed("192.0.2.1:9", []byte{4, 0, 0, 0, 1}, nil)
		conn.feed("192.0.2.1:9", []byte{128, 0, 0, 1}, nil)
		synctest.Wait()
		dropped(t, s, map[reason]uint64{unreadSTUN: 1, relayed: 1, unsignalled: 1})
	})
}

// A longest datagram arrives whole.
func TestLongDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newMemNet().listen("192.0.2.9:1")
		s := Open(Config{Conns: []net.PacketConn{conn}})
		defer s.Close()
		s.NewPeer().Bind(to("192.0.2.1:9"))
		want := bytes.Repeat([]byte{0x41}, MaxDatagram)
		conn.feed("192.0.2.1:9", want, nil)
		if b, _ := readQUIC(t, s); !bytes.Equal(b, want) {
			t.Errorf("%d bytes arrived, or others", len(b))
		}
	})
}

// Strangers can fill counters and nothing else.
func TestFloodFromStrangers(t *testing.T) {
	const packets = 20_000
	synctest.Test(t, func(t *testing.T) {
		conn := newMemNet().listen("192.0.2.9:1")
		s := Open(Config{
			Conns: []net.PacketConn{conn},
			STUN:  func(Path, []byte) {},
			Media: func(Path, []byte) MediaKind { return Forged },
		})
		defer s.Close()
		kinds := [][]byte{shortHeader(), append([]byte{128}, make([]byte, 11)...), killer, {20}, {5}, {4, 0, 0, 0, 0}}
		// The sender's own garbage must not count: it allocates before.
		froms := make([]*net.UDPAddr, packets)
		for i := range froms {
			froms[i] = net.UDPAddrFromAddrPort(source(i))
		}
		flood := func() {
			for i, from := range froms {
				conn.in <- memDatagram{from, kinds[i%len(kinds)], nil}
			}
			synctest.Wait()
		}
		flood() // whatever is allocated once
		before := heap()
		flood()
		if grown := heap() - before; grown > 64<<10 {
			t.Errorf("heap grew by %d bytes", grown)
		}
		if len(s.bound) != 0 || len(s.virtual) != 0 || s.quic.count != 0 || s.Provisional() != 0 {
			t.Errorf("%d bindings, %d peers, %d packets queued, %d provisional", len(s.bound), len(s.virtual), s.quic.count, s.Provisional())
		}
		var sum uint64
		for _, n := range s.Dropped() {
			sum += n
		}
		if sum != 2*packets {
			t.Errorf("%d dropped, want %d", sum, 2*packets)
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
