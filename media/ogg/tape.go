// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/p2pos/p2pos/media"
)

// Tape is a Recorder that runs beside a call: what passes through Read and
// Write is recorded at the moment it passes. An error of the file ends the
// recording, never the call; Close returns it. All methods may be called from
// anywhere.
type Tape struct {
	mu    sync.Mutex // guards what follows
	rec   *Recorder
	start time.Time
	err   error
}

// NewTape begins a recording of 1 or 2 tracks, of which the first is heard
// left and the second right.
func NewTape(w io.Writer, tracks int) (*Tape, error) {
	var seed [16]byte
	crand.Read(seed[:]) // does not fail
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:])))
	rec, err := NewRecorder(w, tracks, Options{Rand: rng})
	if err != nil {
		return nil, err
	}
	return &Tape{rec: rec, start: time.Now()}, nil
}

// Add records a frame of a track now. A frame without payload may be as long
// as it likes and counts as silence.
func (t *Tape) Add(track int, f *media.Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = t.rec.Write(track, time.Since(t.start), f)
	}
}

// Read returns r with everything read from it recorded as a track.
func (t *Tape) Read(track int, r FrameReader) FrameReader { return &tapeReader{t, track, r} }

// Write returns w with everything written to it recorded as a track.
func (t *Tape) Write(track int, w FrameWriter) FrameWriter { return &tapeWriter{t, track, w} }

// Close completes the file, and returns what went wrong while recording. Tracks
// still pass afterwards. It does not close the underlying writer, and may be
// called twice.
func (t *Tape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.rec.Close()
	if t.err == nil || t.err == io.ErrClosedPipe {
		t.err = io.ErrClosedPipe // ends recording; not what went wrong
		return err
	}
	return t.err
}

type tapeReader struct {
	tape  *Tape
	track int
	r     FrameReader
}

func (x *tapeReader) ReadFrame(ctx context.Context, f *media.Frame) error {
	err := x.r.ReadFrame(ctx, f)
	if err == nil {
		x.tape.Add(x.track, f)
	}
	return err
}

type tapeWriter struct {
	tape  *Tape
	track int
	w     FrameWriter
}

// WriteFrame records only what was sent. A muted track is not: its frames are
// silence on the way, and must be in the recording.
func (x *tapeWriter) WriteFrame(f *media.Frame) error {
	err := x.w.WriteFrame(f)
	if err != nil {
		return err
	}
	if m, ok := x.w.(interface{ Muted() bool }); ok && m.Muted() {
		quiet := *f
		quiet.Payload = nil
		if quiet.Samples == 0 {
			quiet.Samples = media.FrameSamples
			if n, err := media.OpusSamples(f.Payload); err == nil {
				quiet.Samples = n
			}
		}
		x.tape.Add(x.track, &quiet)
		return nil
	}
	x.tape.Add(x.track, f)
	return nil
}
