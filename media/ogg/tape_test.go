// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/media"
)

// clockwork gives a frame each 20 ms, n in all.
type clockwork struct {
	n     int
	mark  byte
	delay time.Duration
}

func (c *clockwork) ReadFrame(ctx context.Context, f *media.Frame) error {
	if c.delay > 0 {
		time.Sleep(c.delay)
		c.delay = 0
	}
	if c.n == 0 {
		return io.EOF
	}
	c.n--
	time.Sleep(20 * time.Millisecond)
	*f = media.Frame{Payload: silk(20, c.mark), Samples: 960}
	return nil
}

// sent takes frames as media.Out does.
type sent struct {
	muted bool
	err   error
	n     int
}

func (s *sent) WriteFrame(*media.Frame) error { s.n++; return s.err }
func (s *sent) Muted() bool                   { return s.muted }

// TestTape records both sides of a call that run on goroutines of their own,
// ours muted for a while.
func TestTape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		tape, err := NewTape(&file, 2)
		if err != nil {
			t.Fatal(err)
		}
		out := &sent{}
		ours, theirs := tape.Write(0, out), tape.Read(1, &clockwork{n: 100, mark: 2, delay: time.Second})
		var wg sync.WaitGroup
		wg.Go(func() {
			var f media.Frame
			for theirs.ReadFrame(t.Context(), &f) == nil {
			}
		})
		for i := range 150 {
			out.muted = i >= 50 && i < 75
			if err := ours.WriteFrame(&media.Frame{Payload: silk(20, 1)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		wg.Wait()
		if err := errors.Join(tape.Close(), tape.Close()); err != nil {
			t.Fatal(err)
		}
		if err := ours.WriteFrame(&media.Frame{Payload: silk(20, 1)}); err != nil || out.n != 151 {
			t.Errorf("after Close %d frames passed, %v", out.n, err)
		}
		left, right := split(t, file.Bytes())
		if len(left) < 150 || len(left) > 152 {
			t.Fatalf("%d packets", len(left))
		}
		for i := range 150 {
			if muted := i >= 50 && i < 75; muted != (len(left[i]) == 1) {
				t.Errorf("left %d: % x", i, left[i])
			}
			if heard := i >= 51; heard != (len(right[i]) > 1) {
				t.Errorf("right %d: % x", i, right[i])
			}
		}
	})
}

// fullDisk takes the headers and then has no room.
type fullDisk int

func (f *fullDisk) Write(b []byte) (int, error) {
	if *f--; *f < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

// TestTapeFails proves that a full disk ends the recording and not the call.
func TestTapeFails(t *testing.T) {
	room := fullDisk(3)
	tape, err := NewTape(&room, 1)
	if err != nil {
		t.Fatal(err)
	}
	out := &sent{}
	w := tape.Write(0, out)
	for range 500 {
		if err := w.WriteFrame(&media.Frame{Payload: silk(20, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tape.Close(); err == nil || out.n != 500 {
		t.Errorf("%d frames passed, error %v", out.n, err)
	}
	out.err = io.ErrClosedPipe
	if err := w.WriteFrame(&media.Frame{Payload: silk(20, 1)}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the track's own error: %v", err)
	}
}
