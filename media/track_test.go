// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// talk pushes count frames, one each 20 ms of the bubble's time, but those that
// skip says.
func talk(t *In, count int, skip func(i int) bool) {
	for i := range count {
		if skip == nil || !skip(i) {
			t.Push(time.Now(), &rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, speech(i))
		}
		time.Sleep(20 * ms)
	}
}

func TestInPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{Target: 60 * ms})
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			talk(in, 100, func(i int) bool { return i == 50 })
			time.Sleep(10 * ms) // not at the moment of a frame
			in.Close()
		}()
		var f Frame
		n := 0
		for ; ; n++ {
			err := in.ReadFrame(t.Context(), &f)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			want := time.Second + 60*ms + time.Duration(n)*20*ms
			if got := time.Since(begin); got != want {
				t.Fatalf("frame %d came after %v, want %v", n, got, want)
			}
			if f.Timestamp != uint32(n)*960 || f.Samples != 960 || f.Lost != (n == 50) {
				t.Fatalf("frame %d: %+v", n, f)
			}
			if n != 50 && string(f.Payload) != string(speech(n)) {
				t.Fatalf("frame %d holds % x", n, f.Payload)
			}
		}
		if n != 98 { // the last 40 ms were still in the buffer
			t.Errorf("%d frames", n)
		}
		var s Stats
		in.Stats(&s)
		if s.ConcealedSamples != 960 || s.TotalSamplesReceived != 98*960 || s.Buffer != 2*20*ms {
			t.Errorf("%+v", s)
		}
		if got := s.JitterBufferDelay / time.Duration(s.JitterBufferEmittedCount); got != 60*ms {
			t.Errorf("mean delay in the buffer %v", got)
		}
	})
}

// TestInOutage: through an outage frames go on, empty and lost, and sound comes
// back behind it.
func TestInOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{Target: 60 * ms})
		go func() {
			talk(in, 400, func(i int) bool { return i >= 100 && i < 350 })
			in.Close()
		}()
		var f Frame
		begin := time.Now()
		sound, lost, n := 0, 0, 0
		for in.ReadFrame(t.Context(), &f) == nil {
			if n++; len(f.Payload) > 0 {
				sound++
			} else if f.Lost {
				lost++
			}
		}
		took := time.Since(begin)
		if want := int((took - 60*ms) / (20 * ms)); n < want-1 || n > want+1 {
			t.Errorf("%d frames in %v", n, took)
		}
		if sound < 140 || sound+lost != n {
			t.Errorf("%d frames with sound, %d lost, of %d", sound, lost, n)
		}
		var s Stats
		in.Stats(&s)
		if s.LongestGap != 251*20*ms || s.ConcealedSamples != uint64(lost)*960 {
			t.Errorf("longest gap %v, %d samples concealed, %d frames", s.LongestGap, s.ConcealedSamples, lost)
		}
		if in.Stats(&s); s.LongestGap != 20*ms { // since the last packet
			t.Errorf("longest gap %v when asked again", s.LongestGap)
		}
	})
}

// TestInLateReader: a reader that slept gets the present, not the past.
func TestInLateReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{Target: 60 * ms})
		go func() {
			talk(in, 300, nil)
			in.Close()
		}()
		var f Frame
		begin := time.Now()
		age := func() time.Duration {
			if err := in.ReadFrame(t.Context(), &f); err != nil {
				t.Fatal(err)
			}
			if len(f.Payload) == 0 {
				return 0
			}
			id := int(f.Payload[1])<<8 | int(f.Payload[2])
			return time.Since(begin) - time.Duration(id)*20*ms
		}
		time.Sleep(2 * time.Second) // before the first frame
		if got := age(); got > 100*ms {
			t.Errorf("first frame is %v old", got)
		}
		time.Sleep(150 * ms) // short enough to catch up
		for range 20 {
			age()
		}
		if got := age(); got > 100*ms {
			t.Errorf("after a short nap frames are %v old", got)
		}
		time.Sleep(time.Second)
		for range 5 {
			age()
		}
		if got := age(); got > 100*ms {
			t.Errorf("after a long nap frames are %v old", got)
		}
		for in.ReadFrame(t.Context(), &f) == nil {
		}
	})
}

func TestInEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{Target: 60 * ms})
		var f Frame
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := in.ReadFrame(ctx, &f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with nothing to read: %v", err)
		}
		done := make(chan error)
		go func() {
			var f Frame
			done <- in.ReadFrame(t.Context(), &f)
		}()
		synctest.Wait()
		if err := in.ReadFrame(t.Context(), &f); err != ErrReading {
			t.Errorf("a second reader: %v", err)
		}
		in.Close()
		in.Close()
		if err := <-done; err != io.EOF {
			t.Errorf("a waiting reader, after Close: %v", err)
		}
		in.Push(time.Now(), &rtp.Header{}, speech(0))
		if err := in.ReadFrame(t.Context(), &f); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestInAllocates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{Target: 60 * ms})
		var f Frame
		var h rtp.Header
		payload := speech(1)
		i := 0
		step := func() {
			h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
			in.Push(time.Now(), &h, payload)
			if i >= 10 {
				in.ReadFrame(t.Context(), &f)
			} else {
				time.Sleep(20 * ms)
			}
			i++
		}
		for range 200 {
			step()
		}
		if n := testing.AllocsPerRun(500, step); n != 0 {
			t.Errorf("%v allocations a frame", n)
		}
	})
}

// TestSoundReads: a sound card hears the track, shares it with nobody, and is
// told of the end.
func TestSoundReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{})
		go talk(in, 100, nil)
		s := NewSound(in, &humDecoder{channels: 1}, 1)
		pcm := make([]int16, 480)
		loud := 0
		for range 200 {
			if err := s.Read(pcm); err != nil {
				t.Fatal(err)
			}
			if Level(pcm) < 30 {
				loud++
			}
			time.Sleep(10 * ms)
		}
		if !in.play.stretch {
			t.Error("the buffer does not know that the sound is stretched")
		}
		if loud < 190 {
			t.Errorf("%d of 200 pieces with sound", loud)
		}
		in.reading.Store(true) // as ReadFrame does
		if err := s.Read(pcm); err != ErrReading || Level(pcm) != Silence {
			t.Errorf("beside a reader: %v", err)
		}
		in.reading.Store(false)
		var f Frame
		if err := in.ReadFrame(t.Context(), &f); err != nil || in.play.stretch || f.Long != 0 {
			t.Errorf("frames after PCM: %+v, %v", f, err)
		}
		in.Close()
		if err := s.Read(pcm); err != io.EOF || Level(pcm) != Silence {
			t.Errorf("after the end: %v", err)
		}
		if s.Broken() != 0 {
			t.Error("broken packets")
		}
	})
}
