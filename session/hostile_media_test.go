// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// A peer with the right keys may send what it likes: headers that jump, go back
// or wrap, other payload types, copies and keys that lie, garbage for frames,
// hour-old packets, everything at once. Nothing breaks or grows, and when it
// speaks properly again it is heard within a second.
func TestHostileMedia(t *testing.T) {
	well := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		p := Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2, Capabilities: CapRED | CapKeys}
		q := p
		q.LocalSSRC, q.RemoteSSRC = 2, 1
		a, err := NewStream(start, Keys{}, p, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewStream(start, Keys{}, q, rand.New(rand.NewPCG(2, 2)))
		if err != nil {
			t.Fatal(err)
		}
		in := media.NewPlayout(media.PlayoutConfig{Stretch: true})
		now := start
		var f media.Frame
		buf := make([]byte, 0, media.MaxPayload)
		heard, genuine := 0, 0
		take := func(pkt []byte) {
			h, payload, err := b.Receive(now, pkt)
			switch {
			case err != nil || h == nil:
			case payload == nil:
				in.Skip(h)
			default:
				genuine++
				in.PushRedundant(now, h, payload, b.In.Copies())
			}
			b.In.Key()
			if b.In.Urgent(now) {
				b.In.Receipts(now, nil)
			}
		}
		pop := func() {
			if in.Pop(now, &f, buf); len(f.Payload) > 0 && !f.Lost {
				heard++
			}
			now = now.Add(20 * time.Millisecond)
			s := in.Stats(now)
			if s.Buffer > 500*time.Millisecond || s.Buffered > 64 {
				t.Fatalf("seed %d: the buffer holds %v in %d packets", seed, s.Buffer, s.Buffered)
			}
		}
		var old [][]byte
		h := rtp.Header{Version: 2, SSRC: 1}
		for range 1500 {
			for range rng.IntN(4) {
				switch rng.IntN(8) {
				case 0:
					h.SequenceNumber += uint16(rng.IntN(5000))
				case 1:
					h.Timestamp = rng.Uint32()
				case 2:
					h.Timestamp -= 3600 * media.ClockRate
				case 3:
					h.SequenceNumber += uint16(rng.IntN(200)) - 100
				}
				h.SequenceNumber++
				h.Timestamp += 960
				h.PayloadType = []uint8{111, redPayloadType, media.EventPayloadType, 0, 127}[rng.IntN(5)]
				h.Marker = rng.IntN(2) == 0
				payload := make([]byte, rng.IntN(40))
				for i := range payload {
					payload[i] = byte(rng.Uint32())
				}
				pkt, err := a.Out.protect.RTP(nil, &h, payload)
				if err != nil {
					continue // srtp has its own idea of numbers that go back
				}
				old = append(old, pkt)
				take(pkt)
				take(old[rng.IntN(len(old))])
			}
			pop()
			if rng.IntN(50) == 0 {
				if _, err := b.Report(now, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		h = rtp.Header{Version: 2, SSRC: 1, PayloadType: 111, SequenceNumber: h.SequenceNumber, Timestamp: h.Timestamp}
		for i := range 150 {
			h.SequenceNumber++
			h.Timestamp += 960
			if pkt, err := a.Out.protect.RTP(nil, &h, voicePacket(i)); err == nil {
				take(pkt)
			}
			pop()
			if i == 50 {
				heard, genuine = 0, 0 // the second it has
			}
		}
		// Some have lost SRTP's count by then, to their own harm.
		if heard < genuine*9/10 {
			t.Errorf("seed %d: of %d genuine packets %d were heard after it", seed, genuine, heard)
		}
		if genuine > 90 {
			well++
		}
	}
	if well < 20 {
		t.Errorf("%d peers were heard again", well)
	}
}
