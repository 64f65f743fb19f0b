// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/p2pos/p2pos/media/voice"
	"github.com/p2pos/p2pos/media/wav"
)

// short is a Source that ends after n values.
type short struct {
	voice.Source
	n int
}

func (s *short) ReadPCM(pcm []int16) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	n, err := s.Source.ReadPCM(pcm[:min(len(pcm), s.n)])
	s.n -= n
	return n, err
}

// Sound moves in real time from any source to any sink: here a fifth of a
// second of tone to a file. A Microphone is a sink too, a Speaker a source.
func ExampleCopy() {
	f, err := os.CreateTemp("", "*.wav")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w, err := wav.NewWriter(f, wav.Format{Rate: voice.SampleRate, Channels: 1})
	if err != nil {
		log.Fatal(err)
	}
	tone := &short{&voice.Tone{Hertz: 440}, voice.SampleRate / 5}
	if err := voice.Copy(context.Background(), w, tone, 1); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	i, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(i.Size(), "bytes")
	// Output: 19244 bytes
}
