// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
)

// plain is an encoder that keeps what it is given and makes packets without
// sound in them: 20 ms and 60 ms of SILK, or DTX where the sound is all zeros.
type plain struct {
	channels int
	samples  int
	heard    []int16
	told     []string
	refuse   bool
}

func (p *plain) Channels() int { return p.channels }
func (p *plain) Samples() int  { return p.samples }

func (p *plain) Encode(pcm []int16, packet []byte) (int, error) {
	if len(pcm) != p.samples*p.channels {
		return 0, fmt.Errorf("%d values", len(pcm))
	}
	if p.refuse {
		return 0, errors.New("no")
	}
	p.heard = append(p.heard, pcm...)
	packet[0] = 9 << 3
	if p.samples == 3*media.FrameSamples {
		packet[0] = 11 << 3
	}
	if !slices.ContainsFunc(pcm, func(v int16) bool { return v != 0 }) {
		return 1, nil
	}
	return copy(packet[1:], "sound") + 1, nil
}

func (p *plain) say(format string, args ...any) error {
	p.told = append(p.told, fmt.Sprintf(format, args...))
	if p.refuse {
		return errors.New("no")
	}
	return nil
}

func (p *plain) SetBitrate(bps int) error { return p.say("bitrate %d", bps) }
func (p *plain) SetLoss(percent int) error {
	return p.say("loss %d", percent)
}
func (p *plain) SetFEC(on bool) error { return p.say("fec %t", on) }
func (p *plain) SetFrame(d time.Duration) error {
	if !p.refuse {
		p.samples = int(d * SampleRate / time.Second)
	}
	return p.say("frame %v", d)
}

// track keeps frames, and advises as it is told to.
type track struct {
	frames []media.Frame
	advice media.Advice
	err    error
}

func (t *track) WriteFrame(f *media.Frame) error {
	g := *f
	g.Payload = slices.Clone(f.Payload)
	t.frames = append(t.frames, g)
	return t.err
}

func (t *track) Advice() media.Advice { return t.advice }

func noise(n int) []int16 {
	rng := rand.New(rand.NewPCG(1, 1))
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(rng.IntN(20000) - 10000)
	}
	return pcm
}

// TestMicrophonePieces writes sound in pieces of all sizes: it is encoded
// without a gap, in frames that follow each other.
func TestMicrophonePieces(t *testing.T) {
	for _, channels := range []int{1, 2} {
		enc, out := &plain{channels: channels, samples: 960}, &track{}
		m := NewMicrophone(out, enc)
		pcm := noise(20 * 960 * channels)
		rest := pcm
		for size := channels; len(rest) > 0; size = (size*3 + channels) % 4001 / channels * channels {
			n := min(max(size, channels), len(rest))
			if err := m.WritePCM(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !slices.Equal(enc.heard, pcm) {
			t.Errorf("%d channels: %d values came of %d, or others", channels, len(enc.heard), len(pcm))
		}
		if len(out.frames) != 20 {
			t.Fatalf("%d frames", len(out.frames))
		}
		for i, f := range out.frames {
			if f.Timestamp != uint32(i*960) || f.Samples != 960 {
				t.Errorf("frame %d at %d, %d samples", i, f.Timestamp, f.Samples)
			}
		}
		if channels == 2 {
			if err := m.WritePCM(pcm[:3]); err == nil {
				t.Error("one and a half samples were taken")
			}
		}
	}
}

// TestMicrophoneAdvice follows the track's advice between frames, and only what
// has changed of it.
func TestMicrophoneAdvice(t *testing.T) {
	enc, out := &plain{channels: 1, samples: 960}, &track{advice: media.DefaultAdvice()}
	m := NewMicrophone(out, enc)
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(enc.told, want) {
			t.Errorf("told %q, want %q", enc.told, want)
		}
		enc.told = nil
	}
	write := func(n int) {
		t.Helper()
		if err := m.WritePCM(noise(n)); err != nil {
			t.Fatal(err)
		}
	}
	write(960)
	expect("bitrate 24000", "frame 20ms", "loss 10", "fec true")
	write(960 + 100)
	expect()
	out.advice = media.Advice{Bitrate: 12000, FrameDuration: 60 * time.Millisecond, FECLoss: 20}
	write(860 - 1)
	expect() // the frame in hand keeps its duration
	write(1)
	write(2879)
	expect("bitrate 12000", "frame 60ms", "loss 20", "fec true")
	write(1)
	if f := out.frames[len(out.frames)-1]; f.Samples != 2880 || f.Timestamp != 3*960 || m.Failed() != 0 {
		t.Errorf("frame of %d samples at %d, %d failed", f.Samples, f.Timestamp, m.Failed())
	}
	out.advice.FECLoss = 0
	write(2880)
	expect("loss 0", "fec false")

	// An encoder that cannot is left in peace after it was asked once.
	enc.refuse = true
	out.advice.FrameDuration = 20 * time.Millisecond
	write(2880)
	expect("frame 20ms")
	if m.Failed() != 2 || enc.samples != 2880 {
		t.Errorf("%d failed", m.Failed())
	}
	enc.refuse = false
	write(2880)
	expect()
	if last := out.frames[len(out.frames)-1]; last.Timestamp != 3*960+3*2880 {
		t.Errorf("after a frame that failed, time is %d", last.Timestamp)
	}
}

// TestMicrophoneDTX sends silence at once, then ten packets a second, and sound
// again at once; timestamps tell the gaps.
func TestMicrophoneDTX(t *testing.T) {
	for _, samples := range []int{960, 2880} {
		enc, out := &plain{channels: 1, samples: samples}, &track{}
		m := NewMicrophone(out, enc)
		for _, pcm := range [][]int16{noise(5760), make([]int16, 2*SampleRate), noise(5760)} {
			if err := m.WritePCM(pcm); err != nil {
				t.Fatal(err)
			}
		}
		var last uint32
		quiet := 0
		for i, f := range out.frames {
			if step := f.Timestamp - last; i > 0 && int(step) > quietEvery+samples {
				t.Errorf("%d samples between packets", step)
			}
			last = f.Timestamp
			if len(f.Payload) == 1 {
				quiet++
			}
		}
		first := slices.IndexFunc(out.frames, func(f media.Frame) bool { return len(f.Payload) == 1 })
		if ts := out.frames[first].Timestamp; ts != 5760 {
			t.Errorf("silence is told at %d", ts)
		}
		if end := out.frames[len(out.frames)-1]; int(end.Timestamp)/samples != (2*SampleRate+2*5760)/samples-1 {
			t.Errorf("last frame at %d", end.Timestamp)
		}
		if quiet > 2*11 {
			t.Errorf("%d packets of silence in 2 s", quiet)
		}
	}
}

func TestMicrophoneEnd(t *testing.T) {
	out := &track{err: io.ErrClosedPipe}
	m := NewMicrophone(out, &plain{channels: 1, samples: 960})
	if err := m.WritePCM(noise(5000)); !errors.Is(err, io.ErrClosedPipe) || len(out.frames) != 1 {
		t.Errorf("%v after %d frames", err, len(out.frames))
	}
}

func TestMicrophoneLevel(t *testing.T) {
	m := NewMicrophone(&track{}, &plain{channels: 1, samples: 960})
	if level, voice := m.Level(); level != media.Silence || voice {
		t.Errorf("before: %d, %v", level, voice)
	}
	if err := m.WritePCM(make([]int16, 9600)); err != nil {
		t.Fatal(err)
	}
	if err := m.WritePCM(noise(960)); err != nil {
		t.Fatal(err)
	}
	if level, voice := m.Level(); level > 20 || !voice {
		t.Errorf("with sound: %d, %v", level, voice)
	}
}
