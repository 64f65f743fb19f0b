// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"errors"
	"testing"

	"github.com/p2pos/p2pos/media/opus"
)

// FuzzDecode feeds a stream of packets to one decoder, because what hostile
// bytes break may be state that only a later packet uses. The input is a
// channel count and then packets behind a two-byte length; length 0 is a loss.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		packets := sample(f, name)
		for i := 40; i+6 < len(packets); i += 100 {
			f.Add(stream(1, packets[i:i+6]))
		}
	}
	// Every mode once, mono and stereo, and changes between modes.
	var modes [][]byte
	body := sample(f, "speech-a.ogg")[loud][1:]
	for config := range 32 {
		modes = append(modes, append([]byte{byte(config << 3)}, body...), append([]byte{byte(config<<3 | 4)}, body...))
	}
	f.Add(stream(2, modes))
	f.Add(stream(1, modes))
	f.Add(stream(2, [][]byte{{0x78}, {0x7b, 0x86, 0, 0, 0, 0, 0}, {0xfb, 0x30}, {0x7b, 0x41, 0xff}, nil, {0xff}}))

	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		channels := 1 + int(in[0]&1)
		d := newDecoder(t, channels)
		pcm := make([]int16, channels*opus.MaxSamples)
		in = in[1:]
		for i := 0; i < 64 && len(in) >= 2; i++ { // enough for state to build up
			n := min(int(in[0])<<8|int(in[1]), len(in)-2)
			p := in[2 : 2+n]
			in = in[2+n:]
			if n == 0 {
				d.Conceal(pcm, 960)
				continue
			}
			got, err := d.Decode(p, pcm)
			if err != nil && !errors.Is(err, opus.ErrPacket) {
				t.Fatalf("% x: %v", p, err)
			}
			if err == nil && (got <= 0 || got > opus.MaxSamples || got%120 != 0) {
				t.Fatalf("% x: %d samples", p, got)
			}
			if d.Recovered() != 0 {
				t.Fatalf("% x: broke the decoder: %v", p, err)
			}
		}
	})
}

func stream(channels byte, packets [][]byte) []byte {
	b := []byte{channels - 1}
	for _, p := range packets {
		b = append(b, byte(len(p)>>8), byte(len(p)))
		b = append(b, p...)
	}
	return b
}
