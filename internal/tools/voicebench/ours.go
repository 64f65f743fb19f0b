// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"math/rand/v2"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
	"github.com/p2pos/p2pos/session"
)

// ours is this library's way of a voice: microphone, encoder, redundancy, SRTP,
// playout buffer, decoder, with the reports of RTCP in both directions.
type ours struct {
	outbox
	mic    *voice.Microphone
	stream *session.Stream
	play   *media.Playout
	player *media.Player
	buf    []byte
	// receipts is one that could not wait for the next report.
	receipts []byte
	now      time.Time

	before media.Stats
	scores []float64
	scored time.Time
}

// scoreEvery is how often a call's score is taken while it runs.
const scoreEvery = time.Second

func newOurs(first bool) (*ours, error) {
	enc, dec, err := newCodec(libopus.EncoderConfig{})
	if err != nil {
		return nil, err
	}
	p := session.Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2, Capabilities: session.CapRED}
	if !first {
		p.LocalSSRC, p.RemoteSSRC = p.RemoteSSRC, p.LocalSSRC
	}
	// The keys don't matter to the sound, only that both have the same.
	stream, err := session.NewStream(start, session.Keys{}, p, rand.New(rand.NewPCG(uint64(p.LocalSSRC), 1)))
	if err != nil {
		return nil, err
	}
	o := &ours{stream: stream, play: media.NewPlayout(media.PlayoutConfig{Stretch: true})}
	o.mic = voice.NewMicrophone(o, enc)
	o.player = media.NewPlayer(o.play, dec, 1)
	return o, nil
}

func (o *ours) say(now time.Time, pcm []int16) error {
	o.now = now
	return o.mic.WritePCM(pcm)
}

// WriteFrame takes a frame of the microphone.
func (o *ours) WriteFrame(f *media.Frame) error {
	b, err := o.stream.Send(o.now, f, o.buf[:0])
	if err != nil {
		return err
	}
	if o.buf = b; len(b) > 0 {
		o.put(b)
	}
	return nil
}

// Advice makes the microphone follow what the network can carry.
func (o *ours) Advice() media.Advice { return o.stream.Out.Advice() }

func (o *ours) hear(now time.Time, pcm []int16) { o.player.Pull(now, pcm) }

func (o *ours) receive(now time.Time, b []byte) {
	// What is not genuine cannot happen here; a report has no header.
	if h, payload, err := o.stream.Receive(now, b); err == nil && h != nil {
		o.play.PushRedundant(now, h, payload, o.stream.In.Copies())
	}
	if o.stream.In.Urgent(now) {
		o.receipts = o.stream.In.Receipts(now, o.receipts[:0])
		if b, err := o.stream.Out.Receipts(o.receipts, o.buf[:0]); err == nil && len(b) > 0 {
			o.put(b)
		}
	}
}

func (o *ours) tick(now time.Time) time.Time {
	if !o.stream.Out.ReportAt().After(now) {
		if b, err := o.stream.Report(now, o.buf[:0]); err == nil {
			o.put(b)
		}
	}
	if o.scored.IsZero() {
		o.scored = now.Add(2 * scoreEvery) // the first words are not typical
	}
	if !now.Before(o.scored) {
		o.scored = o.scored.Add(scoreEvery)
		s := o.stats(now)
		s.Score(&o.before)
		o.scores = append(o.scores, s.MOS)
		o.before = s
	}
	next := o.stream.Out.ReportAt()
	if o.scored.Before(next) {
		next = o.scored
	}
	return next
}

func (o *ours) stats(now time.Time) (s media.Stats) {
	o.stream.Stats(&s)
	p := o.play.Stats(now)
	s.TotalSamplesReceived, s.ConcealedSamples = p.Samples, p.Concealed
	s.JitterBufferDelay, s.JitterBufferEmittedCount = p.Delay, p.Emitted
	return s
}

func (o *ours) count() counts {
	p := o.play.Stats(o.now)
	c := counts{samples: p.Samples, concealed: p.Concealed}
	for _, m := range o.scores {
		c.mos += m / float64(len(o.scores))
	}
	return c
}
