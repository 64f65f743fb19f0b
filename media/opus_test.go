// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"errors"
	"testing"
)

func TestOpusSamples(t *testing.T) {
	long := func(n int, head ...byte) []byte { return append(head, make([]byte, n)...) }
	tests := []struct {
		name string
		p    []byte
		want int // 0 = an error
	}{
		{"SILK 10 ms", []byte{0 << 3, 1}, 480},
		{"SILK 20 ms", []byte{1 << 3, 1}, 960},
		{"SILK 40 ms", []byte{2 << 3, 1}, 1920},
		{"SILK 60 ms wideband", []byte{11 << 3, 1}, 2880},
		{"hybrid 10 ms", []byte{12 << 3, 1}, 480},
		{"hybrid 20 ms", []byte{15 << 3, 1}, 960},
		{"CELT 2.5 ms", []byte{16 << 3, 1}, 120},
		{"CELT 20 ms", []byte{31 << 3, 1}, 960},
		{"a table of contents alone", []byte{1 << 3}, 960},
		{"our silence", []byte(silence), 960},
		{"R1: empty", nil, 0},
		{"R2: longest frame", long(1275, 8), 960},
		{"R2: frame too long", long(1276, 8), 0},
		{"two equal frames", []byte{9, 1, 2}, 1920},
		{"R3: odd", []byte{9, 1, 2, 3}, 0},
		{"two frames with a length", []byte{10, 1, 7, 8, 9}, 1920},
		{"R4: first frame is all", []byte{10, 3, 7, 8, 9}, 1920},
		{"R4: runs over", []byte{10, 4, 7, 8, 9}, 0},
		{"R4: no length", []byte{10}, 0},
		{"R4: half a length", []byte{10, 252}, 0},
		{"two-byte length", long(253, 10, 253, 0), 1920},
		{"three frames, equal", []byte{11, 3, 1, 2, 3}, 2880},
		{"R5: no frames", []byte{11, 0}, 0},
		{"R5: 120 ms", long(48, 16<<3|3, 48), 5760},
		{"R5: 122.5 ms", long(49, 16<<3|3, 49), 0},
		{"R6: no count", []byte{11}, 0},
		{"R6: not equal", []byte{11, 2, 1, 2, 3}, 0},
		{"R6: padding", []byte{11, 0x42, 1, 1, 2, 0}, 1920},
		{"R6: padding runs over", []byte{11, 0x42, 9, 1, 2, 0}, 0},
		{"R6: padding chain", long(254+2, 11, 0x42, 255, 0), 1920},
		{"R6: padding chain cut off", []byte{11, 0x42, 255}, 0},
		{"R7: frames with lengths", []byte{11, 0x82, 1, 7, 8}, 1920},
		{"R7: runs over", []byte{11, 0x82, 3, 7, 8}, 0},
		{"R7: no length", []byte{11, 0x82}, 0},
	}
	for _, tt := range tests {
		got, err := OpusSamples(tt.p)
		if got != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, err, tt.want)
		}
		var e *PayloadError
		if err != nil && (!errors.As(err, &e) || !errors.Is(err, ErrPayload) || e.Len != len(tt.p)) {
			t.Errorf("%s: error %#v", tt.name, err)
		}
	}
}

func FuzzOpusSamples(f *testing.F) {
	f.Add([]byte{8, 1, 2, 3})
	f.Add([]byte{11, 0xc3, 255, 2, 1, 1, 9, 9, 9})
	f.Add([]byte{10, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := OpusSamples(b)
		if (err == nil) != (n > 0) {
			t.Fatalf("%d, %v", n, err)
		}
		if err == nil && (n%minSamples != 0 || n > maxPacketSamples || n%tocSamples(b[0]) != 0) {
			t.Fatalf("% x lasts %d samples", b, n)
		}
		// Code 3 padding and trailing rules depend on the length; the duration
		// does not.
		if c := append(bytes.Clone(b), 0); err == nil && b[0]&3 == 0 && len(b) < maxOpusFrame {
			if m, err := OpusSamples(c); err != nil || m != n {
				t.Fatalf("one byte more: %d, %v", m, err)
			}
		}
	})
}
