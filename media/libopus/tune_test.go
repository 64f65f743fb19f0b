// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
)

// TestSetFrame changes the frame in mid-stream, as rate control does: packets
// last as long as asked, and the decoder goes on without a break.
func TestSetFrame(t *testing.T) {
	e := newEncoder(t, libopus.EncoderConfig{})
	d := newDecoder(t, 1)
	pcm := speech(t)
	out := make([]int16, libopus.MaxSamples)
	packet := make([]byte, libopus.MaxPacket)
	var in, back []int16
	for _, ms := range []int{20, 40, 60, 10, 20} {
		if err := e.SetFrame(time.Duration(ms) * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if e.Samples() != 48*ms {
			t.Fatalf("%d ms: %d samples", ms, e.Samples())
		}
		for range 1200 / ms {
			n, err := e.Encode(pcm[:e.Samples()], packet)
			if err != nil {
				t.Fatal(err)
			}
			in, pcm = append(in, pcm[:e.Samples()]...), pcm[e.Samples():]
			if got, err := media.OpusSamples(packet[:n]); err != nil || got != e.Samples() {
				t.Fatalf("%d ms: packet of %d samples, %v", ms, got, err)
			}
			n, err = d.Decode(packet[:n], out)
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, out[:n]...)
		}
	}
	if len(back) != len(in) {
		t.Fatalf("%d samples came back of %d", len(back), len(in))
	}
	// Around each change: the codec's delay is the same before and after.
	for at := 1200 * 48; at < len(in); at += 1200 * 48 {
		lo, hi := at-200*48, min(at+200*48, len(in)-500)
		best := 0.0
		for shift := range 500 {
			best = max(best, correlation(in[lo:hi], back[lo+shift:]))
		}
		if best < 0.85 {
			t.Errorf("around %d ms: correlation %.3f", at/48, best)
		}
	}
	for _, bad := range []time.Duration{0, 15 * time.Millisecond, 120 * time.Millisecond} {
		if err := e.SetFrame(bad); err == nil {
			t.Errorf("a frame of %v was taken", bad)
		}
	}
	if e.Samples() != 960 {
		t.Error("a refused frame changed the encoder")
	}
}

func TestSetComplexity(t *testing.T) {
	e := newEncoder(t, libopus.EncoderConfig{Channels: 2})
	if e.Channels() != 2 {
		t.Errorf("%d channels", e.Channels())
	}
	pcm, packet := make([]int16, 2*960), make([]byte, libopus.MaxPacket)
	for n := 1; n <= 10; n++ {
		if err := e.SetComplexity(n); err != nil {
			t.Error(err)
		}
		if _, err := e.Encode(pcm, packet); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int{0, 11} {
		if err := e.SetComplexity(n); err == nil {
			t.Errorf("complexity %d was taken", n)
		}
	}
}
