// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/tools/estoi"
	"github.com/p2pos/p2pos/media/voice"
)

// late makes a person who heard what src says after a delay, by a sound card
// that runs ppm fast.
func late(src voice.Source, delay time.Duration, ppm float64, length time.Duration) *person {
	said := make([]int16, int(length.Seconds()*voice.SampleRate))
	src.ReadPCM(said)
	p := newPerson(nil, nil, start, length)
	p.period = time.Duration(float64(piece) * (1 - ppm/1e6))
	heard := make([]int16, len(said)+voice.SampleRate)
	for i := range heard {
		at := float64(i)*p.period.Seconds()/piece.Seconds() - delay.Seconds()*voice.SampleRate
		if k := int(math.Round(at)); k >= 0 && k < len(said) {
			heard[i] = said[k]
		}
	}
	p.heard = heard
	return p
}

func TestChirps(t *testing.T) {
	for _, c := range []struct {
		delay time.Duration
		ppm   float64
	}{{0, 0}, {87 * ms, 0}, {1700 * ms, 0}, {120 * ms, 200}, {120 * ms, -200}} {
		d, said := chirps(late(&voice.Chirp{}, c.delay, c.ppm, 60*time.Second), 60*time.Second)
		if len(d) != 29 || said != 29 {
			t.Errorf("%v: %d chirps of %d", c, len(d), said)
		}
		for i, v := range d {
			if off := v - c.delay; off < -ms || off > ms {
				t.Errorf("%+v: chirp %d came after %v", c, i, v)
			}
		}
	}
	if d, _ := chirps(late(&voice.Tone{}, 0, 0, 20*time.Second), 20*time.Second); len(d) != 0 {
		t.Errorf("%d chirps heard in a tone", len(d))
	}
	if median(nil) != 0 || median([]time.Duration{3, 1, 2}) != 2 {
		t.Error("median")
	}
}

func TestUsual(t *testing.T) {
	// Noise in words and pauses.
	x := make([]float64, 8*estoi.Rate)
	s := uint64(1)
	for i := range x {
		s = s*6364136223846793005 + 1442695040888963407
		if (i/3000)*(i/3000)%7 < 3 {
			x[i] = float64(int32(s>>32)) / (1 << 31)
		}
	}
	for _, delay := range []int{0, 870, 23000} {
		y := append(make([]float64, delay), x...)
		if got := usual(x, y); got < delay-100 || got > delay+100 {
			t.Errorf("delay of %d found as %d", delay, got)
		}
	}
}

func TestDraw(t *testing.T) {
	var rows []row
	for _, c := range lossCells() {
		r := row{cell: c}
		for i := range r.results {
			r.results[i] = result{estoi: 0.9, mos: 4, concealed: 2, delay: time.Hour}
		}
		rows = append(rows, r)
	}
	dir := t.TempDir()
	if err := draw(dir, rows); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "voice.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	points := 0
	for d := xml.NewDecoder(f); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "circle" {
			points++
		}
	}
	if want := 4*len(rows)*int(rivals) + int(rivals); points != want {
		t.Errorf("%d points, want %d", points, want)
	}
}
