// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// file returns an Ogg file of packets and a function that opens it.
func file(t *testing.T, packets ...[]byte) ([]byte, func() (io.ReadCloser, error)) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		if err := w.WritePacket(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes(), opener(b.Bytes())
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// ear is a FrameWriter that notes when what came. It is slow by lag.
type ear struct {
	begin time.Time
	lag   time.Duration
	at    []time.Duration
	ts    []uint32
	ids   []byte
	left  int // frames until it is closed; 0 = never
}

func (e *ear) WriteFrame(f *media.Frame) error {
	if e.begin.IsZero() {
		e.begin = time.Now()
	}
	e.at = append(e.at, time.Since(e.begin))
	e.ts = append(e.ts, f.Timestamp)
	e.ids = append(e.ids, f.Payload[len(f.Payload)-1])
	time.Sleep(e.lag)
	if e.left--; e.left == 0 {
		return io.ErrClosedPipe
	}
	return nil
}

func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 20, 60, 20, 2.5 ms
		_, open := file(t, []byte{0x08, 1}, []byte{0x18, 2}, []byte{0x08, 3}, []byte{0x80, 4})
		for _, lag := range []time.Duration{0, 15 * time.Millisecond} {
			e := &ear{lag: lag}
			if err := Play(t.Context(), open, false, e); err != nil {
				t.Fatal(err)
			}
			want := []time.Duration{0, 20, 80, 100}
			for i, at := range e.at {
				if at != want[i]*time.Millisecond || e.ts[i] != uint32(want[i])*48 || e.ids[i] != byte(i+1) {
					t.Errorf("lag %v: frame %d after %v with timestamp %d", lag, i, at, e.ts[i])
				}
			}
			if len(e.at) != len(want) {
				t.Errorf("%d frames", len(e.at))
			}
		}
	})
}

// TestPlayLoops: in a loop the next pass follows without a pause, for hours
// without drift, until the track closes.
func TestPlayLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, open := file(t, []byte{0x08, 1}, []byte{0x08, 2}, []byte{0x08, 3})
		e := &ear{lag: time.Millisecond, left: 100_000}
		if err := Play(t.Context(), open, true, e); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
		for i, at := range e.at {
			if at != time.Duration(i)*20*time.Millisecond || e.ts[i] != uint32(i)*960 || e.ids[i] != byte(i%3+1) {
				t.Fatalf("frame %d: %d after %v with timestamp %d", i, e.ids[i], at, e.ts[i])
			}
		}
	})
}

// TestPlaySleeps: after the machine slept, playing goes on at its pace, without
// a burst.
func TestPlaySleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p [][]byte
		for i := range 100 {
			p = append(p, []byte{0x08, byte(i)})
		}
		_, open := file(t, p...)
		e := &ear{}
		slow := writerFunc(func(f *media.Frame) error {
			if len(e.at) == 50 {
				time.Sleep(time.Minute)
			}
			return e.WriteFrame(f)
		})
		if err := Play(t.Context(), open, false, slow); err != nil {
			t.Fatal(err)
		}
		for i := 51; i < len(e.at); i++ {
			if d := e.at[i] - e.at[i-1]; i > 51 && d != 20*time.Millisecond {
				t.Errorf("frame %d came %v after the one before", i, d)
			}
		}
	})
}

type writerFunc func(*media.Frame) error

func (w writerFunc) WriteFrame(f *media.Frame) error { return w(f) }

func TestPlayErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, open := file(t, []byte{0x08, 1}, []byte{0x08, 2})
		_, none := file(t)
		refused := errors.New("no such file")
		long := make([]byte, media.MaxPayload+1)
		long[0] = 0x08
		_, tooLong := file(t, long)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var format *FormatError
		var corrupt *CorruptError
		var payload *media.PayloadError
		out := media.NewOut(func(*media.Frame) error { return nil })
		if err := Play(t.Context(), func() (io.ReadCloser, error) { return nil, refused }, true, out); !errors.Is(err, refused) {
			t.Errorf("a file that cannot be opened: %v", err)
		}
		if err := Play(t.Context(), opener([]byte("RIFF....WAVE")), true, out); !errors.As(err, &format) {
			t.Errorf("not Ogg: %v", err)
		}
		if err := Play(t.Context(), none, true, out); !errors.As(err, &format) {
			t.Errorf("no sound, looped: %v", err)
		}
		if err := Play(t.Context(), none, false, out); err != nil {
			t.Errorf("no sound: %v", err)
		}
		if err := Play(t.Context(), tooLong, false, out); !errors.As(err, &payload) {
			t.Errorf("a packet that no datagram holds: %v", err)
		}
		if err := Play(ctx, open, true, out); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		// Damage on the second sound page: the first is played, once.
		bad := cat(headers(7), packets(0, 7, 2, "\x08a", "\x08b"), damaged(packets(0, 7, 3, "\x08c"), 29), packets(flagLast, 7, 4, "\x08d", "\x03"))
		e := &ear{}
		if err := Play(t.Context(), opener(bad), true, e); !errors.As(err, &corrupt) || string(e.ids) != "abd" {
			t.Errorf("damaged: %v, played %q", err, e.ids)
		}
		e = &ear{}
		if err := Play(t.Context(), opener(good[:len(good)-1]), false, e); !errors.As(err, &corrupt) || len(e.ids) > 0 {
			t.Errorf("cut off: %v, played %v", err, e.ids)
		}
		out.Close()
		if err := Play(t.Context(), open, true, out); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("closed: %v", err)
		}
	})
}

// TestPlayWaits: cancelling ends the wait for the next frame at once.
func TestPlayWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, open := file(t, []byte{0x08, 1}, []byte{0x08, 2}, []byte{0x08, 3})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		e, begin := &ear{}, time.Now()
		if err := Play(ctx, open, false, e); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if d := time.Since(begin); d != 30*time.Millisecond || len(e.at) != 2 {
			t.Errorf("%d frames in %v", len(e.at), d)
		}
	})
}

// TestPlayToRecord carries a file over a track that loses packets: the recording
// has the length of what was heard and everything that arrived.
func TestPlayToRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sample, err := os.Open("../testdata/speech-a.ogg")
		if err != nil {
			t.Fatal(err)
		}
		defer sample.Close()
		in := media.NewIn(media.PlayoutConfig{})
		sent, lost := 0, 0
		out := media.NewOut(func(f *media.Frame) error {
			if sent++; sent%10 == 5 {
				lost++
				return nil
			}
			in.Push(time.Now(), &rtp.Header{SequenceNumber: uint16(sent), Timestamp: f.Timestamp}, f.Payload)
			return nil
		})
		go func() {
			if err := Play(t.Context(), func() (io.ReadCloser, error) { return sample, nil }, false, out); err != nil {
				t.Error(err)
			}
			time.Sleep(45 * time.Millisecond) // what is in the buffer still, not more
			in.Close()
		}()
		var b bytes.Buffer
		frames, err := Record(t.Context(), in, &b)
		if err != nil {
			t.Fatal(err)
		}
		if sent < 500 || frames < int64(sent-3) || frames > int64(sent) {
			t.Errorf("%d frames recorded of %d", frames, sent)
		}
		r, err := NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		empty, count := 0, int64(0)
		for ; ; count++ {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(p) == 1 {
				empty++
			}
		}
		if empty != lost || count != frames || r.Granule() != uint64(frames)*960 {
			t.Errorf("%d packets, %d empty of %d lost, granule %d", count, empty, lost, r.Granule())
		}
	})
}

type readerFunc func(context.Context, *media.Frame) error

func (r readerFunc) ReadFrame(ctx context.Context, f *media.Frame) error { return r(ctx, f) }

func TestRecordEnds(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct{ end, want error }{
		{io.EOF, nil}, {context.Canceled, context.Canceled}, {broken, broken},
	} {
		n := 0
		src := readerFunc(func(_ context.Context, f *media.Frame) error {
			if n++; n > 10 {
				return tt.end
			}
			*f = media.Frame{Payload: []byte{0x08, byte(n)}, Samples: 960}
			return nil
		})
		var b bytes.Buffer
		frames, err := Record(t.Context(), src, &b)
		if frames != 10 || !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%d frames, %v", frames, err)
		}
		// The file is whole in any case.
		if p := pages(t, b.Bytes()); p[len(p)-1].flags != flagLast || p[len(p)-1].granule != 9600 {
			t.Errorf("%v: last page %+v", tt.end, p[len(p)-1])
		}
	}
	full := readerFunc(func(_ context.Context, f *media.Frame) error {
		*f = media.Frame{Samples: 960, Lost: true}
		return nil
	})
	if frames, err := Record(t.Context(), full, &failing{4}); !errors.Is(err, errFull) || frames < 100 {
		t.Errorf("a full disk: %d frames, %v", frames, err)
	}
}
