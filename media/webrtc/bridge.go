// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/pion/rtp"
	pion "github.com/pion/webrtc/v3"

	"github.com/p2pos/p2pos/media"
)

// ErrBridged reports a second Bridge at the same time.
var ErrBridged = errors.New("webrtc: the page is in a call already")

// remindEvery is how often the page is told the bit rate again: it may have
// missed it, or not have been there yet.
const remindEvery = time.Second

// Tracks are a call's media. In and Out are needed, the picture's are not.
type Tracks struct {
	In       *media.In
	Out      *media.Out
	VideoIn  *media.VideoIn
	VideoOut *media.VideoOut
}

// bridge is one call's stay at an Edge.
type bridge struct {
	t Tracks

	// Of the goroutine that reads the page's sound.
	order media.Numbers
	begun bool
	base  uint32 // timestamp of the first packet
	last  uint16
}

// Bridge carries sound and picture between the page and a call, both ways, until
// the call's tracks end (nil), ctx does (its error), or the Edge (see Err).
// Meanwhile nobody else may read or write the tracks. ErrBridged when another
// Bridge runs. One after the other may run on the same Edge.
func (e *Edge) Bridge(ctx context.Context, t Tracks) error {
	if !e.bridging.TryLock() {
		return ErrBridged
	}
	defer e.bridging.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	b := &bridge{t: t}
	e.soundNumber.Begin()
	e.filmNumber.Begin()
	if t.VideoOut != nil {
		t.VideoOut.Begin()
	}
	ended := make(chan error, 3)
	n := 0
	run := func(f func(context.Context) error) {
		if e.spawn(func() { ended <- f(ctx) }) {
			n++
		}
	}
	run(func(ctx context.Context) error { return e.speak(ctx, t.In) })
	if t.VideoIn != nil && e.film != nil {
		run(func(ctx context.Context) error { return e.show(ctx, t.VideoIn) })
	}
	if t.VideoOut != nil && e.film != nil {
		run(func(ctx context.Context) error { return e.steer(ctx, t.VideoOut) })
	}
	e.sink.Store(b)
	var err error
	select {
	case err = <-ended:
		n--
	case <-e.done:
		err = e.Err()
	}
	e.sink.Store(nil)
	cancel()
	for ; n > 0; n-- {
		<-ended
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// voice hands the page's sound to the call.
func (b *bridge) voice(p *rtp.Packet) {
	if len(p.Payload) == 0 {
		return // padding
	}
	m := media.Packet{Sequence: p.SequenceNumber, Timestamp: p.Timestamp, Payload: p.Payload}
	if !b.order.Next(time.Now(), media.ClockRate, &m) {
		return
	}
	if !b.begun {
		// From zero, which is right behind whatever was said before.
		b.begun, b.base, b.last = true, m.Timestamp, m.Sequence-1
	}
	if int16(m.Sequence-b.last) <= 0 {
		return // too late: frames go out in order
	}
	b.last = m.Sequence
	// What the call can't take, it can't take: too long for a packet, or after
	// its end.
	_ = b.t.Out.WriteFrame(&media.Frame{Payload: p.Payload, Timestamp: m.Timestamp - b.base, Marker: p.Marker})
}

// picture hands the page's picture to the call.
func (b *bridge) picture(p *rtp.Packet, codec media.Codec) {
	if b.t.VideoOut == nil || len(p.Payload) == 0 || b.t.VideoOut.Codec().Name != codec.Name {
		return
	}
	_ = b.t.VideoOut.WritePacket(&media.Packet{Sequence: p.SequenceNumber, Timestamp: p.Timestamp, Marker: p.Marker, Payload: p.Payload})
}

// speak sends the call's sound to the page.
func (e *Edge) speak(ctx context.Context, in *media.In) error {
	return e.pass(ctx, in.ReadPacket, &e.soundNumber, media.ClockRate, e.sound)
}

// show sends the call's picture to the page, which begins with one that needs no
// other.
func (e *Edge) show(ctx context.Context, in *media.VideoIn) error {
	select {
	case <-e.up:
		in.RequestKeyframe()
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.pass(ctx, func(ctx context.Context, p *media.Packet) error {
		for {
			if err := in.ReadPacket(ctx, p); err != nil || in.Codec().Name == e.codec.Name {
				return err
			}
		}
	}, &e.filmNumber, media.VideoClockRate, e.film)
}

// pass sends what read returns over a track, under numbers that never come twice
// on this Edge, whatever call they are of.
func (e *Edge) pass(ctx context.Context, read func(context.Context, *media.Packet) error, n *media.Numbers, clock int, to *pion.TrackLocalStaticRTP) error {
	var p media.Packet
	var out rtp.Packet
	for {
		if err := read(ctx, &p); err != nil {
			return err
		}
		if !n.Next(time.Now(), clock, &p) {
			continue
		}
		out.Header = rtp.Header{Version: 2, Marker: p.Marker, SequenceNumber: p.Sequence, Timestamp: p.Timestamp}
		out.Payload = p.Payload
		// An error is about one packet, or the end, which e.done tells.
		_ = to.WriteRTP(&out)
	}
}

// steer tells the page what the call wants of its picture.
func (e *Edge) steer(ctx context.Context, out *media.VideoOut) error {
	for {
		wait, cancel := context.WithTimeout(ctx, remindEvery)
		w, err := out.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			w = media.Wish{Bitrate: out.Bitrate()}
		case err != nil:
			return err
		}
		e.tell(w)
	}
}
