// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// draw writes the pictures that the reports have numbers for: one chart of
// distributions for each report, and a map of a small network.
func (b *bench) draw(dir string, reports []*report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range reports {
		if len(r.curves) == 0 {
			continue
		}
		times := panel{title: "One way, milliseconds", of: "messages that arrived"}
		links := panel{title: "Links of a node", of: "nodes"}
		load := panel{title: "Messages passed on by a node, 1 = mean", of: "nodes"}
		for _, c := range r.curves {
			switch {
			case c.name == "forwarded":
				m := max(mean(c.values), 1e-9)
				for i := range c.values {
					c.values[i] /= m
				}
				load.curves = append(load.curves, curve{"all", c.values})
			case strings.HasPrefix(c.name, "links"):
				if name := strings.TrimSpace(strings.TrimPrefix(c.name, "links")); name != "" {
					links.curves = append(links.curves, curve{name, c.values})
				}
			default:
				times.curves = append(times.curves, c)
			}
		}
		name := fmt.Sprintf("%s-%d-%s.svg", r.Scenario, r.N, strings.ReplaceAll(r.Mix, "/", "-"))
		title := fmt.Sprintf("%s: %d nodes, %s %% public/EIM/EDM/CGN", r.Scenario, r.N, r.Mix)
		if err := os.WriteFile(filepath.Join(dir, name), chart(title, times, links, load), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "map.svg"), b.networkMap(), 0o644)
}

// panel is one distribution chart: which share is at most so much.
type panel struct {
	title, of string
	curves    []curve
}

const (
	panelWidth, panelHeight = 460, 320
	plotLeft, plotTop       = 52, 40
	plotWidth, plotHeight   = 380, 220
)

// colours that the colour-blind can tell apart, too.
func colour(i int) string {
	return [...]string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#999999"}[i%5]
}

// chart draws panels side by side, those that have curves.
func chart(title string, panels ...panel) []byte {
	var body bytes.Buffer
	n := 0
	for _, p := range panels {
		if len(p.curves) > 0 {
			fmt.Fprintf(&body, `<g transform="translate(%d 30)">`+"\n", n*panelWidth)
			p.draw(&body)
			body.WriteString("</g>\n")
			n++
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">`+"\n", n*panelWidth, panelHeight+30)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", n*panelWidth, panelHeight+30)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", plotLeft, title)
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (p panel) draw(b *bytes.Buffer) {
	most := 0.0
	for _, c := range p.curves {
		most = max(most, at(c.values, 99.5))
	}
	step := math.Pow(10, math.Floor(math.Log10(max(most, 1)/2)))
	for most/step > 6 {
		step *= 2
	}
	right := step * math.Ceil(max(most, step)/step)
	x := func(v float64) float64 { return plotLeft + plotWidth*min(v, right)/right }
	y := func(share float64) float64 { return plotTop + plotHeight*(1-share) }
	fmt.Fprintf(b, `<text x="%d" y="28" font-size="13">%s</text>`+"\n", plotLeft, p.title)
	for i := range 5 {
		s := float64(i) / 4
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`, plotLeft, y(s), plotLeft+plotWidth, y(s))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" font-size="11" text-anchor="end">%.0f %%</text>`+"\n", plotLeft-6, y(s)+4, 100*s)
	}
	for v := 0.0; v <= right+step/100; v += step {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#eeeeee"/>`, x(v), plotTop, x(v), plotTop+plotHeight)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" font-size="11" text-anchor="middle">%.4g</text>`+"\n", x(v), plotTop+plotHeight+16, v)
	}
	for i, c := range p.curves {
		if len(p.curves) == 1 {
			c.name = ""
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colour(i))
		const points = 120
		for k := range points + 1 {
			s := float64(k) / points
			fmt.Fprintf(b, "%.1f,%.1f ", x(at(c.values, 100*s)), y(s))
		}
		b.WriteString(`"/>` + "\n")
		if c.name == "" {
			continue
		}
		lx, ly := plotLeft+plotWidth-105, plotTop+plotHeight-14-16*(len(p.curves)-1-i)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="110" height="16" fill="white"/><circle cx="%d" cy="%d" r="4" fill="%s"/>`, lx-10, ly-12, lx, ly-4, colour(i))
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="12">%s</text>`+"\n", lx+10, ly, c.name)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="11" fill="#555555">share of %s that have at most this</text>`+"\n", plotLeft, plotTop+plotHeight+34, p.of)
}
