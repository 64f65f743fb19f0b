// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/p2pos/p2pos/media"
)

// FrameWriter takes frames, as *media.Out does.
type FrameWriter interface {
	WriteFrame(*media.Frame) error
}

// FrameReader gives frames in their own time, as *media.In does.
type FrameReader interface {
	ReadFrame(context.Context, *media.Frame) error
}

// maxBehind is how late a frame may be and still be made up for by sending the
// next ones sooner. After more, the machine was asleep, and time goes on from
// now instead of a burst.
const maxBehind = 200 * time.Millisecond

// Play writes a file's packets to w in real time: each at the moment the sound
// before it has ended, reckoned from the first, so that lateness does not add
// up. With loop it opens the file again at its end, without a pause and with
// timestamps that run on. It blocks until the end, an error of w or of ctx.
//
// A file that is no Ogg Opus stream gives a *FormatError. A damaged one is
// played to its end once, without what is damaged, looped or not, and then gives
// the first *CorruptError.
func Play(ctx context.Context, open func() (io.ReadCloser, error), loop bool, w FrameWriter) error {
	p := player{w: w}
	for {
		before := p.clock
		if err := p.file(ctx, open); err != nil || !loop {
			return err
		}
		if p.clock == before {
			return &FormatError{What: "no sound in it"}
		}
	}
}

type player struct {
	w     FrameWriter
	timer *time.Timer
	due   time.Time // of the next frame; zero before the first
	clock uint32
}

// file plays one pass.
func (p *player) file(ctx context.Context, open func() (io.ReadCloser, error)) error {
	src, err := open()
	if err != nil {
		return err
	}
	defer src.Close()
	r, err := NewReader(src)
	if err != nil {
		return err
	}
	var damage error
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.Next()
		var c *CorruptError
		switch {
		case err == io.EOF:
			return damage
		case errors.As(err, &c):
			if damage == nil {
				damage = err
			}
			continue
		case err != nil:
			return err
		}
		samples, err := media.OpusSamples(b)
		if err != nil {
			if damage == nil {
				damage = &CorruptError{Offset: r.pageOff, What: err.Error()}
			}
			continue
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
		f := media.Frame{Payload: b, Timestamp: p.clock, Samples: samples}
		if err := p.w.WriteFrame(&f); err != nil {
			return err
		}
		p.clock += uint32(samples)
		p.due = p.due.Add(time.Duration(samples) * time.Second / media.ClockRate)
	}
}

// wait sleeps until the next frame is due.
func (p *player) wait(ctx context.Context) error {
	now := time.Now()
	ahead := p.due.Sub(now)
	switch {
	case p.due.IsZero() || ahead < -maxBehind:
		p.due = now
		return nil
	case ahead <= 0:
		return nil
	case p.timer == nil:
		p.timer = time.NewTimer(ahead)
	default:
		p.timer.Reset(ahead)
	}
	defer p.timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.timer.C:
		return nil
	}
}

// Record writes what r gives to w as a mono Ogg Opus file (stereo packets are
// kept and played as mono), in the time r sets, until r ends with io.EOF, which
// is success, or ctx ends, which is its error. Either way the file is complete;
// it is playable up to the last second even if the process is killed. Frames
// without payload are written so that players conceal them. Record returns how
// many frames it wrote, those included. It does not close w.
func Record(ctx context.Context, r FrameReader, w io.Writer) (frames int64, err error) {
	var seed [16]byte
	crand.Read(seed[:]) // does not fail
	o := Options{Rand: rand.New(rand.NewPCG(
		binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:])))}
	x, err := NewWriter(w, o)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := x.Close(); err == nil {
			err = e
		}
	}()
	var f media.Frame
	for {
		if err := r.ReadFrame(ctx, &f); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return frames, err
		}
		samples := f.Samples
		if len(f.Payload) > 0 {
			samples = 0 // what the packet says
		}
		if err := x.WritePacket(f.Payload, samples); err != nil {
			return frames, err
		}
		frames++
	}
}
