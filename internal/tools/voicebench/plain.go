// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/pion/interceptor/pkg/jitterbuffer"
	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

// plain is what an app builds from well-known parts: the same codec with
// in-band FEC for the loss there will be, RTP, and pion's jitter buffer.
type plain struct {
	outbox
	mic    *voice.Microphone
	dec    *libopus.Decoder
	pack   *media.Packetizer
	buffer *jitterbuffer.JitterBuffer
	now    time.Time

	pcm  []int16
	fifo []int16
	n    counts
}

// newPlain makes one that starts to play after so many packets; 0 is pion's
// own choice, 50.
func newPlain(first bool, startCount uint16, loss float64) (*plain, error) {
	enc, dec, err := newCodec(libopus.EncoderConfig{FEC: loss > 0, LossPercent: int(100 * loss)})
	if err != nil {
		return nil, err
	}
	ssrc := uint32(1)
	if !first {
		ssrc = 2
	}
	p := &plain{
		dec:  dec,
		pack: media.NewPacketizer(ssrc, 111, rand.New(rand.NewPCG(uint64(ssrc), 1))),
		pcm:  make([]int16, libopus.MaxSamples),
	}
	if startCount > 0 {
		p.buffer = jitterbuffer.New(jitterbuffer.WithMinimumPacketCount(startCount))
	} else {
		p.buffer = jitterbuffer.New()
	}
	p.mic = voice.NewMicrophone(p, enc)
	return p, nil
}

func (p *plain) say(now time.Time, pcm []int16) error {
	p.now = now
	return p.mic.WritePCM(pcm)
}

// tag is what SRTP adds, so that both sides send packets of one kind.
const tag = 16

// WriteFrame takes a frame of the microphone.
func (p *plain) WriteFrame(f *media.Frame) error {
	pkt := rtp.Packet{Payload: f.Payload}
	p.pack.Next(*f, &pkt.Header)
	b, err := pkt.Marshal()
	if err != nil {
		return err
	}
	p.put(append(b, make([]byte, tag)...))
	return nil
}

func (p *plain) receive(_ time.Time, b []byte) {
	pkt := &rtp.Packet{}
	if pkt.Unmarshal(append([]byte(nil), b[:len(b)-tag]...)) == nil {
		p.buffer.Push(pkt)
	}
}

func (p *plain) hear(_ time.Time, pcm []int16) {
	for len(p.fifo) < len(pcm) {
		p.fifo = append(p.fifo, p.next()...)
	}
	n := copy(pcm, p.fifo)
	p.fifo = append(p.fifo[:0], p.fifo[n:]...)
}

// next plays the packet whose turn it is: itself, out of the next one's FEC, or
// concealed.
func (p *plain) next() []int16 {
	pkt, err := p.buffer.Pop()
	if errors.Is(err, jitterbuffer.ErrPopWhileBuffering) {
		return make([]int16, media.FrameSamples)
	}
	p.n.samples += media.FrameSamples
	if err == nil {
		if n, err := p.dec.Decode(pkt.Payload, p.pcm); err == nil {
			return p.pcm[:n]
		}
	} else if head := p.buffer.PlayoutHead(); p.newer(head) {
		p.buffer.SetPlayoutHead(head + 1)
		if after, err := p.buffer.PeekAtSequence(head + 1); err == nil && media.HasFEC(after.Payload) {
			if n, err := p.dec.DecodeFEC(after.Payload, p.pcm, media.FrameSamples); err == nil {
				return p.pcm[:n]
			}
		}
	}
	p.n.concealed += media.FrameSamples
	return p.pcm[:p.dec.Conceal(p.pcm, media.FrameSamples)]
}

// newer says whether something behind the missing packet has come, so that it
// is lost. Otherwise the buffer has run dry and must be waited for: one that
// went on would find every later packet late.
func (p *plain) newer(head uint16) bool {
	last, err := p.buffer.Peek(false)
	return err == nil && int16(last.SequenceNumber-head) > 0
}

func (p *plain) tick(now time.Time) time.Time { return now.Add(time.Hour) }

func (p *plain) count() counts { return p.n }
