// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import (
	"fmt"
	"io"
	"math"

	pion "github.com/pion/opus"
)

// Decoder turns Opus packets into 16-bit PCM at 48 kHz. Channels are
// interleaved; a mono stream plays on both channels of a stereo Decoder and a
// stereo stream is mixed down for a mono one.
//
// A Decoder holds the state of one stream and must see its packets in order.
// It is not safe for concurrent use.
type Decoder struct {
	channels  int
	dec       *pion.Decoder
	pkt       packet
	one       [1 + maxFrameBytes]byte // one frame as a packet of its own
	pcm       []float32
	conceal   concealer
	recovered uint64
}

// NewDecoder returns a Decoder for 1 or 2 channels.
func NewDecoder(channels int) (*Decoder, error) {
	if channels != 1 && channels != 2 {
		return nil, fmt.Errorf("opus: %d channels, want 1 or 2", channels)
	}
	d := &Decoder{
		channels: channels,
		pcm:      make([]float32, frameSamples(3<<3)*channels), // config 3: 60 ms, the longest frame
		conceal:  newConcealer(channels),
	}
	return d, d.reset()
}

// reset gives d a decoder without a past.
func (d *Decoder) reset() error {
	dec, err := pion.NewDecoderWithOutput(SampleRate, d.channels)
	if err != nil {
		return fmt.Errorf("opus: %w", err)
	}
	d.dec = &dec
	return nil
}

// Decode decodes packet into pcm and returns how many samples it holds per
// channel. MaxSamples × channels always suffice; if pcm is shorter than the
// packet the error wraps io.ErrShortBuffer and nothing is decoded. A packet
// that is not valid Opus gives ErrPacket; the caller conceals instead.
//
// Frames of at most one byte are how an encoder says that it stopped sending
// (DTX, RFC 6716 §2.1.9); they are concealed, which means silence.
func (d *Decoder) Decode(packet []byte, pcm []int16) (samplesPerChannel int, err error) {
	p := &d.pkt
	if err := p.parse(packet); err != nil {
		return 0, err
	}
	size := p.samples * d.channels
	if len(pcm) < p.n*size {
		return 0, fmt.Errorf("opus: packet of %d samples for pcm of %d: %w",
			p.n*size, len(pcm), io.ErrShortBuffer)
	}
	for i, frame := range p.frames[:p.n] {
		out := pcm[i*size : (i+1)*size]
		if len(frame) <= 1 {
			d.conceal.fill(out)
			continue
		}
		if err := d.frame(frame, out); err != nil {
			return 0, err
		}
		d.conceal.decoded(out)
	}
	return p.n * p.samples, nil
}

// frame decodes one frame into all of out. The frame goes down as a packet of
// code 0, so that what lies below sees a single, bounded form.
func (d *Decoder) frame(frame []byte, out []int16) (err error) {
	// Long fuzzing never made pion/opus panic, but these bytes come from
	// strangers and a panic would end the whole node.
	defer func() {
		if r := recover(); r != nil {
			err = d.broken(fmt.Sprintf("decoder panicked: %v", r))
		}
	}()
	d.one[0] = d.pkt.toc &^ 3
	in := d.one[:1+copy(d.one[1:], frame)]
	f := d.pcm[:len(out)]
	n, err := d.dec.DecodeToFloat32(in, f)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPacket, err)
	}
	if n*d.channels != len(out) {
		return d.broken(fmt.Sprintf("%d samples, want %d", n, len(out)/d.channels))
	}
	for i, v := range f {
		if v-v != 0 { // NaN or infinite: filters would keep it for ever
			return d.broken("sample is not finite")
		}
		out[i] = int16(max(math.MinInt16, min(math.MaxInt16, math.RoundToEven(float64(v)*32768))))
	}
	return nil
}

// broken counts a decoder whose state can no longer be trusted and replaces it.
func (d *Decoder) broken(why string) error {
	d.recovered++
	if err := d.reset(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrPacket, why)
}

// Conceal fills pcm with up to samples per channel in place of a lost packet
// and returns how many it wrote: fewer when pcm is shorter. The pure Go
// decoder has no model of speech to go on from, so the last 20 ms fade out,
// played backwards, and silence follows; the next decoded packet fades in over
// 2.5 ms. There are no clicks, but a loss is heard sooner than with libopus.
func (d *Decoder) Conceal(pcm []int16, samples int) int {
	samples = max(0, min(samples, len(pcm)/d.channels))
	d.conceal.fill(pcm[:samples*d.channels])
	return samples
}

// Recovered returns how often a packet broke the decoder beneath, so that it
// was replaced by a fresh one. Anything but 0 is worth a bug report.
func (d *Decoder) Recovered() uint64 { return d.recovered }
