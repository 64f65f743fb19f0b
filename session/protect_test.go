// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/transport/v2/replaydetector"
)

func testKey(b byte) (k Key) {
	for i := range k.key {
		k.key[i] = b
	}
	for i := range k.salt {
		k.salt[i] = b + 1
	}
	return k
}

func protection(t testing.TB, ssrc uint32) (*Protect, *Unprotect) {
	t.Helper()
	p, err := NewProtect(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUnprotect(testKey(1), ssrc)
	if err != nil {
		t.Fatal(err)
	}
	return p, u
}

func header(seq uint16, ssrc uint32) *rtp.Header {
	return &rtp.Header{Version: 2, PayloadType: 111, SequenceNumber: seq, Timestamp: uint32(seq) * 960, SSRC: ssrc}
}

func TestProtectRoundTrip(t *testing.T) {
	p, u := protection(t, 42)
	payload := []byte("twenty milliseconds of voice")
	prefix := []byte("kept")
	for _, room := range []int{0, 2000} { // growing, and in the caller's buffer
		dst := append(make([]byte, 0, len(prefix)+room), prefix...)
		pkt, err := p.RTP(dst, header(uint16(room), 42), payload)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(pkt, prefix) || len(pkt) != len(prefix)+12+len(payload)+16 {
			t.Fatalf("packet of %d bytes", len(pkt))
		}
		pkt = pkt[len(prefix):]
		if bytes.Contains(pkt, payload) {
			t.Error("not encrypted")
		}
		sent := bytes.Clone(pkt)
		var h rtp.Header
		out, err := u.RTP(append(make([]byte, 0, 4+room), prefix...), pkt, &h)
		if err != nil || string(out) != "kept"+string(payload) {
			t.Fatalf("%q, %v", out, err)
		}
		if h.SequenceNumber != uint16(room) || h.SSRC != 42 || h.PayloadType != 111 {
			t.Errorf("header %+v", h)
		}
		if !bytes.Equal(sent, pkt) {
			t.Error("the packet was changed")
		}
	}
}

func TestUnprotectRefuses(t *testing.T) {
	p, u := protection(t, 42)
	good, err := p.RTP(nil, header(1, 42), []byte("voice"))
	if err != nil {
		t.Fatal(err)
	}
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] ^= v
		return b
	}
	stranger, _ := p.RTP(nil, header(1, 43), []byte("voice"))
	for what, pkt := range map[string][]byte{
		"empty":         nil,
		"header only":   good[:12],
		"cut off":       good[:len(good)-1],
		"longer":        append(bytes.Clone(good), 0),
		"too long":      append(bytes.Clone(good), make([]byte, 1500)...),
		"padding":       change(0, 0x20),
		"extension":     change(0, 0x10),
		"CSRC":          change(0, 0x03),
		"version":       change(0, 0x40),
		"sequence":      change(3, 1),
		"timestamp":     change(7, 1),
		"payload":       change(13, 1),
		"tag":           change(len(good)-1, 1),
		"another SSRC":  stranger,
		"SSRC rewriten": change(11, 1),
	} {
		var h rtp.Header
		out, err := u.RTP([]byte("x"), pkt, &h)
		if !errors.Is(err, errMedia) || string(out) != "x" {
			t.Errorf("%s: %q, %v", what, out, err)
		}
	}
	var h rtp.Header
	if _, err := u.RTP(nil, good, &h); err != nil {
		t.Fatal("the control: ", err)
	}
	if _, err := u.RTP(nil, good, &h); !errors.Is(err, errMedia) {
		t.Error("replay accepted")
	}
}

// Even the holder of the key cannot send what was not negotiated.
func TestUnprotectHeaderForms(t *testing.T) {
	p, u := protection(t, 42)
	csrc := header(1, 42)
	csrc.CSRC = []uint32{1}
	ext := header(2, 42)
	if err := ext.SetExtension(1, []byte{1}); err != nil {
		t.Fatal(err)
	}
	pad := header(3, 42)
	pad.Padding = true
	for what, h := range map[string]*rtp.Header{"CSRC": csrc, "extension": ext, "padding": pad} {
		pkt, err := p.RTP(nil, h, []byte{1, 1})
		if err != nil {
			t.Fatal(err)
		}
		var got rtp.Header
		if _, err := u.RTP(nil, pkt, &got); !errors.Is(err, errMedia) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Keys of one direction don't open the other's packets.
func TestUnprotectOtherKey(t *testing.T) {
	p, _ := protection(t, 42)
	u, err := NewUnprotect(testKey(9), 42)
	if err != nil {
		t.Fatal(err)
	}
	pkt, _ := p.RTP(nil, header(1, 42), []byte("voice"))
	var h rtp.Header
	if _, err := u.RTP(nil, pkt, &h); !errors.Is(err, errMedia) {
		t.Error("opened with another key")
	}
}

// The window takes reordering of 255 packets and survives wraps of the sequence
// number; what is older is a replay.
func TestReplayWindow(t *testing.T) {
	p, u := protection(t, 42)
	const n = 70000 // past one wrap
	var h rtp.Header
	old := map[int][]byte{}
	for i := range n {
		pkt, err := p.RTP(nil, header(uint16(i+20000), 42), []byte{1})
		if err != nil {
			t.Fatal(err)
		}
		if i%1000 == 10 {
			old[i] = pkt
			continue
		}
		if _, err := u.RTP(nil, pkt, &h); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if i%1000 == 10+replayWindow-1 {
			if _, err := u.RTP(nil, old[i-replayWindow+1], &h); err != nil {
				t.Fatalf("255 packets late: %v", err)
			}
		}
		if i%1000 == 900 {
			if _, err := u.RTP(nil, old[i-890], &h); err == nil {
				t.Fatal("packet accepted twice")
			}
		}
	}
}

// Our window says what srtp's says, for sequences in all sorts of disorder,
// accepted and not.
func TestWindowAgainstSRTP(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		ours, theirs := newWindow(), replaydetector.New(replayWindow, 1<<48-1)
		at := rng.Uint64N(1 << 17)
		for n := range 5000 {
			switch rng.IntN(50) {
			case 0:
				at += rng.Uint64N(1000)
			case 1:
				at += rng.Uint64N(1 << 20)
			default:
				at++
			}
			index := at - min(at, rng.Uint64N(1+rng.Uint64N(300)))
			mark, ok := ours.Check(index)
			mark2, ok2 := theirs.Check(index)
			if ok != ok2 {
				t.Fatalf("seed %d, packet %d, index %d: %t, srtp says %t", seed, n, index, ok, ok2)
			}
			if ok && rng.IntN(10) > 0 { // one in ten turns out to be forged
				mark()
				mark2()
			}
		}
	}
}

// A jump of the sequence number that only a key holder can make.
func TestJump(t *testing.T) {
	p, u := protection(t, 42)
	var h rtp.Header
	for _, seq := range []uint16{100, 30000, 101} {
		pkt, _ := p.RTP(nil, header(seq, 42), []byte{1})
		_, err := u.RTP(nil, pkt, &h)
		if (err != nil) != (seq == 101) {
			t.Errorf("sequence %d: %v", seq, err)
		}
	}
}

func TestProtectRTCP(t *testing.T) {
	p, u := protection(t, 42)
	compound := []byte{0x80, 201, 0, 1, 0, 0, 0, 42}
	pkt, err := p.RTCP([]byte("kept"), compound)
	if err != nil {
		t.Fatal(err)
	}
	pkt = pkt[4:]
	if !IsRTCP(pkt) || len(pkt) != len(compound)+rtcpOverhead {
		t.Errorf("packet of %d bytes", len(pkt))
	}
	for i := range pkt {
		bad := bytes.Clone(pkt)
		bad[i] ^= 0x04
		if _, err := u.RTCP(nil, bad); !errors.Is(err, errMedia) {
			t.Fatalf("byte %d does not count: %v", i, err)
		}
		if _, err := u.RTCP(nil, pkt[:i]); !errors.Is(err, errMedia) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	out, err := u.RTCP([]byte("kept"), pkt)
	if err != nil || !bytes.Equal(out, append([]byte("kept"), compound...)) {
		t.Errorf("%x, %v", out, err)
	}
	if _, err := u.RTCP(nil, pkt); !errors.Is(err, errMedia) {
		t.Error("replay accepted")
	}
	if _, err := p.RTCP(nil, []byte{1}); err == nil {
		t.Error("one byte protected as RTCP")
	}
}

// srtp keeps state per SSRC before it authenticates: strangers must not reach it.
func TestUnprotectKeepsNoStrangers(t *testing.T) {
	_, u := protection(t, 42)
	pkt := make([]byte, 100)
	pkt[0], pkt[1] = 0x80, 111
	var h rtp.Header
	for i := range 20000 {
		copy(pkt[4:], fmt.Sprintf("%08d", i))
		u.RTP(nil, pkt, &h)
		u.RTCP(nil, pkt)
	}
	if _, ok := u.ctx.ROC(0x30303030); ok {
		t.Error("state for a stranger")
	}
	if _, ok := u.ctx.Index(0x30303030); ok {
		t.Error("RTCP state for a stranger")
	}
}
