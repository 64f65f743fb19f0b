// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/p2pos/p2pos/media/opus"
)

func newDecoder(tb testing.TB, channels int) *opus.Decoder {
	tb.Helper()
	d, err := opus.NewDecoder(channels)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// decodeAll decodes packets one after the other with a mono decoder.
func decodeAll(tb testing.TB, d *opus.Decoder, packets [][]byte) []int16 {
	tb.Helper()
	var out []int16
	pcm := make([]int16, 2*opus.MaxSamples)
	for i, p := range packets {
		n, err := d.Decode(p, pcm)
		if err != nil {
			tb.Fatalf("packet %d: %v", i, err)
		}
		out = append(out, pcm[:n]...)
	}
	return out
}

func TestChannels(t *testing.T) {
	for _, n := range []int{-1, 0, 3} {
		if _, err := opus.NewDecoder(n); err == nil {
			t.Errorf("%d channels were accepted", n)
		}
	}
	packets := sample(t, "speech-a.ogg")[:100]
	mono, stereo := newDecoder(t, 1), newDecoder(t, 2)
	one, two := make([]int16, opus.MaxSamples), make([]int16, 2*opus.MaxSamples)
	for i, p := range packets {
		n, err := mono.Decode(p, one)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stereo.Decode(p, two)
		if err != nil || m != n {
			t.Fatalf("packet %d: %d samples, error %v, want %d", i, m, err, n)
		}
		for j := range n {
			if two[2*j] != one[j] || two[2*j+1] != one[j] {
				t.Fatalf("packet %d sample %d: %d and %d, want %d twice", i, j, two[2*j], two[2*j+1], one[j])
			}
		}
	}
}

func TestErrors(t *testing.T) {
	d := newDecoder(t, 1)
	p := sample(t, "speech-a.ogg")[50]
	if _, err := d.Decode(nil, make([]int16, 960)); !errors.Is(err, opus.ErrPacket) {
		t.Errorf("empty packet: %v", err)
	}
	if _, err := d.Decode(p, make([]int16, 959)); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("short pcm: %v", err)
	}
	if n, err := d.Decode(p, make([]int16, 960)); n != 960 || err != nil {
		t.Errorf("afterwards: %d samples, error %v", n, err)
	}
	if err := opus.NewEncoder(1); !errors.Is(err, opus.ErrNoEncoder) {
		t.Errorf("encoder: %v", err)
	}
}

// TestJoinedPackets puts the frames of several packets into one and expects
// the same sound (RFC 6716 §3.2.5).
func TestJoinedPackets(t *testing.T) {
	packets := sample(t, "speech-a.ogg")[50:68]
	if slices.ContainsFunc(packets, func(p []byte) bool { return p[0] != packets[0][0] }) {
		t.Fatal("the sample changes its mode here: choose another stretch")
	}
	var joined [][]byte
	for six := range slices.Chunk(packets, 6) {
		b := []byte{six[0][0] | 3, 0x80 | 6}
		for _, p := range six[:5] {
			if len(p)-1 > 251 {
				t.Fatal("frame needs a long length")
			}
			b = append(b, byte(len(p)-1))
		}
		for _, p := range six {
			b = append(b, p[1:]...)
		}
		joined = append(joined, b)
	}
	want := decodeAll(t, newDecoder(t, 1), packets)
	got := decodeAll(t, newDecoder(t, 1), joined)
	if len(got) != 18*960 || !slices.Equal(got, want) {
		t.Fatalf("%d samples, want the same %d", len(got), len(want))
	}
}

// TestHostile throws noise at one decoder for long and watches memory: what a
// packet allocates, and what stays.
func TestHostile(t *testing.T) {
	const packets, perPacket, kept = 4000, 16 << 10, 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	pcm := make([]int16, 2*opus.MaxSamples)
	p := make([]byte, 1500)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := newDecoder(t, 2)
	for i := range packets {
		b := p[:rng.IntN(1+rng.IntN(len(p)))]
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		n, err := d.Decode(b, pcm)
		if err != nil && !errors.Is(err, opus.ErrPacket) || n > opus.MaxSamples {
			t.Fatalf("packet %d: %d samples, error %v", i, n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / packets; got > perPacket {
		t.Errorf("%d bytes allocated for each packet, want at most %d", got, perPacket)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > kept {
		t.Errorf("%d bytes kept, want at most %d", got, kept)
	}
	if d.Recovered() != 0 {
		t.Errorf("%d packets broke the decoder", d.Recovered())
	}
}
