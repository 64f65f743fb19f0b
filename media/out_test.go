// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
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

// TestOutKeep: signs of life fill a pause, and what is said after it has the
// timestamp of when it was said, whether the app counts the pause or not.
func TestOutKeep(t *testing.T) {
	for _, counts := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var s sent
			out := NewOut(s.send)
			begin := time.Now()
			var last time.Time
			var offset uint32
			check := func(slack int) {
				t.Helper()
				f := s.frames[len(s.frames)-1]
				if len(s.frames) == 1 {
					offset = f.Timestamp
				}
				want := toSamples(time.Since(begin))
				if d := int(int32(f.Timestamp - offset - uint32(want))); d < -slack || d > slack {
					t.Errorf("counts %v: %d frames: timestamp is off by %d samples", counts, len(s.frames), d)
				}
				if n := len(s.frames); n > 1 && int32(f.Timestamp-s.frames[n-2].Timestamp) < FrameSamples {
					t.Errorf("counts %v: timestamps %d and %d overlap", counts, s.frames[n-2].Timestamp, f.Timestamp)
				}
				last = time.Now()
			}
			keep := func() {
				if err := out.Keep(time.Now(), time.Since(last)); err != nil {
					t.Fatal(err)
				}
				if f := s.frames[len(s.frames)-1]; string(f.Payload) != silence {
					t.Errorf("a sign of life of % x", f.Payload)
				}
				check(FrameSamples)
			}
			keep() // an app that has not spoken yet
			for pause := 120 * ms; pause < 3*time.Second; pause = pause*3/2 + 7*ms {
				for range 3 {
					time.Sleep(120 * ms)
					keep()
				}
				time.Sleep(pause % (120 * ms))
				for range 10 {
					f := Frame{Payload: speech(1)}
					if counts {
						f.Timestamp = uint32(toSamples(time.Since(begin))) + 77777
					}
					if err := out.WriteFrame(&f); err != nil {
						t.Fatal(err)
					}
					check(FrameSamples)
					time.Sleep(20 * ms)
				}
				time.Sleep(100 * ms)
			}
			if err := out.Keep(time.Now(), -time.Second); err != nil {
				t.Error(err)
			}
			out.Close()
			n := len(s.frames)
			if err := out.Keep(time.Now(), 0); err != nil || len(s.frames) != n {
				t.Errorf("after Close: %v, %d frames", err, len(s.frames)-n)
			}
		})
	}
}

// TestOutKeepClose: words that begin right behind a sign of life, again and again,
// do not push the clock ahead.
func TestOutKeepClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sent
		out := NewOut(s.send)
		begin := time.Now()
		for range 50 {
			if err := out.WriteFrame(&Frame{Payload: speech(1)}); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				time.Sleep(120 * ms)
				if err := out.Keep(time.Now(), 120*ms); err != nil {
					t.Fatal(err)
				}
			}
		}
		ahead := toDuration(int64(s.frames[len(s.frames)-1].Timestamp)) - time.Since(begin)
		if ahead < -usualFrame || ahead > usualFrame {
			t.Errorf("the clock is %v ahead after 50 words", ahead)
		}
	})
}

// TestOutKeepLate: a word that was written while a sign of life was on its way takes
// its place.
func TestOutKeepLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sent
		out := NewOut(s.send)
		out.WriteFrame(&Frame{Payload: speech(1)})
		time.Sleep(120 * ms)
		out.WriteFrame(&Frame{Payload: speech(1)})
		if err := out.Keep(time.Now(), 120*ms); err != nil || len(s.frames) != 2 {
			t.Errorf("%v, %d frames", err, len(s.frames))
		}
	})
}

// TestTap: a tap sees all that is written, silence while muted, and all that is
// read.
func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{})
		p := NewPacketizer(1, 111, rand.New(rand.NewPCG(1, 1)))
		var h rtp.Header
		out := NewOut(func(f *Frame) error {
			p.Next(*f, &h)
			in.Push(time.Now(), &h, f.Payload)
			return nil
		})
		var said, heard []string
		out.Tap(func(f *Frame) { said = append(said, string(f.Payload)) })
		in.Tap(func(f *Frame) { heard = append(heard, string(f.Payload)) })
		s := NewSound(in, &humDecoder{channels: 1}, 1)
		pcm := make([]int16, 960)
		var f Frame
		for i := range 100 {
			out.Mute(i >= 40 && i < 60)
			if err := out.WriteFrame(&Frame{Payload: speech(i)}); err != nil {
				t.Fatal(err)
			}
			var err error
			if i < 50 {
				err = s.Read(pcm)
			} else {
				err = in.ReadFrame(t.Context(), &f)
			}
			if err != nil {
				t.Fatal(err)
			}
			var st Stats
			if in.Peek(&st); i == 39 && (st.AudioLevel < 0.05 || st.AudioLevel > 0.5) || i == 0 && st.AudioLevel != 0 {
				t.Errorf("level %v at frame %d", st.AudioLevel, i)
			}
			time.Sleep(20 * ms)
		}
		for i, b := range said {
			if quiet := i >= 40 && i < 60; quiet != (b == "") {
				t.Errorf("frame %d was written as % x", i, b)
			}
		}
		words := 0
		for _, b := range heard {
			if len(b) == len(speech(0)) {
				words++
			}
		}
		if len(said) != 100 || words < 75 || words > 80 {
			t.Errorf("%d frames written, %d read with sound", len(said), words)
		}
		out.Tap(nil)
		in.Tap(nil)
		out.WriteFrame(&Frame{Payload: speech(1)})
		if in.ReadFrame(t.Context(), &f); len(said) != 100 {
			t.Error("the tap goes on")
		}
	})
}

// TestLevels: statistics tell how loud both sides are; what is muted is silent.
func TestLevels(t *testing.T) {
	in, out := NewIn(PlayoutConfig{}), NewOut(func(*Frame) error { return nil })
	var s Stats
	in.Stats(&s)
	out.Stats(&s)
	if s.AudioLevel != 0 || s.SourceLevel != 0 {
		t.Errorf("at first: %v, %v", s.AudioLevel, s.SourceLevel)
	}
	out.SetLevel(6)
	out.Stats(&s)
	if s.SourceLevel < 0.5 || s.SourceLevel > 0.51 {
		t.Errorf("6 dB below full is %v", s.SourceLevel)
	}
	out.Mute(true)
	if out.Stats(&s); s.SourceLevel != 0 {
		t.Errorf("muted is %v", s.SourceLevel)
	}
	if Linear(0) != 1 || Linear(Silence) != 0 || Linear(255) != 0 {
		t.Error("ends of the scale")
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
