// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
)

// keyStreams are the two ends of a call on which keys were agreed on.
func keyStreams(t *testing.T, codec uint8) (a, b *Stream) {
	t.Helper()
	p := Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2, Capabilities: CapKeys}
	p.Codec.PayloadType = codec
	q := p
	q.LocalSSRC, q.RemoteSSRC = 2, 1
	a, err := NewStream(start, Keys{}, p, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	b, err = NewStream(start, Keys{}, q, rand.New(rand.NewPCG(2, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Keys are heard once each and in order where packets get lost, come twice and
// change places, with the voice between them and without any.
func TestKeysOverLoss(t *testing.T) {
	for seed := range uint64(40) {
		codec := uint8(111)
		if seed%4 == 1 {
			codec = media.EventPayloadType
		}
		a, b := keyStreams(t, codec)
		rng := rand.New(rand.NewPCG(seed, 3))
		var pad media.Keypad
		const dialled = "123456789*0#ABCD5555"
		if err := pad.Dial(start, dialled); err != nil {
			t.Fatal(err)
		}
		var air [][]byte
		got := ""
		land := func(now time.Time) {
			for len(air) > 0 {
				pkt := air[0]
				air = air[1:]
				times := 1
				switch x := rng.Float64(); {
				case x < 0.2:
					times = 0
				case x < 0.3:
					times = 2
				}
				for range times {
					h, payload, err := b.Receive(now, pkt)
					if err == nil && h == nil {
						t.Fatal("a packet of nothing")
					}
					if key, ok := b.In.Key(); ok {
						got += string(key)
						if payload != nil {
							t.Fatal("a key with sound")
						}
					}
					if _, ok := b.In.Key(); ok {
						t.Fatal("one key twice")
					}
				}
			}
		}
		voice := seed%2 == 0
		for i := range 250 {
			now := start.Add(time.Duration(i) * 20 * time.Millisecond)
			for {
				e, first, ok := pad.Next(now)
				if !ok {
					break
				}
				pkt, err := a.Out.SendKey(now, e, first, nil)
				if err != nil {
					t.Fatal(err)
				}
				air = append(air, pkt)
			}
			if voice {
				pkt, err := a.Send(now, frame(60), nil)
				if err != nil {
					t.Fatal(err)
				}
				air = append(air, pkt)
			}
			if len(air) > 1 && rng.IntN(3) == 0 {
				air[0], air[1] = air[1], air[0]
			}
			if rng.IntN(4) > 0 {
				land(now)
			}
		}
		land(start.Add(time.Minute))
		if got != dialled {
			t.Errorf("seed %d: heard %q", seed, got)
		}
		if voice {
			report, err := b.Report(start.Add(time.Minute), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Receive(start.Add(time.Minute), report); err != nil {
				t.Fatal(err)
			}
			var s media.Stats
			if a.Stats(&s); s.PacketsSent != 250+7*uint64(len(dialled)) {
				t.Errorf("seed %d: %d packets sent", seed, s.PacketsSent)
			}
		}
	}
}

// Without the agreement nothing is sent, and what comes is refused; so is what is
// no key, and a flood.
func TestKeysRefused(t *testing.T) {
	plain, _ := streams(t)
	if _, err := plain.Out.SendKey(start, media.Event{Digit: '1'}, true, nil); !errors.Is(err, ErrIncapable) {
		t.Errorf("not agreed on: %v", err)
	}
	_, b := streams(t)
	a, k := keyStreams(t, 111)
	pkt, err := a.Out.SendKey(start, media.Event{Digit: '1'}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Receive(start, pkt); err == nil {
		t.Error("a key was taken without the agreement")
	}
	for i, lie := range [][]byte{{}, {1}, {16, 0, 0, 0}, {1, 2, 3, 4, 5}} {
		h := header(uint16(i+1), uint32(i))
		h.PayloadType = media.EventPayloadType
		pkt, err := a.Out.protect.RTP(nil, h, lie)
		if err != nil {
			t.Fatal(err)
		}
		if h, _, err := k.Receive(start, pkt); !errors.Is(err, errMedia) || h != nil {
			t.Errorf("% x: %v", lie, err)
		}
	}
	heard := 0
	for i := range 1000 { // a thousand keys in a second
		now := start.Add(time.Duration(i) * time.Millisecond)
		pkt, err := a.Out.SendKey(now, media.Event{Digit: '1'}, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		k.Receive(now, pkt)
		if _, ok := k.In.Key(); ok {
			heard++
		}
	}
	if heard < keyBurst || heard > keyBurst+26 {
		t.Errorf("%d keys of a flood were heard", heard)
	}
}

// Keys allocate no more than sound does: srtp's nonce and its replay closure.
func TestKeysAllocate(t *testing.T) {
	a, b := keyStreams(t, 111)
	buf := make([]byte, 0, 1500)
	now := start
	if n := testing.AllocsPerRun(500, func() {
		now = now.Add(20 * time.Millisecond)
		pkt, err := a.Out.SendKey(now, media.Event{Digit: '1', Duration: 960}, false, buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.In.Receive(now, pkt); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations a key packet", n)
	}
}
