// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// TestParse goes through the rules of RFC 6716 §3.4. The TOC byte 15<<3 is
// hybrid full band, 20 ms.
func TestParse(t *testing.T) {
	const toc = 15 << 3
	long := bytes.Repeat([]byte{7}, maxFrameBytes+1)
	tests := []struct {
		name   string
		in     []byte
		frames []string // nil: malformed
	}{
		{"R1 no byte", nil, nil},
		{"code 0", []byte{toc, 1, 2}, []string{"\x01\x02"}},
		{"code 0, nothing sent", []byte{toc}, []string{""}},
		{"R2 code 0 longest", append([]byte{toc}, long[1:]...), []string{string(long[1:])}},
		{"R2 code 0 too long", append([]byte{toc}, long...), nil},
		{"code 1", []byte{toc | 1, 1, 2, 3, 4}, []string{"\x01\x02", "\x03\x04"}},
		{"R3 code 1 odd", []byte{toc | 1, 1, 2, 3}, nil},
		{"code 2", []byte{toc | 2, 1, 9, 3, 4}, []string{"\x09", "\x03\x04"}},
		{"code 2 long form", slices.Concat([]byte{toc | 2, 252, 1}, long[:256], []byte{5}), []string{string(long[:256]), "\x05"}},
		{"R4 code 2 no length", []byte{toc | 2}, nil},
		{"R4 code 2 half a length", []byte{toc | 2, 252}, nil},
		{"R4 code 2 length too large", []byte{toc | 2, 3, 1, 2}, nil},
		{"R5 code 3 no count", []byte{toc | 3}, nil},
		{"R5 code 3 no frame", []byte{toc | 3, 0}, nil},
		{"R5 code 3 six of 20 ms", []byte{toc | 3, 6, 1, 2, 3, 4, 5, 6}, []string{"\x01", "\x02", "\x03", "\x04", "\x05", "\x06"}},
		{"R5 code 3 seven of 20 ms", []byte{toc | 3, 7, 1, 2, 3, 4, 5, 6, 7}, nil},
		{"R6 code 3 CBR padded", []byte{toc | 3, 0x42, 2, 1, 9, 0, 0}, []string{"\x01", "\x09"}},
		{"R6 code 3 CBR uneven", []byte{toc | 3, 2, 1, 2, 3}, nil},
		{"R6 padding beyond the end", []byte{toc | 3, 0x42, 5, 1, 9}, nil},
		{"R6 padding length cut off", []byte{toc | 3, 0x42, 255}, nil},
		{"R6 padding of 254 and 1", slices.Concat([]byte{toc | 3, 0x41, 255, 1, 8}, make([]byte, 255)), []string{"\x08"}},
		{"R7 code 3 VBR", []byte{toc | 3, 0x83, 1, 0, 5, 6, 7}, []string{"\x05", "", "\x06\x07"}},
		{"R7 code 3 VBR too short", []byte{toc | 3, 0x83, 1, 9, 5, 6, 7}, nil},
		{"R7 code 3 VBR last frame too long", slices.Concat([]byte{toc | 3, 0x82, 0}, long), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p packet
			err := p.parse(test.in)
			if test.frames == nil {
				if !errors.Is(err, ErrPacket) {
					t.Fatalf("error %v, want ErrPacket", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range p.frames[:p.n] {
				got = append(got, string(f))
			}
			if !slices.Equal(got, test.frames) || p.samples != 960 {
				t.Fatalf("%d samples, frames %q, want 960, %q", p.samples, got, test.frames)
			}
		})
	}
}

// TestFrameSamples checks RFC 6716 table 2, row by row.
func TestFrameSamples(t *testing.T) {
	silk, hybrid, celt := []int{480, 960, 1920, 2880}, []int{480, 960}, []int{120, 240, 480, 960}
	want := slices.Concat(silk, silk, silk, hybrid, hybrid, celt, celt, celt, celt)
	for config, samples := range want {
		for low := range 8 {
			if got := frameSamples(byte(config<<3 | low)); got != samples {
				t.Errorf("config %d: %d samples, want %d", config, got, samples)
			}
		}
	}
}

// TestRecover breaks the decoder beneath and expects it replaced.
func TestRecover(t *testing.T) {
	d, err := NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]int16, MaxSamples)
	d.dec = nil // the next use panics
	if _, err := d.Decode([]byte{15 << 3, 1, 2, 3}, pcm); !errors.Is(err, ErrPacket) {
		t.Fatalf("error %v, want ErrPacket", err)
	}
	if d.Recovered() != 1 {
		t.Fatalf("recovered %d times, want 1", d.Recovered())
	}
	if n, err := d.Decode([]byte{15 << 3, 1, 2, 3}, pcm); n != 960 || err != nil {
		t.Fatalf("then %d samples, error %v", n, err)
	}
}
