// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// report is what one run of a scenario found.
type report struct {
	Scenario string   `json:"scenario"`
	N        int      `json:"n"`
	Mix      string   `json:"mix"`
	Odds     string   `json:"punching"`
	Seed     uint64   `json:"seed"`
	Form     string   `json:"form"`             // how the network came about
	Trace    string   `json:"trace,omitempty"`  // hash of all that happened
	Events   uint64   `json:"events,omitempty"` // how much that was
	Virtual  string   `json:"virtual,omitempty"`
	Took     string   `json:"took"`
	Metrics  []metric `json:"metrics"`

	curves []curve // for pictures
}

// metric is one number, beside what the simulation behind the design had and
// what was promised.
type metric struct {
	Name      string  `json:"name"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit,omitempty"`
	Reference string  `json:"reference,omitempty"`
	Target    string  `json:"target,omitempty"`
	Missed    bool    `json:"missed,omitempty"`
}

// curve is a list of values to draw.
type curve struct {
	name   string
	values []float64
}

func (r *report) add(name string, v float64, unit string) *metric {
	r.Metrics = append(r.Metrics, metric{Name: name, Value: v, Unit: unit})
	return &r.Metrics[len(r.Metrics)-1]
}

func (m *metric) atMost(v float64) *metric {
	m.Target, m.Missed = "≤ "+plain(v), m.Value > v
	return m
}

func (m *metric) atLeast(v float64) *metric {
	m.Target, m.Missed = "≥ "+plain(v), m.Value < v
	return m
}

// was names the value of the simulation behind the design.
func (m *metric) was(s string) *metric {
	m.Reference = s
	return m
}

func (r *report) curve(name string, values []float64) {
	r.curves = append(r.curves, curve{name, values})
}

// fates adds the times of messages.
func (r *report) fates(name string, f *fate) (rate, p50, p99 *metric) {
	// The pointers hold until the next add, so all three rows come first.
	r.add(name+": arrived", f.rate(), "%")
	r.add(name+": one way p50", f.ms(50), "ms")
	r.add(name+": one way p99", f.ms(99), "ms")
	n := len(r.Metrics)
	return &r.Metrics[n-3], &r.Metrics[n-2], &r.Metrics[n-1]
}

// plain writes a number with as many digits as matter.
func plain(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 99.9 && v < 100:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	s := strconv.FormatFloat(v, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// print writes a report as a table.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s   n=%d  mix %s  punching %s  %s  seed %d\n", r.Scenario, r.N, r.Mix, r.Odds, r.Form, r.Seed)
	fmt.Fprintf(w, "  %-52s %12s  %-22s %-10s\n", "", "here", "reference", "target")
	for _, m := range r.Metrics {
		verdict := ""
		if m.Missed {
			verdict = "MISSED"
		}
		line := fmt.Sprintf("  %-52s %12s  %-22s %-10s %s", m.Name, strings.TrimSpace(plain(m.Value)+" "+m.Unit), m.Reference, m.Target, verdict)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	if r.Trace != "" {
		fmt.Fprintf(w, "  trace %s, %d events, %s of virtual time, took %s\n", r.Trace, r.Events, r.Virtual, r.Took)
	}
}
