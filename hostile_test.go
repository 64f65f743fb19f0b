// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"
)

// killer is a Send indication with an empty XOR-PEER-ADDRESS in 32 bytes
// (CVE-2026-54909): unfiltered it panics pion/stun v0.6.1.
var killer = mustHex("00160010" + "2112a442" + "000102030405060708090a0b" + "0012" + "0000" + "00130004" + "61626364")

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// A running call is not disturbed by strangers, and nothing grows: datagrams
// of every first byte, the STUN killer, forged media at 20,000 packets/s.
func TestHostileDatagrams(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		villain := s.listen(s.public("villain"), 666)
		defer villain.Close()
		target := net.UDPAddrFromAddrPort(b.Status().Listen[0])
		ears := s.callee(b)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, 2))
			junk := func(first byte, n int) []byte {
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				p[0] = first
				return p
			}
			time.Sleep(time.Second)
			before, grown := runtime.NumGoroutine(), 0
			for first := range 256 {
				for _, n := range []int{1, 2, 12, 20, 28, 32, 60, 160, 1200} {
					villain.WriteTo(junk(byte(first), n), target)
				}
				time.Sleep(time.Millisecond) // as much as a queue holds
			}
			villain.WriteTo(killer, target)
			// A second of media that nobody has signalled, each packet with
			// an SSRC of its own, RTP and RTCP.
			for range 100 {
				for range 200 {
					p := junk(0x80, 120)
					p[1] = byte(96 + rng.IntN(120))
					binary.BigEndian.PutUint32(p[8:], rng.Uint32())
					villain.WriteTo(p, target)
				}
				time.Sleep(10 * time.Millisecond)
				grown = max(grown, runtime.NumGoroutine()-before)
			}
			// quic-go makes two goroutines for an Initial that it can't refuse
			// unread; ours are random bytes, so there is none.
			if grown > 4 {
				t.Errorf("%d goroutines more", grown)
			}
		})
		s.converse(call, ears, 4*time.Second)
		st := b.Status()
		for _, why := range []string{"ssrc", "bad stun", "dtls", "garbage", "relay", "unknown source"} {
			if st.Dropped[why] == 0 {
				t.Errorf("nothing counted as %q: %v", why, st.Dropped)
			}
		}
		if n := st.Dropped["ssrc"]; n < 15_000 {
			t.Errorf("%d packets of unknown SSRC counted", n)
		}
		if st.Links != 1 {
			t.Errorf("%d links", st.Links)
		}
		t.Log(st.Dropped)
	})
}
