// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestVideoOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []Packet
		refuse := errors.New("no path")
		var fail error
		out := NewVideoOut(func(p *Packet) error {
			q := *p
			q.Payload = bytes.Clone(p.Payload)
			sent = append(sent, q)
			return fail
		})
		write := func(seq uint16, ts uint32, payload string) error {
			return out.WritePacket(&Packet{Sequence: seq, Timestamp: ts, Marker: true, Payload: []byte(payload)})
		}
		for i, s := range []string{"a", "b", "c"} {
			if err := write(uint16(10+i), 90, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(11, 90, "x"); err != nil { // twice
			t.Error(err)
		}
		out.Begin()
		time.Sleep(time.Second)
		write(7, 5, "d")
		if len(sent) != 4 || sent[1].Sequence != 11 || sent[3].Sequence != 13 || sent[3].Timestamp != 90+90000 || string(sent[3].Payload) != "d" || !sent[3].Marker {
			t.Errorf("sent %+v", sent)
		}
		for _, n := range []int{0, MaxVideoPayload + 1} {
			var e *PayloadError
			if err := write(8, 5, string(make([]byte, n))); !errors.As(err, &e) || e.Len != n {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		out.Hold(true)
		if err := write(8, 5, "held"); err != nil || len(sent) != 4 {
			t.Errorf("held: %v, %d sent", err, len(sent))
		}
		out.Hold(false)
		fail = refuse
		if err := write(9, 5, "e"); !errors.Is(err, refuse) {
			t.Errorf("sender's error: %v", err)
		}
		out.Close()
		out.Close()
		if err := write(10, 5, "f"); err != io.ErrClosedPipe {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestVideoOutNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := NewVideoOut(func(*Packet) error { return nil })
		next := func() (Wish, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return out.Next(ctx)
		}
		if w, err := next(); err != nil || w != (Wish{Bitrate: videoStart}) {
			t.Errorf("at first: %+v, %v", w, err)
		}
		if w, err := next(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing new: %+v, %v", w, err)
		}
		out.Advise(100000)
		out.WantKeyframe()
		out.WantKeyframe()
		if w, err := next(); err != nil || w != (Wish{Keyframe: true, Bitrate: 100000}) {
			t.Errorf("both: %+v, %v", w, err)
		}
		out.Advise(100000)
		if w, err := next(); err == nil {
			t.Errorf("the same again: %+v", w)
		}
		got := make(chan Wish)
		go func() { w, _ := out.Next(t.Context()); got <- w }()
		synctest.Wait()
		out.WantKeyframe()
		if w := <-got; !w.Keyframe {
			t.Errorf("waiting: %+v", w)
		}
		// The picture that begins after a hold needs no other.
		out.Hold(true)
		out.Hold(false)
		if w, err := next(); err != nil || !w.Keyframe {
			t.Errorf("after a hold: %+v, %v", w, err)
		}
		go func() { time.Sleep(time.Millisecond); out.Close() }()
		if _, err := next(); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestVideoIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		in := NewVideoIn(func() { asked++ })
		for i := range videoRoom + 10 {
			in.Push(&Packet{Sequence: uint16(i), Payload: []byte{byte(i), byte(i >> 8)}})
		}
		var p Packet
		for i := range videoRoom {
			if err := in.ReadPacket(t.Context(), &p); err != nil || int(p.Sequence) != i+10 || p.Payload[0] != byte(i+10) {
				t.Fatalf("packet %d: %+v, %v", i, p, err)
			}
		}
		got := make(chan error)
		go func() { got <- in.ReadPacket(t.Context(), &p) }()
		synctest.Wait()
		if err := in.ReadPacket(t.Context(), new(Packet)); !errors.Is(err, ErrReading) {
			t.Errorf("a second reader: %v", err)
		}
		in.Push(&Packet{Sequence: 9, Payload: []byte("x")})
		if err := <-got; err != nil || string(p.Payload) != "x" {
			t.Errorf("%+v, %v", p, err)
		}
		for range 100 {
			in.RequestKeyframe()
			time.Sleep(10 * time.Millisecond)
		}
		if asked != 4 {
			t.Errorf("asked for a key frame %d times in a second", asked)
		}
		var s VideoStats
		if in.Stats(&s); s.PacketsDropped != 10 || s.KeyframesWanted != 4 {
			t.Errorf("%+v", s)
		}
		go func() { got <- in.ReadPacket(t.Context(), &p) }()
		synctest.Wait()
		in.Close()
		in.Close()
		if err := <-got; err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
		in.Push(&Packet{Payload: []byte("x")})
		in.RequestKeyframe()
		if err := in.ReadPacket(t.Context(), &p); err != io.EOF || asked != 4 {
			t.Errorf("after Close: %v, asked %d", err, asked)
		}
	})
}
