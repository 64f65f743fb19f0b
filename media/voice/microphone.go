// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"fmt"
	"time"

	"github.com/p2pos/p2pos/media"
)

// An Encoder makes Opus packets of PCM, as *libopus.Encoder does.
type Encoder interface {
	Channels() int
	Samples() int // of a frame, per channel
	// Encode makes one packet of one frame. At most two bytes mean that there is
	// nothing to hear and nothing to send (DTX).
	Encode(pcm []int16, packet []byte) (n int, err error)
	SetBitrate(bps int) error
	SetLoss(percent int) error
	SetFEC(on bool) error
	SetFrame(d time.Duration) error
}

// A FrameWriter takes frames, as *media.Out does.
type FrameWriter interface {
	WriteFrame(*media.Frame) error
}

// An Adviser is a FrameWriter that knows what the network can carry, as
// *media.Out does.
type Adviser interface {
	Advice() media.Advice
}

// A leveller is a FrameWriter that shows how loud the sound is, as *media.Out
// does.
type leveller interface{ SetLevel(uint8) }

const (
	// maxFrame is the longest frame an Encoder may ask for, 120 ms.
	maxFrame = SampleRate * 120 / 1000
	// quietEvery is how often a packet of silence is sent while the encoder has
	// nothing to say, 100 ms: ten a second keep the path open, and tell the other
	// side that it is alive.
	quietEvery = SampleRate / 10
)

// Microphone encodes PCM and writes it to a track. It is a [Sink], belongs to
// one goroutine and is as pure as its encoder.
type Microphone struct {
	out    FrameWriter
	advise Adviser  // nil when out gives no advice
	levels leveller // nil when out shows none
	enc    Encoder

	advice media.Advice // as far as the encoder was told
	told   bool
	pcm    []int16 // of the frame that is being filled
	packet [media.MaxPayload]byte
	frame  media.Frame
	time   uint32 // of the next frame
	quiet  int    // samples since the last packet, while there is nothing to hear
	meter  media.Meter
	failed uint64
}

// NewMicrophone returns a Microphone that writes to out. Where out is an
// [Adviser] too, the encoder follows its advice.
func NewMicrophone(out FrameWriter, enc Encoder) *Microphone {
	m := &Microphone{out: out, enc: enc, pcm: make([]int16, 0, maxFrame*2)}
	m.advise, _ = out.(Adviser)
	m.levels, _ = out.(leveller)
	return m
}

// WritePCM takes sound, as many values as there are, and writes a frame each
// time one is full. It returns what the track reports: io.ErrClosedPipe after
// its end. A frame that the encoder refuses is counted and left out.
func (m *Microphone) WritePCM(pcm []int16) error {
	if len(pcm)%m.enc.Channels() != 0 {
		return fmt.Errorf("voice: %d values for %d channels", len(pcm), m.enc.Channels())
	}
	for len(pcm) > 0 {
		if len(m.pcm) == 0 {
			m.follow()
		}
		n := min(m.enc.Samples()*m.enc.Channels()-len(m.pcm), len(pcm))
		m.pcm = append(m.pcm, pcm[:n]...)
		pcm = pcm[n:]
		if len(m.pcm) == m.enc.Samples()*m.enc.Channels() {
			err := m.write()
			m.pcm = m.pcm[:0]
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// write encodes the frame that is full.
func (m *Microphone) write() error {
	samples := m.enc.Samples()
	m.meter.Add(m.pcm)
	if m.levels != nil {
		m.levels.SetLevel(m.meter.Level())
	}
	ts := m.time
	m.time += uint32(samples)
	n, err := m.enc.Encode(m.pcm, m.packet[:])
	if err != nil {
		m.failed++
		return nil
	}
	if n > 2 {
		m.quiet = quietEvery // the first packet of silence goes out at once
	} else {
		// The encoder's own packet and not media.Out's silence: it keeps the
		// decoder in its mode, and so its comfort noise.
		if m.quiet += samples; m.quiet < quietEvery {
			return nil
		}
		m.quiet = 0
	}
	m.frame = media.Frame{Payload: m.packet[:n], Timestamp: ts, Samples: samples}
	return m.out.WriteFrame(&m.frame)
}

// follow tells the encoder what has changed in the advice, between two frames.
// What it cannot do stays as it was: a call goes on with the old rate rather
// than not at all.
func (m *Microphone) follow() {
	if m.advise == nil {
		return
	}
	a, old := m.advise.Advice(), m.advice
	if m.told && a == old {
		return
	}
	if a.Bitrate > 0 && a.Bitrate != old.Bitrate {
		m.note(m.enc.SetBitrate(a.Bitrate))
	}
	if a.FrameDuration > 0 && a.FrameDuration != old.FrameDuration {
		m.note(m.enc.SetFrame(a.FrameDuration))
	}
	if !m.told || a.FECLoss != old.FECLoss {
		m.note(m.enc.SetLoss(a.FECLoss))
		m.note(m.enc.SetFEC(a.FECLoss > 0))
	}
	m.advice, m.told = a, true
}

func (m *Microphone) note(err error) {
	if err != nil {
		m.failed++
	}
}

// Level returns how loud the sound is, in -dBov from 0 to 127, falling slowly as
// a meter does, and whether somebody speaks.
func (m *Microphone) Level() (level uint8, voice bool) { return m.meter.Level(), m.meter.Voice() }

// Failed returns how often the encoder refused a frame or a setting.
func (m *Microphone) Failed() uint64 { return m.failed }
