// SPDX-License-Identifier: 0BSD

package main

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/gen2brain/malgo"
)

// ear counts what it is given, mouth what it gives.
type ear struct{ n atomic.Int64 }

func (e *ear) WritePCM(pcm []int16) error { e.n.Add(int64(len(pcm))); return nil }

type mouth struct{ n atomic.Int64 }

func (m *mouth) ReadPCM(pcm []int16) (int, error) {
	m.n.Add(int64(len(pcm)))
	return len(pcm) / 2, nil // the rest must become silence
}

// TestCard runs the card without hardware: sound moves in both directions, and
// stops with it.
func TestCard(t *testing.T) {
	var e ear
	var m mouth
	// Miniaudio's null backend keeps time and moves silence. Malgo's constant
	// for it is one too small, as miniaudio has had another one before it since.
	c, err := open([]malgo.Backend{malgo.BackendNull + 1}, &e, &m)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; e.n.Load() < 4800 || m.n.Load() < 4800; i++ {
		if i == 1000 {
			t.Fatalf("in 10 s %d samples recorded, %d played", e.n.Load(), m.n.Load())
		}
		<-tick.C
	}
	c.close()
	before := e.n.Load()
	<-tick.C
	<-tick.C
	if e.n.Load() != before {
		t.Error("the card goes on after it was closed")
	}
}

func TestBar(t *testing.T) {
	for level, want := range map[float64]string{1: "[####################]", 0.03: "[##########          ]", 0: "[                    ]", 2: "[####################]"} {
		if got := bar(level); got != want {
			t.Errorf("%v: %s", level, got)
		}
	}
}
