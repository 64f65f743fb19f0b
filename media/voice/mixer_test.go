// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/voice"
)

// steady is a decoder that makes the same sample of everything.
type steady int16

func (d steady) Decode(_ []byte, pcm []int16) (int, error) {
	return d.Conceal(pcm, media.FrameSamples), nil
}

func (d steady) Conceal(pcm []int16, samples int) int {
	for i := range pcm[:samples] {
		pcm[i] = int16(d)
	}
	return samples
}

// say pushes a packet each 20 ms until the track ends.
func say(in *media.In, end <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := uint16(0); ; i++ {
		h := &rtp.Header{Version: 2, SequenceNumber: i, Timestamp: uint32(i) * media.FrameSamples, SSRC: 1}
		in.Push(time.Now(), h, []byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9})
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

func TestMixer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		m := voice.NewMixer(1)
		pcm := make([]int16, media.FrameSamples)
		// hear returns the least and the most of what sounds at the end of d.
		hear := func(d time.Duration) (least, most int16) {
			for until := time.Now().Add(d); time.Now().Before(until); {
				time.Sleep(20 * time.Millisecond)
				if n, err := m.ReadPCM(pcm); n != len(pcm) || err != nil {
					t.Fatal(n, err)
				}
			}
			least, most = pcm[0], pcm[0]
			for _, v := range pcm {
				least, most = min(least, v), max(most, v)
			}
			return least, most
		}
		join := func(v steady) (*media.In, *voice.Speaker) {
			in := media.NewIn(media.PlayoutConfig{})
			go say(in, end)
			s, err := m.Add(in, v)
			if err != nil {
				t.Fatal(err)
			}
			return in, s
		}
		if a, b := hear(100 * time.Millisecond); a != 0 || b != 0 {
			t.Errorf("nobody speaks: %d to %d", a, b)
		}
		first, meter := join(-32768)
		if a, b := hear(time.Second); a != -32768 || b != -32768 {
			t.Errorf("one voice: %d to %d, want it untouched", a, b)
		}
		if level, _ := meter.Level(); level != 0 {
			t.Errorf("the loudest sound is at -%d dBov", level)
		}
		_, other := join(-20000)
		if a, b := hear(time.Second); a < -32768 || b > -32700 {
			t.Errorf("two voices: %d to %d, want them at the limit", a, b)
		}
		first.Close()
		if a, _ := hear(20 * time.Millisecond); a < -13000 {
			t.Errorf("%d at once after a voice has ended: the gain jumps", a)
		}
		if a, b := hear(time.Second); a != -20000 || b != -20000 {
			t.Errorf("a second later: %d to %d, want it as it was", a, b)
		}
		m.Remove(other)
		if a, b := hear(100 * time.Millisecond); a != 0 || b != 0 {
			t.Errorf("removed: %d to %d", a, b)
		}
		for range voice.MaxVoices {
			join(30000)
		}
		if a, b := hear(time.Second); a < 32700 || b < 0 {
			t.Errorf("eight voices: %d to %d", a, b)
		}
		if _, err := m.Add(media.NewIn(media.PlayoutConfig{}), steady(0)); !errors.Is(err, voice.ErrVoices) {
			t.Errorf("a ninth: %v", err)
		}
	})
}
