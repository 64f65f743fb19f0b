// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// redStreams are the two ends of a call that agreed on RED.
func redStreams(t testing.TB) (a, b *Stream) {
	t.Helper()
	p := Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2, Capabilities: CapRED}
	q := Params{Codec: media.Opus(), LocalSSRC: 2, RemoteSSRC: 1, Capabilities: CapRED}
	k1, k2 := testKey(1), testKey(2)
	a, err := NewStream(start, Keys{Send: k1, Receive: k2}, p, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	b, err = NewStream(start, Keys{Send: k2, Receive: k1}, q, rand.New(rand.NewPCG(2, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// voicePacket is a packet of 20 ms that can be told from others.
func voicePacket(i int) []byte {
	b := bytes.Repeat([]byte{0xa5}, 60)
	b[0], b[1], b[2] = 0xf8, byte(i>>8), byte(i)
	return b
}

// A minute of voice with a fifth of the packets lost: copies come along as soon
// as the receipts tell of it, fill nearly all holes, and keep to a datagram.
func TestRedundantCall(t *testing.T) {
	a, b := redStreams(t)
	rng := rand.New(rand.NewPCG(3, 3))
	play := media.NewPlayout(media.PlayoutConfig{})
	heard, copied, last := 0, 0, -1
	var f media.Frame
	buf := make([]byte, 0, media.MaxPayload)
	const count, calm = 3000, 1500
	for i := range count {
		now := start.Add(time.Duration(i) * 20 * time.Millisecond)
		pkt, err := a.Send(now, &media.Frame{Payload: voicePacket(i), Samples: 960}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(pkt) > 1200 {
			t.Fatalf("a datagram of %d bytes", len(pkt))
		}
		if rng.Float64() > 0.2 {
			h, payload, err := b.Receive(now, pkt)
			if err != nil || !bytes.Equal(payload, voicePacket(i)) || h.PayloadType != media.Opus().PayloadType {
				t.Fatalf("packet %d: %v, %v", i, h, err)
			}
			copied += len(b.In.Copies())
			play.PushRedundant(now, h, payload, b.In.Copies())
		}
		if !now.Before(b.Out.ReportAt()) {
			report, err := b.Report(now, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Receive(now, report); err != nil {
				t.Fatal(err)
			}
		}
		if play.Pop(now, &f, buf); len(f.Payload) > 0 {
			id := int(f.Payload[1])<<8 | int(f.Payload[2])
			if id <= last {
				t.Fatalf("frame %d after %d", id, last)
			}
			if last = id; i >= calm {
				heard++
			}
		}
	}
	if missing := 1 - float64(heard)/(count-calm); missing > 0.03 {
		t.Errorf("%.3f of the frames not heard", missing)
	}
	var s media.Stats
	a.Stats(&s)
	if copied == 0 || s.CopiesSent < uint64(copied) || s.Advice.RED.Len() == 0 || s.Advice.FECLoss < 15 || s.TargetBitrate == 0 || s.LossBurst < 1 {
		t.Errorf("%d copies came: %+v", copied, s)
	}
}

// The peer of an encoder with in-band FEC gets no copy of the frame before.
func TestRedundantBesideFEC(t *testing.T) {
	a, b := redStreams(t)
	f := &media.Frame{Payload: bytes.Repeat([]byte{0x40}, 60), Samples: 960}
	f.Payload[0] = 0x78 // hybrid, 20 ms; the LBRR flag is set
	for i := range 500 {
		now := start.Add(time.Duration(i) * 20 * time.Millisecond)
		pkt, err := a.Send(now, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i%5 != 0 {
			b.Receive(now, pkt)
		}
		if i%25 == 24 {
			report, _ := b.Report(now, nil)
			a.Receive(now, report)
		}
	}
	if got := a.Out.Advice(); got.RED[0] == 1 || got.FECLoss < 15 {
		t.Errorf("%+v", got)
	}
}

// Without the agreement nothing is copied, and a packet with copies is refused.
func TestRedundantOnlyIfAgreed(t *testing.T) {
	a, _ := redStreams(t)
	_, b := streams(t)
	h := header(1, 1)
	h.PayloadType = redPayloadType
	payload, err := media.AppendRED(nil, media.Opus().PayloadType, []media.Copy{{Offset: 960, Payload: voicePacket(1)}}, voicePacket(2))
	if err != nil {
		t.Fatal(err)
	}
	pkt, _ := a.Out.protect.RTP(nil, h, payload)
	if _, _, err := b.Receive(start, pkt); !errors.Is(err, errMedia) {
		t.Errorf("not agreed on, but %v", err)
	}
}

// A genuine packet whose blocks lie about their length is refused and counted
// neither as heard nor as lost.
func TestRedundantLies(t *testing.T) {
	a, b := redStreams(t)
	h := header(1, 1)
	h.PayloadType = redPayloadType
	for i, lie := range [][]byte{{}, {0xff}, {0xef, 0x0f, 0x03, 0xff, 111, 1, 2}, {111}} {
		h.SequenceNumber = uint16(i + 1)
		pkt, _ := a.Out.protect.RTP(nil, h, lie)
		if h, _, err := b.Receive(start, pkt); !errors.Is(err, errMedia) || h != nil || len(b.In.Copies()) != 0 {
			t.Errorf("% x: %v, %v", lie, h, err)
		}
	}
	var s media.Stats
	if b.Stats(&s); s.PacketsReceived != 0 || b.In.Rejected() != 4 {
		t.Errorf("%d received, %d rejected", s.PacketsReceived, b.In.Rejected())
	}
}

// Early receipts tell of a queue before the report does, and cut the rate.
func TestEarlyReceipts(t *testing.T) {
	a, b := streams(t)
	before := a.Out.Advice()
	early := 0
	var at time.Time
	for i := range 200 {
		// A link of half what is sent: each packet is 20 ms later than the last.
		now := start.Add(time.Duration(i) * 20 * time.Millisecond)
		pkt, err := a.Send(now, frame(60), nil)
		if err != nil {
			t.Fatal(err)
		}
		at = now.Add(time.Duration(i) * 20 * time.Millisecond)
		if _, _, err := b.In.Receive(at, pkt); err != nil {
			t.Fatal(err)
		}
		if b.In.Urgent(at) {
			early++
			pkt, err := b.Out.Receipts(b.In.Receipts(at, nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Receive(at, pkt); err != nil {
				t.Fatal(err)
			}
		}
	}
	if early < 2 {
		t.Errorf("%d early reports in 4 s of a growing queue", early)
	}
	if got := a.Out.Advice(); got.Bitrate >= before.Bitrate {
		t.Errorf("%+v in a queue that grows, %+v before", got, before)
	}
	if pkt, err := b.Out.Receipts(b.In.Receipts(at, b.In.Receipts(at, nil)[:0]), []byte("x")); err != nil || string(pkt) != "x" {
		t.Errorf("nothing new: %x, %v", pkt, err)
	}
}

// The hot path with copies allocates no more than without.
func TestRedundantAllocations(t *testing.T) {
	a, b := redStreams(t)
	f := frame(30)
	now := start
	buf := make([]byte, 0, 1500)
	// Make it believe in a lossy net.
	for i := range 200 {
		now = now.Add(20 * time.Millisecond)
		pkt, _ := a.Send(now, f, buf)
		if i%5 != 0 {
			b.In.Receive(now, pkt)
		}
		if i%50 == 49 {
			report, err := b.Report(now, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Receive(now, report); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a.Out.Advice().RED.Len() == 0 {
		t.Fatal("no copies")
	}
	var h *rtp.Header
	n := testing.AllocsPerRun(500, func() {
		now = now.Add(20 * time.Millisecond)
		pkt, err := a.Send(now, f, buf)
		if err != nil {
			t.Fatal(err)
		}
		if h, _, err = b.In.Receive(now, pkt); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 { // srtp's nonce and its replay closure
		t.Errorf("%v allocations a packet", n)
	}
	if len(b.In.Copies()) == 0 || h.PayloadType != media.Opus().PayloadType {
		t.Errorf("no copies in %v", h)
	}
}
