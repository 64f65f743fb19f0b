// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package metric

import "slices"

// Kind says how a family's values behave.
type Kind string

// The kinds, as OpenMetrics names them.
const (
	Gauge     Kind = "gauge"     // goes up and down
	Counter   Kind = "counter"   // only grows, from 0 at the start of the node
	Histogram Kind = "histogram" // how many observations fell into which bucket
	Info      Kind = "info"      // labels that hardly change; the value is 1
)

// Family is one quantity.
type Family struct {
	Name   string // without _total, _info, _bucket
	Kind   Kind
	Unit   string // "seconds", "bytes", "ratio" or "": the end of Name
	Help   string // one sentence
	Points []Point
}

// Label is a name and a value that tell one Point from another.
type Label struct{ Name, Value string }

// Point is one value of a family.
type Point struct {
	Labels []Label // no two points of a family have the same
	Value  float64 // of gauges, counters and infos
	Buckets
}

// Buckets are the observations of a histogram.
type Buckets struct {
	Bounds []float64 // upper bounds, rising, without infinity
	Counts []uint64  // one for each bound, and one for what is above; not summed up
	Sum    float64   // of all observations
}

// NewBuckets returns empty buckets with these upper bounds.
func NewBuckets(bounds ...float64) Buckets {
	return Buckets{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// Observe counts one value; what is not a number is left out.
func (b *Buckets) Observe(v float64) {
	if v != v {
		return
	}
	i, _ := slices.BinarySearch(b.Bounds, v)
	b.Counts[i]++
	b.Sum += v
}

// Total returns how many values were observed.
func (b *Buckets) Total() (n uint64) {
	for _, c := range b.Counts {
		n += c
	}
	return n
}

// Clone returns a copy that shares nothing that changes.
func (b *Buckets) Clone() Buckets {
	return Buckets{Bounds: b.Bounds, Counts: slices.Clone(b.Counts), Sum: b.Sum}
}
