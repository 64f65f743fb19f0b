// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/mesh"
)

const (
	mapNodes = 60
	mapWidth = 900
	mapRing  = 350 // radius of the circle of nodes
)

// networkMap grows a small network without any public node and draws it: nodes
// in a circle in order of their IDs, so that siblings stand side by side, the
// links, and the way of one ring.
func (b *bench) networkMap() []byte {
	w := newWorld(setup{n: mapNodes, mix: mix{easy: 0.5, hard: 0.33, carrier: 0.17}, odds: b.odds, seed: 1}, nil)
	w.grow()
	w.run(calm)
	from, to, way := w.longWay()

	order := slices.Clone(w.nodes)
	slices.SortFunc(order, func(a, b *node) int { return a.id.Compare(b.id) })
	place := func(n *node) (x, y float64) {
		a := 2*math.Pi*float64(slices.Index(order, n))/mapNodes - math.Pi/2
		return mapWidth/2 + mapRing*math.Cos(a), mapWidth/2 + mapRing*math.Sin(a) + 15
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">`+"\n", mapWidth, mapWidth)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="white"/>`+"\n", mapWidth, mapWidth)
	fmt.Fprintf(&out, `<text x="30" y="36" font-size="18" font-weight="bold">%d nodes, all behind NATs, none special</text>`+"\n", mapNodes)
	fmt.Fprintf(&out, `<text x="30" y="58" font-size="13">in order of their IDs; a ring found its way over %d hops, each of them an ordinary node</text>`+"\n", len(way)-1)
	line := func(a, b *node, style string) {
		x1, y1 := place(a)
		x2, y2 := place(b)
		// Links bend inwards, so that those between siblings can be seen.
		fmt.Fprintf(&out, `<path d="M%.1f %.1f Q%.1f %.1f %.1f %.1f" fill="none" %s/>`+"\n",
			x1, y1, (x1+x2)/4+mapWidth/4, (y1+y2)/4+mapWidth/4, x2, y2, style)
	}
	for _, x := range w.nodes {
		for _, t := range x.ties {
			switch {
			case t.a != x:
			case t.carrier != nil:
				line(t.a, t.b, `stroke="#e69f00" stroke-width="0.8" stroke-dasharray="4 3" opacity="0.6"`)
			default:
				line(t.a, t.b, `stroke="#9ab8cc" stroke-width="0.6" opacity="0.6"`)
			}
		}
	}
	for i := 1; i < len(way); i++ {
		line(way[i-1], way[i], `stroke="#d55e00" stroke-width="3"`)
	}
	for _, x := range w.nodes {
		px, py := place(x)
		r := 6
		if x == from || x == to {
			r = 11
		}
		fmt.Fprintf(&out, `<circle cx="%.1f" cy="%.1f" r="%d" fill="%s" stroke="white"/>`+"\n", px, py, r, kindColour(x.kind))
	}
	for i, k := range []kind{easy, hard, carrier} {
		fmt.Fprintf(&out, `<circle cx="%d" cy="%d" r="6" fill="%s"/><text x="%d" y="%d" font-size="13">%s</text>`+"\n",
			40+i*190, mapWidth-30, kindColour(k), 54+i*190, mapWidth-26, kindName(k))
	}
	fmt.Fprintf(&out, `<path d="M610 %d h40" stroke="#e69f00" stroke-dasharray="4 3"/><text x="660" y="%d" font-size="13">carried by a neighbour of both</text>`+"\n", mapWidth-30, mapWidth-26)
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func kindColour(k kind) string { return [...]string{"#000000", "#0072b2", "#cc79a7", "#999999"}[k] }

func kindName(k kind) string {
	return [...]string{"public", "home router", "symmetric NAT", "carrier's NAT"}[k]
}

// longWay rings until one of several hops has arrived, and returns who passed
// it on; after some tries fewer hops will do.
func (w *world) longWay() (from, to *node, way []*node) {
	for tries := 0; ; tries++ {
		from, to = w.pair()
		passed := make(map[*node]*node)
		w.watching = func(x *node, e mesh.Passed) { passed[w.index[e.From]] = x; passed[x] = w.index[e.To] }
		r := w.ring(from, to, 1)
		w.run(5 * time.Second)
		if r.arrived == 0 || r.hops < max(1, 4-tries/50) || r.arrived-r.sent > moreAfter {
			continue
		}
		way = []*node{from}
		for x := from; x != to && len(way) < mapNodes; x = passed[x] {
			way = append(way, passed[x])
		}
		if way[len(way)-1] == to {
			return from, to, way
		}
	}
}
