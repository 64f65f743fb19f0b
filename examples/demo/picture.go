// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/p2pos/p2pos/media"
)

// The picture: the network on top, then how the call came about, then what was
// said and heard.
const (
	pictureWidth  = 1200
	pictureHeight = 1214
	left, right   = 110, 1160 // of everything that has a time axis
)

func draw(r result) []byte {
	s := newSVG(pictureWidth, pictureHeight)
	s.bold(40, 46, 22, ink, "start", "A call through a network of computers that are all behind NATs, without a server")
	sub := fmt.Sprintf("%d seconds of speech both ways; %d simulated nodes, none with an open address, %.0f ms one way between any two", r.seconds, len(r.net.places), ms(oneWay))
	if r.loss > 0 {
		sub += fmt.Sprintf(", %.3g %% of the packets between a and b lost", 100*r.loss)
	}
	s.text(40, 70, 13, soft, "start", "%s", sub)
	drawNetwork(s, r)
	drawSetup(s, r, 470)
	for i, d := range r.ways {
		drawWay(s, r, d, 760+float64(i)*222)
	}
	s.text(40, pictureHeight-16, 12, soft, "start",
		"Time in seconds since the first sound came in. Light: peaks; dark: level (RMS). Bar: each 200 ms recognized (green), not (red), a pause (grey). Red ticks: concealed.")
	return s.end()
}

// drawNetwork shows the two, their boxes, and who carries what between them.
func drawNetwork(s *svg, r result) {
	const top, y, relayY, boxA, boxB = 88, 338.0, 192.0, 285.0, 915.0
	s.rect(40, top, 1120, 340, 10, panel, faint)
	for _, p := range []struct {
		of              *place
		x, box, from, w float64
	}{{r.net.a, 120, boxA, 58, 227}, {r.net.b, 1080, boxB, 915, 227}} {
		s.rect(p.from, y-62, p.w, 136, 10, "white", faint) // a home network
		defer func() {
			s.rect(p.box-12, y-30, 24, 60, 4, "#4b5563", "#4b5563")
			s.text(p.box, y-87, 12, ink, "middle", "NAT box %v", p.of.nat)
			s.text(p.box, y-70, 11, classes[p.of.class].colour, "middle", "%s", classes[p.of.class].name)
			s.text(p.x, y+50, 12, ink, "middle", inside)
			s.text(p.x, y+67, 11, soft, "middle", "at home")
			s.circle(p.x, y, 22, "white", voice(p.of.name))
			s.bold(p.x, y+7, 20, voice(p.of.name), "middle", "%s", p.of.name)
		}()
	}
	for i, at := range r.relays[:min(len(r.relays), maxDrawn)] {
		p := r.net.places[at]
		x := 600 + 200*(float64(i)-float64(min(len(r.relays), maxDrawn)-1)/2)
		style := ""
		if i > 0 {
			style = `stroke-dasharray="5 5"`
		}
		s.line(violet, 3, style, 120, y, boxA, y-8, x, relayY, boxB, y-8, 1080, y)
		defer func() {
			s.circle(x, relayY, 18, "white", classes[p.class].colour)
			s.bold(x, relayY+6, 15, classes[p.class].colour, "middle", "%s", p.name)
			s.text(x, relayY-42, 12, ink, "middle", "NAT box %v", p.nat)
			s.text(x, relayY-27, 11, classes[p.class].colour, "middle", "%s", classes[p.class].name)
		}()
	}
	first := "1 · a finds b by its record, which other nodes keep; ring and first sound go direct"
	if len(r.relays) > 0 {
		first = "1 · a finds b by its record, which other nodes keep; ring and first sound go through others as well, encrypted (dashed: in reserve)"
	}
	s.text(600, top+24, 12, violet, "middle", "%s", first)
	if !r.a.direct.IsZero() {
		s.line(green, 4, "", 120, y, boxA, y, boxB, y, 1080, y)
		s.text(600, y-10, 12, green, "middle", "2 · both send to each other at once: each opens its own box")
		s.bold(600, y+22, 14, green, "middle", "3 · after %.0f ms the call is direct: round trip %.0f ms", ms(r.after(r.a.direct)), ms(r.rtt))
	} else {
		s.bold(600, y+22, 14, violet, "middle", "the call stays relayed: round trip %.0f ms", ms(r.rtt))
		s.text(600, y+42, 12, soft, "middle", "%s", r.path.Reason)
	}
	s.text(600, top+328, 11, soft, "middle", "the other %d nodes: see network.svg", len(r.net.places)-2)
}

// maxDrawn relays fit in.
const maxDrawn = 3

// moment is something that happened in the set-up, on one side.
type moment struct {
	at   time.Time
	what string
}

func drawSetup(s *svg, r result, top float64) {
	a := []moment{
		{r.a.called, "a calls"}, {r.a.placed, "found; INVITE leaves"}, {r.a.ringing, "it rings"},
		{r.a.answered, "answered"}, {r.a.media, "hears b"},
	}
	b := []moment{{r.b.incoming, "rings; b answers"}, {r.b.media, "hears a"}}
	longest := time.Duration(0)
	for _, m := range append(slices.Clone(a), b...) {
		longest = max(longest, m.at.Sub(r.a.called))
	}
	step := grid(longest)
	end := longest * 5 / 4 // room for the labels of what comes last
	x := func(t time.Time) float64 {
		return left + (right-left)*float64(t.Sub(r.a.called))/float64(end)
	}
	laneA, laneB := top+112, top+176
	s.bold(40, top, 15, ink, "start", "Setting up")
	s.text(right, top, 12, soft, "end", "milliseconds since a began to call")
	for t := time.Duration(0); t <= end; t += step {
		at := x(r.a.called.Add(t))
		s.line(faint, 1, "", at, laneA-8, at, laneB+8)
		s.text(at, laneB+64, 11, soft, "middle", "%d ms", t.Milliseconds())
	}
	// What a does before its INVITE can leave.
	s.rect(x(r.a.called), laneA-7, max(1, x(r.a.placed)-x(r.a.called)), 14, 0, "#dbeafe", "none")
	s.text((x(r.a.called)+x(r.a.placed))/2, laneA+24, 12, soft, "middle", "lookup: b's record, kept by other nodes")
	for i, name := range []string{"a", "b"} {
		y := []float64{laneA, laneB}[i]
		s.line(voice(name), 2, "", left, y, right, y)
		s.bold(left-30, y+6, 18, voice(name), "middle", "%s", name)
	}
	s.arrow(soft, x(r.a.placed), laneA, x(r.b.incoming), laneB)
	s.arrow(soft, x(r.b.answered), laneB, x(r.a.answered), laneA)
	s.arrow(soft, x(r.a.answered), laneA, x(r.b.media), laneB)
	drawMoments(s, a, r.a.called, x, laneA, -1, voiceA)
	drawMoments(s, b, r.a.called, x, laneB, 1, voiceB)
}

// drawMoments writes labels above (-1) or below (1) a lane, one a row, the
// first one farthest out, so that no label crosses the line of another.
func drawMoments(s *svg, list []moment, zero time.Time, x func(time.Time) float64, lane, side float64, colour string) {
	const row = 17
	for i, m := range list {
		at := x(m.at)
		y := lane + side*(16+row*float64(len(list)-1-i))
		s.line("#9ca3af", 1, "", at, lane, at, y)
		s.circle(at, lane, 4.5, "white", colour)
		s.text(at+5, y+4+side*4, 12, ink, "start", "%.0f ms · %s", ms(m.at.Sub(zero)), m.what)
	}
}

// grid returns the step of a time axis that gives it five to ten lines.
func grid(length time.Duration) time.Duration {
	for step := 10 * time.Millisecond; ; step *= 10 {
		for _, f := range []time.Duration{1, 2, 5} {
			if length/(step*f) < 10 {
				return step * f
			}
		}
	}
}

// drawWay shows what one said and the other heard, on a common clock.
func drawWay(s *svg, r result, d direction, top float64) {
	const high, gap = 66.0, 12.0
	colour := voice(d.speaker)
	verdict, ok := "heard", green
	if !d.heard.enough() {
		verdict, ok = "NOT heard", red
	}
	s.bold(40, top, 15, ink, "start", "%s speaks, %s listens", d.speaker, d.listener)
	s.bold(250, top, 14, ok, "start", "%s: %.0f %% recognized", verdict, 100*d.heard.Share)
	s.text(right, top, 13, ink, "end", "correlation %.3f · lost %.1f %% · concealed %.1f %% · mouth to ear %.0f ms · MOS %.1f",
		d.heard.Correlation, 100*lost(d.stats), 100*d.stats.Concealed, ms(d.delay()), d.stats.MOS)

	end := time.Duration(r.seconds)*time.Second + 500*time.Millisecond
	scale := (right - left) / end.Seconds()
	x := func(t time.Time) float64 { return left + t.Sub(d.zero(r)).Seconds()*scale }
	said, ear := top+16, top+16+high+gap
	for t := time.Duration(0); t <= end; t += grid(end) {
		at := left + t.Seconds()*scale
		s.line(faint, 1, "", at, said, at, ear+high+14)
		s.text(at, ear+high+28, 11, soft, "middle", "%d s", int(t.Seconds()))
	}
	s.text(left-12, said+high/2+4, 12, ink, "end", "%s says", d.speaker)
	s.text(left-12, ear+high/2+4, 12, ink, "end", "%s hears", d.listener)
	wave(s, d.said, x(d.from), scale, said+high/2, high/2, colour)
	wave(s, d.recorded, x(d.hears), scale, ear+high/2, high/2, colour)
	for _, f := range d.missing {
		at := x(d.hears) + float64(f)*media.FrameSamples/media.ClockRate*scale
		s.line(red, 1.5, "", at, ear, at, ear+7)
	}
	for i, b := range d.heard.Blocks {
		fill := "#d1d5db"
		switch {
		case b.Speech && b.Correlation >= sameSound:
			fill = "#22c55e"
		case b.Speech:
			fill = red
		}
		const width = float64(blockLow) / lowRate
		at := x(d.from.Add(d.delay())) + float64(i)*width*scale
		s.rect(at, ear+high+4, width*scale-1, 7, 0, fill, "none")
	}
}

// zero is where the time axis of the sounds begins: the first one heard.
func (d direction) zero(r result) time.Time {
	if r.b.media.Before(r.a.media) {
		return r.b.media
	}
	return r.a.media
}

// wave draws a sound: its peaks, and over them its level.
func wave(s *svg, pcm []int16, x, scale, middle, half float64, colour string) {
	const column = 1.5 // pixels
	samples := max(1, int(column/scale*media.ClockRate))
	var peaks, levels, downPeaks, downLevels []float64
	for i := 0; i < len(pcm); i += samples {
		part := pcm[i:min(i+samples, len(pcm))]
		at := x + float64(i)/media.ClockRate*scale
		if at > right {
			break
		}
		if at < left {
			continue
		}
		peak, level := 0.0, rms(part)/32768*half*1.6
		for _, v := range part {
			peak = max(peak, math.Abs(float64(v))/32768*half*1.6)
		}
		peak, level = min(peak, half), min(level, half)
		peaks, levels = append(peaks, at, middle-peak), append(levels, at, middle-level)
		downPeaks, downLevels = append(downPeaks, at, middle+peak), append(downLevels, at, middle+level)
	}
	s.line(faint, 1, "", left, middle, right, middle)
	s.shape(colour, 0.3, outline(peaks, downPeaks))
	s.shape(colour, 0.9, outline(levels, downLevels))
}

// outline goes along one side and back along the other.
func outline(up, down []float64) []float64 {
	points := slices.Clone(up)
	for i := len(down) - 2; i >= 0; i -= 2 {
		points = append(points, down[i], down[i+1])
	}
	return points
}
