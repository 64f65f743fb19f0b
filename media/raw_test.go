// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// rawIn pushes packet n of a stream of 20 ms frames, with copies of those that
// are so far behind.
func rawIn(in *In, now time.Time, n int, back ...int) {
	h := rtp.Header{Version: 2, SequenceNumber: uint16(65530 + n), Timestamp: uint32(n) * 960, SSRC: 7}
	var list []Copy
	for _, b := range back {
		list = append(list, Copy{Offset: uint32(b) * 960, Payload: speech(n - b)})
	}
	in.PushRedundant(now, &h, speech(n), list)
}

// read takes what is there without waiting.
func readRaw(t *testing.T, in *In) string {
	t.Helper()
	var got []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		var p Packet
		err := in.ReadPacket(ctx, &p)
		cancel()
		if err != nil {
			return strings.Join(got, " ")
		}
		n := int(int16(p.Sequence - 65530&0xffff))
		if p.Timestamp != uint32(n)*960 || string(p.Payload) != string(speech(n)) {
			t.Errorf("packet %d has timestamp %d and %x", n, p.Timestamp, p.Payload)
		}
		got = append(got, fmt.Sprint(n))
	}
}

func TestReadPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{})
		if got := readRaw(t, in); got != "" {
			t.Errorf("read %q before anything came", got)
		}
		for _, c := range []struct {
			rule string
			n    int
			back []int
			want string
		}{
			{"as it comes", 1, nil, "1"},
			{"at once, over the wrap", 7, nil, "7"},
			{"out of order", 3, nil, "3"},
			{"no number twice", 3, nil, ""},
			{"copies of what is there are not needed", 8, []int{1, 5}, "8"},
			{"copies fill holes, oldest first", 12, []int{3, 2}, "9 10 12"},
			{"what they stood for is late", 9, nil, ""},
			{"a hole that no copy fills stays open", 11, nil, "11"},
			{"a copy is not given twice", 14, []int{1}, "13 14"},
			{"a copy is not given twice", 15, []int{2, 1}, "15"},
		} {
			time.Sleep(20 * time.Millisecond)
			rawIn(in, time.Now(), c.n, c.back...)
			if got := readRaw(t, in); got != c.want {
				t.Errorf("%s: %q, want %q", c.rule, got, c.want)
			}
		}
		// A copy of another length than its distance is in no number's place.
		h := rtp.Header{Version: 2, SequenceNumber: 65530 - 65536 + 20, Timestamp: 20 * 960, SSRC: 7}
		in.PushRedundant(time.Now(), &h, speech(20), []Copy{{Offset: 961, Payload: speech(19)}, {Offset: 960, Payload: []byte{3}}})
		if got := readRaw(t, in); got != "20" {
			t.Errorf("odd copies: %q", got)
		}
		for n := 100; n < 200; n++ {
			rawIn(in, time.Now(), n)
		}
		if got := strings.Fields(readRaw(t, in)); len(got) != rawRoom || got[0] != "136" || got[len(got)-1] != "199" {
			t.Errorf("a slow reader gets %v", got)
		}
		in.Close()
		if err := in.ReadPacket(t.Context(), new(Packet)); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A waiting ReadPacket wakes when a packet comes, and when the track ends.
func TestReadPacketWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := NewIn(PlayoutConfig{})
		got := make(chan error, 2)
		go func() {
			var p Packet
			got <- in.ReadPacket(t.Context(), &p)
			got <- in.ReadPacket(t.Context(), &p)
		}()
		synctest.Wait()
		if err := in.ReadPacket(t.Context(), new(Packet)); !errors.Is(err, ErrReading) {
			t.Errorf("a second reader: %v", err)
		}
		if err := in.ReadFrame(t.Context(), new(Frame)); !errors.Is(err, ErrReading) {
			t.Errorf("a second reader, of frames: %v", err)
		}
		rawIn(in, time.Now(), 1)
		if err := <-got; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		in.Close()
		if err := <-got; err != io.EOF {
			t.Error(err)
		}
	})
}

// The statistics of a track that is passed on are those of one that is played.
func TestReadPacketStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passed, played := NewIn(PlayoutConfig{}), NewIn(PlayoutConfig{})
		go func() {
			var p Packet
			for passed.ReadPacket(t.Context(), &p) == nil {
			}
		}()
		go func() {
			var f Frame
			for played.ReadFrame(t.Context(), &f) == nil {
			}
		}()
		synctest.Wait()
		for n := range 500 {
			if n%10 != 0 {
				rawIn(passed, time.Now(), n)
				rawIn(played, time.Now(), n)
			}
			time.Sleep(20*time.Millisecond + time.Microsecond)
		}
		var a, b Stats
		passed.Stats(&a)
		played.Stats(&b)
		passed.Close()
		played.Close()
		a.Score(&Stats{})
		b.Score(&Stats{})
		if a.Concealed < 0.09 || a.Concealed > 0.11 || a.Concealed-b.Concealed > 0.005 || b.Concealed-a.Concealed > 0.005 || a.MOS-b.MOS > 0.05 || b.MOS-a.MOS > 0.05 {
			t.Errorf("passed on: %.3f concealed, MOS %.2f; played: %.3f, %.2f", a.Concealed, a.MOS, b.Concealed, b.MOS)
		}
	})
}
