// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"testing"

	"github.com/p2pos/p2pos/media/libopus"
)

// FuzzDecode checks our side of the border: lengths, bounds and errors.
func FuzzDecode(f *testing.F) {
	for i, p := range sample(f, "speech-a.ogg") {
		if i%60 == 0 {
			f.Add(p, 960, uint8(i))
		}
	}
	f.Add([]byte{0x7b, 0x86}, 5760, uint8(1))
	f.Add([]byte{0xff, 0xff, 0xff}, -1, uint8(0))
	f.Fuzz(func(t *testing.T, p []byte, samples int, mode uint8) {
		channels := 1 + int(mode&1)
		d := newDecoder(t, channels)
		const guard = 12345
		pcm := make([]int16, channels*libopus.MaxSamples+1)
		pcm[len(pcm)-1] = guard
		room := pcm[:len(pcm)-1]
		n, _ := d.Decode(p, room)
		m, _ := d.DecodeFEC(p, room, samples)
		k := d.Conceal(room, samples)
		for _, got := range []int{n, m, k} {
			if got < 0 || got > libopus.MaxSamples {
				t.Fatalf("%d samples", got)
			}
		}
		if pcm[len(pcm)-1] != guard {
			t.Fatal("wrote behind the end")
		}
	})
}
