// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"regexp"
	"testing"
)

// chart is one panel of the dashboard with its numbers.
type chart struct {
	title, unit string
	stat        bool
	x, y, w, h  int // as Grafana counts, 24 to a row
	lines       []series
}

const cellW, cellH = 50, 30 // pixels of a cell of Grafana's grid

var hues = []string{"#1f6f5c", "#c0562f", "#3b6fb6", "#8a5fb0", "#b08a1e", "#4f8a10", "#a33a5a", "#5a5a5a"}

// draw renders the panels as one picture.
func draw(list []chart) []byte {
	var b bytes.Buffer
	bottom := 0
	for _, c := range list {
		bottom = max(bottom, (c.y+c.h)*cellH)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">`+"\n", 24*cellW, bottom+10)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#f6f5f1"/>`+"\n")
	for _, c := range list {
		c.draw(&b)
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

func (c *chart) draw(b *bytes.Buffer) {
	x, y, w, h := float64(c.x*cellW+5), float64(c.y*cellH+5), float64(c.w*cellW-10), float64(c.h*cellH-10)
	fmt.Fprintf(b, `<rect x="%g" y="%g" width="%g" height="%g" rx="6" fill="#fff" stroke="#dcd9d0"/>`+"\n", x, y, w, h)
	say := func(x, y float64, size int, colour, anchor, text string) {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" font-size="%d" fill="%s" text-anchor="%s">%s</text>`+"\n", x, y, size, colour, anchor, html.EscapeString(text))
	}
	say(x+10, y+18, 12, "#222", "start", c.title)
	if c.stat {
		for i, l := range c.lines {
			at := x + 10 + float64(i)*(w-20)/float64(len(c.lines))
			say(at, y+62, 26, hues[i%len(hues)], "start", inUnit(l.value[len(l.value)-1], c.unit))
			say(at, y+90, 10, "#666", "start", l.name)
		}
		return
	}
	top, end := 0.0, 1.0
	for _, l := range c.lines {
		for i, v := range l.value {
			top, end = max(top, v), max(end, l.at[i])
		}
	}
	if top == 0 {
		top = 1
	}
	left, right, low, high := x+62, x+w-12, y+h-40, y+32
	for i := range 3 {
		v := top * float64(i) / 2
		at := low - (low-high)*float64(i)/2
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#eceae4"/>`+"\n", left, at, right, at)
		say(left-6, at+4, 10, "#666", "end", inUnit(v, c.unit))
	}
	legend := x + 10
	for i, l := range c.lines {
		hue := hues[i%len(hues)]
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.6" points="`, hue)
		for j, v := range l.value {
			fmt.Fprintf(b, "%.1f,%.1f ", left+(right-left)*l.at[j]/end, low-(low-high)*v/top)
		}
		fmt.Fprintln(b, `"/>`)
		if width := float64(22 + 6*len(l.name)); legend+width < x+w {
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="9" height="9" fill="%s"/>`+"\n", legend, y+h-22, hue)
			say(legend+13, y+h-14, 10, "#444", "start", l.name)
			legend += width
		}
	}
}

// inUnit writes a value as Grafana would.
func inUnit(v float64, unit string) string {
	scale := func(v float64, base float64, names ...string) string {
		i := 0
		for v >= base && i < len(names)-1 {
			v, i = v/base, i+1
		}
		return fmt.Sprintf("%.3g %s", v, names[i])
	}
	switch unit {
	case "s":
		if v < 1 {
			return fmt.Sprintf("%.3g ms", v*1000)
		}
		return fmt.Sprintf("%.3g s", v)
	case "percentunit":
		return fmt.Sprintf("%.3g %%", v*100)
	case "bps":
		return scale(v, 1000, "b/s", "kb/s", "Mb/s", "Gb/s")
	case "bytes":
		return scale(v, 1024, "B", "KiB", "MiB", "GiB")
	}
	return fmt.Sprintf("%.3g", v)
}

// Every name that the dashboard asks for is listed in docs/metrics.md, and each
// listed family is asked for.
func TestDashboardNames(t *testing.T) {
	page, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)").FindAllSubmatch(page, -1) {
		listed[string(m[1])] = false
	}
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			for _, name := range regexp.MustCompile(`\b(p2pos|go)_[a-z_]+`).FindAllString(q.Expr, -1) {
				if _, ok := listed[name]; !ok {
					name = suffix.ReplaceAllString(name, "")
				}
				if _, ok := listed[name]; !ok {
					t.Errorf("%s asks for %s, which docs/metrics.md does not list", p.Title, name)
				}
				listed[name] = true
			}
		}
	}
	for name, asked := range listed {
		if !asked {
			t.Errorf("no panel shows %s", name)
		}
	}
}
