// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// eventLog keeps a node's events.
type eventLog struct {
	mu   sync.Mutex
	list []Event
	at   []time.Time
}

func (s *sim) log(n *Node) *eventLog {
	l := new(eventLog)
	events := n.Events(context.Background())
	s.wg.Go(func() {
		for e := range events {
			l.mu.Lock()
			l.list, l.at = append(l.list, e), append(l.at, time.Now())
			l.mu.Unlock()
		}
	})
	return l
}

// all returns the events of one type, and when they came.
func all[T Event](l *eventLog) (list []T, at []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.list {
		if e, ok := e.(T); ok {
			list, at = append(list, e), append(at, l.at[i])
		}
	}
	return list, at
}

// talking starts two nodes and a call between them.
func (s *sim) talking() (a, b *Node, call *Call, ears <-chan *ear) {
	s.t.Helper()
	a, b = s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
	ears = s.callee(b)
	call, err := a.Call(s.t.Context(), s.ticket(b), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := call.Answered(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return a, b, call, ears
}

// packetsIn counts what is in a file of one track.
func packetsIn(t *testing.T, file *bytes.Buffer) (sound, all int) {
	t.Helper()
	r, err := ogg.NewReader(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			return sound, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all++
		if bytes.Equal(b, opusSpeech) {
			sound++
		}
	}
}

// Each side records one of the two, a third recording has both: what is in them
// is what was said and heard from the moment on that the other side knew.
func TestRecord(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b, call, ears := s.talking()
		la, lb := s.log(a), s.log(b)
		var ours, theirs, both bytes.Buffer
		var stops []func() error
		began := time.Now()
		s.converse(call, ears, 5*time.Second, func() {
			for i, w := range []*bytes.Buffer{&ours, &theirs, &both} {
				sides := [][]Side{{Ours}, {Theirs}, nil}[i]
				stop, err := call.Record(w, sides...)
				if err != nil {
					t.Fatal(err)
				}
				stops = append(stops, stop)
			}
			began = time.Now()
			time.Sleep(2 * time.Second)
			call.Mute(true)
			time.Sleep(time.Second)
			call.Mute(false)
			if b.calls0().Recorded() != true || call.Recorded() {
				t.Error("the other side does not know, or this one thinks so")
			}
			for _, stop := range stops {
				if err := errors.Join(stop(), stop()); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Second)
			if b.calls0().Recorded() {
				t.Error("the other side was not told of the end")
			}
		})
		if n, all := packetsIn(t, &ours); n < 95 || n > 100 || all < 145 || all > 152 {
			t.Errorf("of ours %d packets of sound, %d in all", n, all)
		}
		if n, all := packetsIn(t, &theirs); n < 145 || all > 152 {
			t.Errorf("of theirs %d packets of sound, %d in all", n, all)
		}
		if !bytes.Contains(both.Bytes(), []byte("OpusHead\x01\x02")) || both.Len() < 2*ours.Len()*8/10 {
			t.Errorf("both sides are %d bytes", both.Len())
		}
		told, when := all[CallRecording](lb)
		if len(told) != 2 || !told[0].On || told[0].ByMe || told[1].On {
			t.Errorf("the other side hears %+v", told)
		}
		knows, since := all[CallRecording](la)
		if len(knows) != 2 || !knows[0].On || !knows[0].ByMe || knows[1].On || !since[0].After(when[0]) || since[0].Sub(began) > 2*rtt {
			t.Errorf("this side hears %+v", knows)
		}
		if _, err := call.Record(&ours); err == nil {
			t.Error("recorded after the end")
		}
	})
}

// A recording ends with the call, and with the node, and is complete then.
func TestRecordToTheEnd(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, _, call, ears := s.talking()
		var file bytes.Buffer
		var stop func() error
		s.converse(call, ears, 2*time.Second, func() {
			var err error
			if stop, err = call.Record(&file, Theirs); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		})
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n, _ := packetsIn(t, &file); n < 45 {
			t.Errorf("%d packets", n)
		}
		a.Close()
		if _, err := call.Record(&file); err == nil {
			t.Error("recorded on a closed node")
		}
	})
}

// A recording that is stopped before the other side knows has nothing in it.
func TestRecordUntold(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		_, b, call, ears := s.talking()
		lb := s.log(b)
		var file bytes.Buffer
		s.converse(call, ears, 2*time.Second, func() {
			stop, err := call.Record(&file)
			if err != nil {
				t.Fatal(err)
			}
			if err := stop(); err != ErrNotTold {
				t.Errorf("stopped at once: %v", err)
			}
			time.Sleep(time.Second)
			if b.calls0().Recorded() {
				t.Error("the other side still believes it")
			}
			if _, err := call.Record(&file, 7); err == nil {
				t.Error("there is a third side")
			}
		})
		if file.Len() > 0 {
			t.Errorf("%d bytes were written", file.Len())
		}
		if told, _ := all[CallRecording](lb); len(told) != 2 {
			t.Errorf("the other side heard %+v", told)
		}
	})
}

// brokenDisk fails after so many writes.
type brokenDisk int

func (d *brokenDisk) Write(b []byte) (int, error) {
	if *d--; *d < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

// A full disk ends the recording, of which the other side hears, and not the
// call.
func TestRecordFails(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		_, b, call, ears := s.talking()
		s.converse(call, ears, 2*time.Second, func() {
			disk := brokenDisk(3)
			stop, err := call.Record(&disk)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if b.calls0().Recorded() {
				t.Error("the other side was not told that it ended")
			}
			if err := stop(); err == nil || errors.Is(err, ErrNotTold) {
				t.Errorf("error %v", err)
			}
		})
	})
}

// Keys come through, each once and in order, both ways and at the same time, and
// the voice goes on.
func TestDTMF(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b, call, ears := s.talking()
		la, lb := s.log(a), s.log(b)
		s.converse(call, ears, time.Second, func() {
			before := call.Stats()
			for _, bad := range []string{"12x", " ", string(make([]byte, 5)), "é"} {
				if err := call.SendDTMF(bad); !errors.Is(err, media.ErrKey) {
					t.Errorf("%q: %v", bad, err)
				}
			}
			if err := call.SendDTMF(string(bytes.Repeat([]byte("5"), 200))); !errors.Is(err, media.ErrManyKeys) {
				t.Errorf("200 keys: %v", err)
			}
			if err := errors.Join(call.SendDTMF("112"), call.SendDTMF("9*#,d"), b.calls0().SendDTMF("0")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			after := call.Stats()
			if after.PacketsLost != before.PacketsLost || after.ConcealedSamples != before.ConcealedSamples || after.Jitter > 2*time.Millisecond {
				t.Errorf("keys made losses or jitter of: %+v, before %+v", after, before)
			}
		})
		got := ""
		keys, at := all[CallDTMF](lb)
		for _, k := range keys {
			got += string(k.Digit)
		}
		if got != "1129*#D" {
			t.Errorf("heard %q", got)
		}
		for i := 1; i < len(at); i++ {
			want := 170 * time.Millisecond
			if i == 6 {
				want += 2 * time.Second
			}
			if d := at[i].Sub(at[i-1]) - want; d < -5*time.Millisecond || d > 5*time.Millisecond {
				t.Errorf("key %d comes %v after the one before, want %v", i, at[i].Sub(at[i-1]), want)
			}
		}
		if keys, _ := all[CallDTMF](la); len(keys) != 1 || keys[0].Digit != '0' {
			t.Errorf("the other way: %+v", keys)
		}
		if err := call.SendDTMF("1"); err == nil {
			t.Error("pressed after the end")
		}
		b.Close()
	})
}

// An app that writes nothing stays audible as silence: its path is alive, and
// when it speaks the words come in time.
func TestSilentApp(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		_, b, call, ears := s.talking()
		mine := s.hear(call)
		_, out := call.Tracks()
		time.Sleep(3 * time.Second)
		other := b.calls0()
		if st := other.Stats(); st.PacketsReceived < 20 || st.LongestGap > 600*time.Millisecond {
			t.Errorf("from an app that never spoke: %+v", st)
		}
		time.Sleep(time.Second)
		if st := other.Stats(); st.LongestGap > 125*time.Millisecond {
			t.Errorf("a gap of %v", st.LongestGap)
		}
		// Words now and then, by an app that does not count the pauses.
		for range 20 {
			for range 25 {
				if err := out.WriteFrame(&media.Frame{Payload: opusSpeech}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(1300 * time.Millisecond)
		}
		st := other.Stats()
		if st.Buffer > 200*time.Millisecond || st.JitterBufferTarget > 100*time.Millisecond || st.PacketsDiscarded > 0 {
			t.Errorf("after pauses: %+v", st)
		}
		call.HangUp()
		e := <-ears
		<-e.done
		<-mine.done
		// Until the first sign of life nobody knows that words are not lost.
		if e.frames < 20*25 || e.lost > 20*5 {
			t.Errorf("%d frames heard, %d lost", e.frames, e.lost)
		}
	})
}

// What is wrong with the sound is told once, and so is that it is over.
func TestCallQuality(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		ha := s.public("a")
		a, b := s.node(ha, Config{}), s.node(s.public("b"), Config{})
		ears := s.callee(b)
		la := s.log(a)
		call, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.slack = 1e6
		lossy := func(share float64) {
			p := access
			p.Loss = share
			s.net.Do(func(*simnet.World) { ha.SetProfile(p) })
		}
		s.converse(call, ears, 5*time.Second, func() {
			if list, w := call.Quality(); len(list) < 2 || w != 0 || list[len(list)-1].MOS < 4.3 {
				t.Errorf("at first: %v, %v", list, w)
			}
			if st := call.Stats(); st.MOS < 4.3 || st.Concealed != 0 {
				t.Errorf("at first: MOS %v, concealed %v", st.MOS, st.Concealed)
			}
			lossy(0.5)
			time.Sleep(15 * time.Second)
			if _, w := call.Quality(); w&media.HighLoss == 0 || w&media.LowMOS == 0 {
				t.Errorf("half of the packets lost, and wrong is only %q", w)
			}
			lossy(0)
			time.Sleep(30 * time.Second)
			list, w := call.Quality()
			if w != 0 {
				t.Errorf("half a minute later still %v", w)
			}
			if len(list) < 40 || list[len(list)-1].At.Sub(list[0].At) > 70*time.Second {
				t.Errorf("%d samples from %v to %v", len(list), list[0].At, list[len(list)-1].At)
			}
		})
		var began, ended media.Warning
		changes, _ := all[CallQuality](la)
		for _, e := range changes {
			began |= e.Began
			ended |= e.Ended
		}
		if began&(media.HighLoss|media.LowMOS) != media.HighLoss|media.LowMOS || ended != began || len(changes) > 8 {
			t.Errorf("told of: %+v", changes)
		}
	})
}
