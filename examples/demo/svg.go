// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// svg is a picture being drawn. Lengths are pixels from the top left.
type svg struct{ bytes.Buffer }

// Colours. A speaker's colour follows the voice to the other side.
const (
	ink    = "#1f2937"
	soft   = "#6b7280"
	faint  = "#e5e7eb"
	panel  = "#f9fafb"
	voiceA = "#2563eb"
	voiceB = "#c2570c"
	green  = "#15803d"
	red    = "#dc2626"
	violet = "#7c3aed"
)

func voice(name string) string {
	if name == "a" {
		return voiceA
	}
	return voiceB
}

func newSVG(width, height int) *svg {
	s := &svg{}
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">`+"\n",
		width, height, width, height)
	fmt.Fprintf(s, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	return s
}

func (s *svg) end() []byte {
	s.WriteString("</svg>\n")
	return s.Bytes()
}

// text writes at the baseline; anchor is start, middle or end.
func (s *svg) text(x, y, size float64, colour, anchor, format string, args ...any) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" font-size="%.0f" fill="%s" text-anchor="%s">`, x, y, size, colour, anchor)
	xml.EscapeText(s, fmt.Appendf(nil, format, args...))
	s.WriteString("</text>\n")
}

func (s *svg) bold(x, y, size float64, colour, anchor, format string, args ...any) {
	s.WriteString(`<g font-weight="bold">`)
	s.text(x, y, size, colour, anchor, format, args...)
	s.WriteString("</g>\n")
}

func (s *svg) rect(x, y, w, h, round float64, fill, stroke string) {
	fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.0f" fill="%s" stroke="%s"/>`+"\n", x, y, w, h, round, fill, stroke)
}

func (s *svg) circle(x, y, r float64, fill, stroke string) {
	fmt.Fprintf(s, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s" stroke="%s" stroke-width="2"/>`+"\n", x, y, r, fill, stroke)
}

// line draws through points given as x, y, x, y …; style is more attributes.
func (s *svg) line(colour string, width float64, style string, points ...float64) {
	var d strings.Builder
	for i := 0; i+1 < len(points); i += 2 {
		fmt.Fprintf(&d, "%.1f,%.1f ", points[i], points[i+1])
	}
	fmt.Fprintf(s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f" %s/>`+"\n", strings.TrimSpace(d.String()), colour, width, style)
}

// arrow draws a line with a head at its end.
func (s *svg) arrow(colour string, x1, y1, x2, y2 float64) {
	s.line(colour, 1.5, "", x1, y1, x2, y2)
	down := 1.0
	if y2 < y1 {
		down = -1
	}
	fmt.Fprintf(s, `<polygon points="%.1f,%.1f %.1f,%.1f %.1f,%.1f" fill="%s"/>`+"\n", x2, y2, x2-6, y2-9*down, x2+2, y2-10*down, colour)
}

// shape fills a polygon.
func (s *svg) shape(fill string, opacity float64, points []float64) {
	s.WriteString(`<path d="M`)
	for i := 0; i+1 < len(points); i += 2 {
		fmt.Fprintf(s, "%.1f %.1f ", points[i], points[i+1])
	}
	fmt.Fprintf(s, `Z" fill="%s" fill-opacity="%.2f"/>`+"\n", fill, opacity)
}
