// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"testing"

	"github.com/p2pos/p2pos/media/libopus"
)

// BenchmarkDecode decodes 20 ms frames of speech; media/opus has the same.
func BenchmarkDecode(b *testing.B) {
	packets := sample(b, "speech-a.ogg")
	d := newDecoder(b, 1)
	pcm := make([]int16, libopus.MaxSamples)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.Decode(packets[i%len(packets)], pcm); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode encodes 20 ms frames of speech with FEC.
func BenchmarkEncode(b *testing.B) {
	pcm := speech(b)
	e := newEncoder(b, libopus.EncoderConfig{FEC: true, LossPercent: 10})
	p := make([]byte, libopus.MaxPacket)
	frames := len(pcm) / frame
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i % frames * frame
		if _, err := e.Encode(pcm[at:at+frame], p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConceal(b *testing.B) {
	d := newDecoder(b, 1)
	decode(b, d, sample(b, "speech-a.ogg")[:70])
	pcm := make([]int16, frame)
	b.ReportAllocs()
	for b.Loop() {
		d.Conceal(pcm, frame)
	}
}
