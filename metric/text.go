// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package metric

import (
	"math"
	"strconv"
	"strings"
)

// The content types of what is written.
const (
	OpenMetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	TextType        = "text/plain; version=0.0.4; charset=utf-8"
)

// OpenMetrics returns the families as OpenMetrics 1.0 text.
func OpenMetrics(list []Family) []byte {
	b := write(list, true)
	return append(b, "# EOF\n"...)
}

// Text returns the families in Prometheus' older text format 0.0.4, which knows
// neither infos nor units.
func Text(list []Family) []byte { return write(list, false) }

func write(list []Family, open bool) []byte {
	var b []byte
	for _, f := range list {
		sample, kind := f.Name, f.Kind
		switch f.Kind {
		case Counter:
			sample += "_total"
		case Info:
			sample += "_info"
			if !open {
				kind = Gauge
			}
		}
		name := f.Name
		if !open {
			name = sample
		}
		b = append(b, "# TYPE "+name+" "+string(kind)+"\n"...)
		if open && f.Unit != "" {
			b = append(b, "# UNIT "+name+" "+f.Unit+"\n"...)
		}
		b = append(b, "# HELP "+name+" "+help(f.Help, open)+"\n"...)
		for _, p := range f.Points {
			if f.Kind == Histogram {
				b = buckets(b, f.Name, p)
				continue
			}
			b = line(b, sample, p.Labels, p.Value)
		}
	}
	return b
}

func buckets(b []byte, name string, p Point) []byte {
	var sum uint64
	for i, n := range p.Counts {
		sum += n
		le := "+Inf"
		if i < len(p.Bounds) {
			le = number(p.Bounds[i])
		}
		b = line(b, name+"_bucket", append(p.Labels[:len(p.Labels):len(p.Labels)], Label{"le", le}), float64(sum))
	}
	b = line(b, name+"_sum", p.Labels, p.Sum)
	return line(b, name+"_count", p.Labels, float64(sum))
}

func line(b []byte, name string, labels []Label, v float64) []byte {
	b = append(b, name...)
	for i, l := range labels {
		if i == 0 {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = append(b, l.Name+`="`+escape.Replace(l.Value)+`"`...)
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	return append(b, " "+number(v)+"\n"...)
}

// number writes bounds as OpenMetrics wants them, 1 as 1.0.
func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case v != v:
		return "NaN"
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// escape is for label values, and never changes.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func help(s string, open bool) string {
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
	if open {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}
