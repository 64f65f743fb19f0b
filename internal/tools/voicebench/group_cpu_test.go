// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build unix && cgo && libopus

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

// member is one of a group's call: it encodes once, sends on every leg, plays every
// leg and adds them up.
type member struct {
	mic  *voice.Microphone
	legs []*ours
	ends []*ours // the other side of each
	now  time.Time
	one  []int16
	sum  []int32
}

// WriteFrame sends a frame of the microphone on every leg.
func (m *member) WriteFrame(f *media.Frame) error {
	for _, l := range m.legs {
		l.now = m.now
		if err := l.WriteFrame(f); err != nil {
			return err
		}
	}
	return nil
}

// Advice makes the microphone follow the first leg: all are alike here.
func (m *member) Advice() media.Advice { return m.legs[0].Advice() }

// crowd lets n people talk to each other, all at once, 20 ms at each call, over a
// network that takes no time.
func crowd(tb testing.TB, speech []int16, n, complexity int) (turn func()) {
	tb.Helper()
	list := make([]*member, n)
	for i := range list {
		enc, _, err := newCodec(libopus.EncoderConfig{Complexity: complexity})
		if err != nil {
			tb.Fatal(err)
		}
		m := &member{one: make([]int16, pieceSize), sum: make([]int32, pieceSize)}
		m.mic = voice.NewMicrophone(m, enc)
		for _, o := range list[:i] {
			mine, theirs := end(tb, true), end(tb, false)
			m.legs, m.ends = append(m.legs, mine), append(m.ends, theirs)
			o.legs, o.ends = append(o.legs, theirs), append(o.ends, mine)
		}
		list[i] = m
	}
	now, at := start, 0
	half := func() {
		if at+n*pieceSize > len(speech) {
			at = 0
		}
		for k, m := range list {
			m.now = now
			if err := m.mic.WritePCM(speech[at+k*pieceSize:][:pieceSize]); err != nil {
				tb.Fatal(err)
			}
			clear(m.sum)
			for i, l := range m.legs {
				l.tick(now)
				for b := l.poll(); b != nil; b = l.poll() {
					m.ends[i].receive(now, b)
				}
				l.hear(now, m.one)
				for j, v := range m.one {
					m.sum[j] += int32(v)
				}
			}
		}
		at += pieceSize
		now = now.Add(piece)
	}
	return func() { half(); half() }
}

func end(tb testing.TB, first bool) *ours {
	l, err := newOurs(first)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// BenchmarkGroup is what a call of a group takes of a core at each member while
// all of them speak: one encoder, a decoder for each of the others, and for each
// redundancy, rate control, SRTP, reports and playout. Sockets are apart:
// BenchmarkMediaPath.
func BenchmarkGroup(b *testing.B) {
	speech, err := decode("../../../media/testdata/speech-a.ogg")
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{2, 8} {
		for _, complexity := range []int{5, 9} {
			b.Run(fmt.Sprintf("%d/complexity%d", n, complexity), func(b *testing.B) {
				turn := crowd(b, speech, n, complexity)
				for range 1000 { // the rate has found its way
					turn()
				}
				share(b, n, turn)
			})
		}
	}
}
