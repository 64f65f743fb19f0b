// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/opus"
)

// What the two say: synthetic voices, see media/testdata.
var (
	//go:embed speech/speech-a.ogg
	speechA []byte
	//go:embed speech/speech-b.ogg
	speechB []byte
)

// decode returns the sound of an Ogg Opus file. With samples > 0 it is that
// long, the file looped; else it is as long as the file.
func decode(open func() (io.ReadCloser, error), samples int) ([]int16, error) {
	dec, err := opus.NewDecoder(1)
	if err != nil {
		return nil, err
	}
	var pcm []int16
	for {
		before := len(pcm)
		if pcm, err = decodeOnce(dec, open, samples, pcm); err != nil {
			return nil, err
		}
		if samples <= 0 {
			return pcm, nil
		}
		if len(pcm) >= samples {
			return pcm[:samples], nil
		}
		if len(pcm) == before {
			return nil, fmt.Errorf("no sound in the file")
		}
	}
}

// decodeOnce adds one pass through a file to pcm, up to the given length.
func decodeOnce(dec *opus.Decoder, open func() (io.ReadCloser, error), samples int, pcm []int16) ([]int16, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := ogg.NewReader(f)
	if err != nil {
		return nil, err
	}
	buf := make([]int16, opus.MaxSamples)
	for samples <= 0 || len(pcm) < samples {
		p, err := r.Next()
		if err == io.EOF {
			return pcm, nil
		}
		if err != nil {
			return nil, err
		}
		n, err := sound(dec, p, 0, buf)
		if err != nil {
			return nil, err
		}
		pcm = append(pcm, buf[:n]...)
	}
	return pcm, nil
}

// sound decodes one packet; an empty one is concealed for that many samples.
// So is one that is no Opus, after which the error says so.
func sound(dec *opus.Decoder, packet []byte, samples int, pcm []int16) (int, error) {
	if len(packet) == 0 {
		return dec.Conceal(pcm, samples), nil
	}
	n, err := dec.Decode(packet, pcm)
	if err != nil {
		return dec.Conceal(pcm, media.FrameSamples), fmt.Errorf("decode: %w", err)
	}
	return n, nil
}

func fromMemory(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func fromFile(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}
