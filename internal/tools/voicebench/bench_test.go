// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media/voice"
)

// talk is short: what is rated here is much arithmetic for a race detector.
const talk = 4 * time.Second

func small(t *testing.T) *bench {
	t.Helper()
	b, err := newBench("../../../media/testdata", talk)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClean proves that the laboratory itself takes nothing away: on a clean
// path speech is whole, and the delay adds up.
func TestClean(t *testing.T) {
	b := small(t)
	c := cell{network: network{oneWay: 25 * ms}}
	for r := range rivalPion {
		v, p, err := b.speak(r, c)
		if err != nil {
			t.Fatal(err)
		}
		least := 25*ms + 20*ms + 6*ms // the way, a frame, the codec
		if v.estoi < 0.95 || v.concealed > 0.01 || v.delay < least {
			t.Errorf("%v: %+v", r, v)
		}
		if said := len(p[0].said); said < int((talk+tail)/piece-1)*pieceSize {
			t.Errorf("%d samples said", said)
		}
		h, err := b.chirp(r, c)
		if err != nil {
			t.Fatal(err)
		}
		if h.found < h.said || h.said == 0 || h.delay < v.delay-15*ms || h.delay > v.delay+15*ms {
			t.Errorf("%v: chirps %+v; speech after %v", r, h, v.delay)
		}
	}
}

// TestSame proves that a run can be repeated.
func TestSame(t *testing.T) {
	b := small(t)
	c := lossCells()[2]
	first, _, err := b.speak(rivalTuned, c)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := b.speak(rivalTuned, c); err != nil || again != first {
		t.Errorf("%+v, then %+v, %v", first, again, err)
	}
	if first.concealed < 0.02 || first.estoi > 0.97 {
		t.Errorf("a fifth of the packets is lost, and yet: %+v", first)
	}
}

// TestOurs holds what a caller is promised on an ordinary path; the whole
// table is the program's output.
func TestOurs(t *testing.T) {
	b := small(t)
	v, p, err := b.speak(rivalOurs, lossCells()[0])
	if err != nil {
		t.Fatal(err)
	}
	if v.mos < 4.3 || v.live < 4.3 || v.delay > 25*ms+20*ms+60*ms {
		t.Errorf("on a clean path: %+v", v)
	}
	if p[0].bytes == 0 || v.rate > 64000 {
		t.Errorf("%.0f bit/s", v.rate)
	}
	h, err := b.chirp(rivalOurs, cell{network: network{}})
	if err != nil || h.delay > 60*ms {
		t.Errorf("mouth to ear without a way is %v, %v", h.delay, err)
	}
}

func TestSamples(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x.ogg")
	pcm := make([]int16, 48000)
	(&voice.Tone{}).ReadPCM(pcm)
	if err := encode(name, pcm); err != nil {
		t.Fatal(err)
	}
	back, err := decode(name)
	if err != nil || len(back) != len(pcm) {
		t.Errorf("%d samples came back, %v", len(back), err)
	}
	if _, err := decode("bench_test.go"); err == nil {
		t.Error("a program was decoded")
	}
}
