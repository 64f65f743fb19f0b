// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"math"
)

// The map: all nodes on a circle by class, their links, and the call's path.
const (
	mapWidth, mapHeight = 1200, 860
	mapX, mapY, mapR    = 420, 470, 325
	legendX             = 830
)

// spot is where a place is drawn. The classes stand apart from each other.
func spot(places []*place, i int) (x, y, angle float64) {
	gap := 0.6
	all := float64(len(places)) + gap*float64(len(classes))
	at := float64(i) + gap*float64(places[i].class)
	angle = 2*math.Pi*at/all - math.Pi/2
	return mapX + mapR*math.Cos(angle), mapY + mapR*math.Sin(angle), angle
}

// chord draws a link, bent towards the middle.
func chord(s *svg, v survey, a, b int, colour string, width, opacity float64, style string) {
	x1, y1, _ := spot(v.places, a)
	x2, y2, _ := spot(v.places, b)
	cx, cy := mapX+((x1+x2)/2-mapX)*0.45, mapY+((y1+y2)/2-mapY)*0.45
	fmt.Fprintf(s, `<path d="M%.1f %.1f Q%.1f %.1f %.1f %.1f" fill="none" stroke="%s" stroke-width="%.1f" stroke-opacity="%.2f" %s/>`+"\n",
		x1, y1, cx, cy, x2, y2, colour, width, opacity, style)
}

func drawMap(r result) []byte {
	s, v := newSVG(mapWidth, mapHeight), r.net
	s.bold(40, 46, 22, ink, "start", "%d computers, every one behind a NAT, and the call from a to b", len(v.places))
	s.text(40, 70, 13, soft, "start", "Grey: links between nodes when a began to call. Violet: the ring and the first sound. Green: the direct path.")
	index := map[*place]int{}
	for i, p := range v.places {
		index[p] = i
	}
	for _, l := range v.links {
		colour, style := "#6b7280", ""
		if l.relayed {
			colour, style = violet, `stroke-dasharray="2 4"`
		}
		chord(s, v, l.a, l.b, colour, 1, 0.4, style)
	}
	a, b := index[v.a], index[v.b]
	for i, via := range r.relays {
		style := ""
		if i > 0 {
			style = `stroke-dasharray="6 5"`
		}
		chord(s, v, a, via, violet, 3, 0.9, style)
		chord(s, v, via, b, violet, 3, 0.9, style)
	}
	if !r.a.direct.IsZero() {
		chord(s, v, a, b, green, 5, 1, "")
	}
	for i, p := range v.places {
		x, y, angle := spot(v.places, i)
		colour, radius := classes[p.class].colour, 15.0
		fill, text := "white", colour
		if p == v.a || p == v.b {
			radius, fill, text = 21, voice(p.name), "white"
			ax, ay := mapX+(mapR+54)*math.Cos(angle), mapY+(mapR+54)*math.Sin(angle)
			word := "calls"
			if p == v.b {
				word = "is called"
			}
			s.text(ax, ay+4, 12, voice(p.name), "middle", "%s", word)
		}
		s.circle(x, y, radius, fill, colour)
		s.bold(x, y+5, 13, text, "middle", "%s", p.name)
	}
	drawLegend(s, r)
	return s.end()
}

func drawLegend(s *svg, r result) {
	y := 150.0
	s.bold(legendX, y, 15, ink, "start", "Boxes, and links of each node")
	shares := r.net.shares()
	for i, c := range classes {
		y += 26
		s.circle(legendX+8, y-4, 7, "white", c.colour)
		s.bold(legendX+24, y, 13, c.colour, "start", "%d %s", c.count, c.name)
		s.text(mapWidth-40, y, 13, ink, "end", "%v", shares[i])
	}
	y += 30
	s.text(legendX, y, 12, soft, "start", "%s. Node 1 is where the others", r.net.told())
	s.text(legendX, y+17, 12, soft, "start", "joined: its router keeps a port open to it.")
	y += 70
	s.bold(legendX, y, 15, ink, "start", "The call")
	step := func(colour, format string, args ...any) {
		y += 24
		s.text(legendX, y, 13, colour, "start", format, args...)
	}
	at := func(ns float64) string { return fmt.Sprintf("%.0f ms", ns) }
	step(soft, "from when a had b's ticket, without any address")
	step(ink, "%s · a has found b's record; the ring leaves", at(ms(r.after(r.a.placed))))
	step(ink, "%s · it rings", at(ms(r.after(r.a.ringing))))
	step(ink, "%s · a hears b", at(ms(r.after(r.a.media))))
	for i, via := range r.relays {
		word := "relayed by"
		if i > 0 {
			word = "and, as a spare, by"
		}
		step(violet, "%s %s", word, r.net.label(via))
	}
	if r.a.direct.IsZero() {
		step(violet, "it stays relayed")
	} else {
		step(green, "%s · direct: the boxes of a and b are punched", at(ms(r.after(r.a.direct))))
	}
	step(ink, "round trip at the end: %.0f ms", ms(r.rtt))
}
