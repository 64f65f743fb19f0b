// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// sent collects what an Out sends.
type sent struct {
	frames []Frame
	err    error
}

func (s *sent) send(f *Frame) error {
	g := *f
	g.Payload = bytes.Clone(f.Payload)
	s.frames = append(s.frames, g)
	return s.err
}

func TestOut(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	for i := range 3 {
		if err := out.WriteFrame(&Frame{Payload: speech(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range s.frames {
		if f.Timestamp != uint32(i)*960 || f.Samples != 960 || !bytes.Equal(f.Payload, speech(i)) {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	if len(s.frames) != 3 {
		t.Errorf("%d frames sent", len(s.frames))
	}
}

func TestOutRefuses(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	long := make([]byte, MaxPayload+1)
	long[0] = 0x08
	for _, b := range [][]byte{long, {3}, {3, 0}, []byte("\x0bhello, this is not Opus")} {
		var e *PayloadError
		if err := out.WriteFrame(&Frame{Payload: b}); !errors.As(err, &e) || e.Len != len(b) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
	if len(s.frames) > 0 {
		t.Errorf("sent %v", s.frames)
	}
	if err := out.WriteFrame(&Frame{Payload: long[:MaxPayload]}); err != nil {
		t.Errorf("longest payload: %v", err)
	}
	s.err = errors.New("no path")
	if err := out.WriteFrame(&Frame{Payload: speech(1)}); !errors.Is(err, s.err) {
		t.Errorf("sender's error: %v", err)
	}
	out.Close()
	out.Close()
	if err := out.WriteFrame(&Frame{Payload: speech(1)}); err != io.ErrClosedPipe {
		t.Errorf("after Close: %v", err)
	}
}

// TestOutMute: muted, at least ten tiny packets a second go out, none of which
// depends on what was said, and time goes on.
func TestOutMute(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	write := func(n int) (packets []Frame) {
		from := len(s.frames)
		for range n {
			if err := out.WriteFrame(&Frame{Payload: speech(from)}); err != nil {
				t.Fatal(err)
			}
		}
		return s.frames[from:]
	}
	write(10)
	out.Mute(true)
	quiet := write(50)
	if len(quiet) < 10 || len(quiet) > 11 {
		t.Errorf("%d packets in a muted second", len(quiet))
	}
	if quiet[0].Timestamp != 10*960 {
		t.Errorf("the first muted packet came at %d", quiet[0].Timestamp)
	}
	for i, f := range quiet {
		if string(f.Payload) != silence {
			t.Errorf("muted packet % x", f.Payload)
		}
		if i > 0 && f.Timestamp-quiet[i-1].Timestamp > keepSamples {
			t.Errorf("muted packet %d comes %d samples after the one before", i, f.Timestamp-quiet[i-1].Timestamp)
		}
	}
	out.Mute(false)
	if back := write(1); back[0].Timestamp != 60*960 || !bytes.Equal(back[0].Payload, speech(10+len(quiet))) {
		t.Errorf("after mute: %+v", back)
	}
	if out.Muted() {
		t.Error("still muted")
	}
}

// TestOutEmptyFrames: an app that passes on frames with nothing in them keeps
// the path alive too.
func TestOutEmptyFrames(t *testing.T) {
	var s sent
	out := NewOut(s.send)
	out.WriteFrame(&Frame{Payload: speech(0)})
	for range 50 {
		if err := out.WriteFrame(&Frame{Lost: true, Samples: 960}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.frames) - 1; n < 10 || n > 11 {
		t.Errorf("%d packets in a silent second", n)
	}
	out.WriteFrame(&Frame{Payload: speech(1)})
	if f := s.frames[len(s.frames)-1]; f.Timestamp != 51*960 {
		t.Errorf("sound after it at %d", f.Timestamp)
	}
}

func TestOutAllocates(t *testing.T) {
	out := NewOut(func(*Frame) error { return nil })
	f := Frame{Payload: speech(0)}
	if n := testing.AllocsPerRun(1000, func() { out.WriteFrame(&f) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
	out.Mute(true)
	if n := testing.AllocsPerRun(1000, func() { out.WriteFrame(&f) }); n != 0 {
		t.Errorf("%v allocations a muted frame", n)
	}
}

func TestOutConcurrent(t *testing.T) {
	seen := map[uint32]bool{}
	out := NewOut(func(f *Frame) error {
		if seen[f.Timestamp] {
			t.Errorf("timestamp %d twice", f.Timestamp)
		}
		seen[f.Timestamp] = true
		return nil
	})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 200 {
				out.WriteFrame(&Frame{Payload: speech(i)})
				out.Mute(i == 0)
			}
		})
	}
	wg.Wait()
	if len(seen) < 80 {
		t.Errorf("%d frames sent", len(seen))
	}
}
