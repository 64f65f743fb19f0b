// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build unix && cgo && libopus

package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

// turns lets two lines talk to each other, 20 ms at each call, over a network
// that takes no time and loses every lose-th packet (0 = none).
func turns(tb testing.TB, speech []int16, lose int) (turn func()) {
	tb.Helper()
	var lines [2]*ours
	for i := range lines {
		l, err := newOurs(i == 0)
		if err != nil {
			tb.Fatal(err)
		}
		lines[i] = l
	}
	now := start
	pcm := make([]int16, pieceSize)
	at, sent := 0, 0
	half := func() {
		if at+pieceSize > len(speech) {
			at = 0
		}
		for i, l := range lines {
			if err := l.say(now, speech[at:at+pieceSize]); err != nil {
				tb.Fatal(err)
			}
			l.tick(now)
			for b := l.poll(); b != nil; b = l.poll() {
				if sent++; lose == 0 || sent%lose != 0 {
					lines[1-i].receive(now, b)
				}
			}
			l.hear(now, pcm)
		}
		at += pieceSize
		now = now.Add(piece)
	}
	return func() { half(); half() }
}

// share runs turn and reports the CPU it takes for each 20 ms of one end of a
// call as a share of a core. It counts CPU and not time, so that other work on
// the machine counts for less.
func share(b *testing.B, ends int, turn func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	b.ResetTimer()
	begin := used()
	for range b.N {
		turn()
	}
	each := float64(used()-begin) / float64(b.N) / float64(ends)
	b.ReportMetric(each/float64(20*time.Millisecond)*100, "%core/call")
}

// BenchmarkVoicePath is what a call's voice takes of a core at one end, from the
// microphone's PCM to the loudspeaker's: encoder at complexity 9, redundancy,
// rate control, SRTP and reports in both directions, playout, decoder. Bare is
// encoding and decoding alone, of the same speech at the bitrate that the call
// uses on such a network.
func BenchmarkVoicePath(b *testing.B) {
	speech, err := decode("../../../media/testdata/speech-a.ogg")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		lose    int
		bitrate int
		loss    int
	}{{"clean", 0, 40000, 0}, {"loss", 5, 24000, 20}} {
		b.Run(c.name+"/whole", func(b *testing.B) {
			turn := turns(b, speech, c.lose)
			for range 3000 { // a minute: the rate has found its way
				turn()
			}
			share(b, 2, turn)
		})
		b.Run(c.name+"/bare", func(b *testing.B) {
			enc, dec, err := newCodec(libopus.EncoderConfig{Bitrate: c.bitrate, FEC: c.loss > 0, LossPercent: c.loss})
			if err != nil {
				b.Fatal(err)
			}
			packet, pcm := make([]byte, libopus.MaxPacket), make([]int16, libopus.MaxSamples)
			at := 0
			turn := func() {
				if at+media.FrameSamples > len(speech) {
					at = 0
				}
				n, err := enc.Encode(speech[at:at+media.FrameSamples], packet)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := dec.Decode(packet[:n], pcm); err != nil {
					b.Fatal(err)
				}
				at += media.FrameSamples
			}
			for range 3000 {
				turn()
			}
			share(b, 1, turn)
		})
	}
}

// TestVoicePathAllocates: in steady state 20 ms of a call allocate what srtp
// does, a nonce and a closure a packet, the outbox of the laboratory, and each
// second a report; nothing of ours.
func TestVoicePathAllocates(t *testing.T) {
	speech := make([]int16, voice.SampleRate)
	(&voice.Tone{}).ReadPCM(speech)
	for _, lose := range []int{0, 5} {
		turn := turns(t, speech, lose)
		for range 1000 {
			turn()
		}
		n := testing.AllocsPerRun(200, turn)
		t.Logf("one of %d packets lost: %v allocations in 20 ms of both ends", lose, n)
		// Two packets, each with one in the outbox, one in protect and one in
		// unprotect, make six; the reports of a second are the rest.
		if n > 8 {
			t.Errorf("%v allocations", n)
		}
	}
}
