// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"testing"

	"github.com/p2pos/p2pos/media/opus"
)

// BenchmarkDecode decodes 20 ms frames of speech; media/libopus has the same.
func BenchmarkDecode(b *testing.B) {
	packets := sample(b, "speech-a.ogg")
	d := newDecoder(b, 1)
	pcm := make([]int16, opus.MaxSamples)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.Decode(packets[i%len(packets)], pcm); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConceal(b *testing.B) {
	d := newDecoder(b, 1)
	decodeAll(b, d, sample(b, "speech-a.ogg")[:loud])
	pcm := make([]int16, 960)
	b.ReportAllocs()
	for b.Loop() {
		d.Conceal(pcm, 960)
	}
}
