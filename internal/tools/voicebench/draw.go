// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/voice"
)

// chart is a small line chart over loss.
type chart struct {
	title, unit string
	low, high   float64
	step        float64
	value       func(result) float64
}

const (
	chartWidth, chartHeight = 460, 300
	plotLeft, plotTop       = 52, 44
	plotWidth, plotHeight   = 380, 200
)

// draw writes voice.svg: words, score, concealment and delay over loss.
func draw(dir string, rows []row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	charts := []chart{
		{"Intelligibility (ESTOI)", "", 0.5, 1, 0.1, func(r result) float64 { return r.estoi }},
		{"Score (E-model MOS)", "", 1, 4.5, 0.5, func(r result) float64 { return r.mos }},
		{"Concealed: heard, but never said", " %", 0, 20, 5, func(r result) float64 { return 100 * r.concealed }},
		{"Mouth to ear", " ms", 0, 1500, 250, func(r result) float64 { return float64(r.delay.Milliseconds()) }},
	}
	var b bytes.Buffer
	w, h := 2*chartWidth, 2*chartHeight+40
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">`+"\n", w, h)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", w, h)
	for i, c := range charts {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%2*chartWidth, i/2*chartHeight)
		c.draw(&b, rows)
		b.WriteString("</g>\n")
	}
	for r := range rivals {
		x, y := 60+int(r)*300, h-16
		if r > 0 {
			x -= 150
		}
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="5" fill="%s"/><text x="%d" y="%d" font-size="13">%v</text>`+"\n", x, y-4, colours[r], x+10, y, r)
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(dir, "voice.svg"), b.Bytes(), 0o644)
}

// colours that the colour-blind can tell apart, too.
var colours = [rivals]string{"#0072b2", "#e69f00", "#999999"}

func (c chart) draw(b *bytes.Buffer, rows []row) {
	y := func(v float64) float64 {
		return plotTop + plotHeight*(1-(min(max(v, c.low), c.high)-c.low)/(c.high-c.low))
	}
	fmt.Fprintf(b, `<text x="%d" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", plotLeft, c.title)
	for v := c.low; v <= c.high+c.step/100; v += c.step {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`, plotLeft, y(v), plotLeft+plotWidth, y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" font-size="11" text-anchor="end">%s%s</text>`+"\n", plotLeft-6, y(v)+4, strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64), c.unit)
	}
	// Random loss is a line; bursts, the last row, stand apart as dots.
	x := func(i int) float64 { return plotLeft + 25 + float64(i)*(plotWidth-50)/float64(len(rows)-1) }
	for i, r := range rows {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" font-size="11" text-anchor="middle">%s</text>`+"\n", x(i), plotTop+plotHeight+18, strings.TrimSuffix(strings.TrimSuffix(r.name, " random"), " of 3"))
	}
	for r := rivals - 1; r >= 0; r-- {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2.5" points="`, colours[r])
		for i, row := range rows[:len(rows)-1] {
			fmt.Fprintf(b, "%.1f,%.1f ", x(i), y(c.value(row.results[r])))
		}
		b.WriteString(`"/>` + "\n")
		for i, row := range rows {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", x(i), y(c.value(row.results[r])), colours[r])
		}
	}
}

// samples writes what is heard at 20 % of loss, as plain Opus brings it and as
// we do. It is taken from the third time that the speech is said, when the call
// has found its way.
func (b *bench) samples(dir string) error {
	words := len(b.voices[0])
	long := *b
	long.length = time.Duration(3*words) * time.Second / voice.SampleRate
	for _, c := range lossCells() {
		if c.loss != 0.2 {
			continue
		}
		kind := "random"
		if c.burst > 1 {
			kind = "bursts"
		}
		for r, name := range map[rival]string{rivalTuned: "before", rivalOurs: "after"} {
			v, p, err := long.speak(r, c)
			if err != nil {
				return err
			}
			from := 2*words + int(v.delay.Seconds()*voice.SampleRate)
			file := filepath.Join(dir, fmt.Sprintf("20-percent-%s-%s.ogg", kind, name))
			if err := encode(file, p[1].heard[from:from+words]); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode writes sound as a file of 24 kb/s.
func encode(name string, pcm []int16) error {
	enc, err := libopus.NewEncoder(libopus.EncoderConfig{Bitrate: 24000, Complexity: 10})
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := ogg.NewWriter(f, ogg.Options{})
	if err != nil {
		return err
	}
	packet := make([]byte, libopus.MaxPacket)
	for ; len(pcm) >= media.FrameSamples; pcm = pcm[media.FrameSamples:] {
		n, err := enc.Encode(pcm[:media.FrameSamples], packet)
		if err != nil {
			return err
		}
		if err := w.WritePacket(packet[:n], media.FrameSamples); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
