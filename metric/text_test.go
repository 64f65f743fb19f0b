// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package metric_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/p2pos/p2pos/metric"
)

func sample() []metric.Family {
	h := metric.NewBuckets(0.1, 1)
	for _, v := range []float64{0.05, 0.1, 0.5, 7, math.NaN()} {
		h.Observe(v)
	}
	return []metric.Family{
		{Name: "p2pos_build", Kind: metric.Info, Help: "What runs.", Points: []metric.Point{{Labels: []metric.Label{{"version", `a"b\c` + "\n"}}, Value: 1}}},
		{Name: "p2pos_links", Kind: metric.Gauge, Help: `Links, "now".`, Points: []metric.Point{
			{Labels: []metric.Label{{"nat", "open"}, {"via", "tcp"}}, Value: 2}, {Value: math.Inf(1)}, {Value: 0.25},
		}},
		{Name: "p2pos_in_bytes", Kind: metric.Counter, Unit: "bytes", Help: "Bytes.", Points: []metric.Point{{Value: 1 << 40}}},
		{Name: "p2pos_ring_seconds", Kind: metric.Histogram, Unit: "seconds", Help: "Time.", Points: []metric.Point{{Labels: []metric.Label{{"way", "in"}}, Buckets: h}}},
	}
}

// The bytes, once and for all: a value on a bound belongs to it (le), buckets are
// summed up, labels are escaped.
const open = `# TYPE p2pos_build info
# HELP p2pos_build What runs.
p2pos_build_info{version="a\"b\\c\n"} 1.0
# TYPE p2pos_links gauge
# HELP p2pos_links Links, \"now\".
p2pos_links{nat="open",via="tcp"} 2.0
p2pos_links +Inf
p2pos_links 0.25
# TYPE p2pos_in_bytes counter
# UNIT p2pos_in_bytes bytes
# HELP p2pos_in_bytes Bytes.
p2pos_in_bytes_total 1.099511627776e+12
# TYPE p2pos_ring_seconds histogram
# UNIT p2pos_ring_seconds seconds
# HELP p2pos_ring_seconds Time.
p2pos_ring_seconds_bucket{way="in",le="0.1"} 2.0
p2pos_ring_seconds_bucket{way="in",le="1.0"} 3.0
p2pos_ring_seconds_bucket{way="in",le="+Inf"} 4.0
p2pos_ring_seconds_sum{way="in"} 7.65
p2pos_ring_seconds_count{way="in"} 4.0
# EOF
`

const text = `# TYPE p2pos_build_info gauge
# HELP p2pos_build_info What runs.
p2pos_build_info{version="a\"b\\c\n"} 1.0
# TYPE p2pos_links gauge
# HELP p2pos_links Links, "now".
p2pos_links{nat="open",via="tcp"} 2.0
p2pos_links +Inf
p2pos_links 0.25
# TYPE p2pos_in_bytes_total counter
# HELP p2pos_in_bytes_total Bytes.
p2pos_in_bytes_total 1.099511627776e+12
`

func TestGolden(t *testing.T) {
	if got := string(metric.OpenMetrics(sample())); got != open {
		t.Errorf("OpenMetrics:\n%s", got)
	}
	if got := string(metric.Text(sample()[:3])); got != text {
		t.Errorf("text:\n%s", got)
	}
}

func TestCloneIsApart(t *testing.T) {
	a := metric.NewBuckets(1)
	b := a.Clone()
	a.Observe(2)
	if a.Total() != 1 || b.Total() != 0 {
		t.Errorf("%d and %d observations", a.Total(), b.Total())
	}
}

func Example() {
	latency := metric.NewBuckets(0.1, 0.5)
	latency.Observe(0.2)
	fmt.Printf("%s", metric.OpenMetrics([]metric.Family{{
		Name: "app_answer_seconds", Kind: metric.Histogram, Unit: "seconds", Help: "Time to an answer.",
		Points: []metric.Point{{Buckets: latency}},
	}}))
	// Output:
	// # TYPE app_answer_seconds histogram
	// # UNIT app_answer_seconds seconds
	// # HELP app_answer_seconds Time to an answer.
	// app_answer_seconds_bucket{le="0.1"} 0.0
	// app_answer_seconds_bucket{le="0.5"} 1.0
	// app_answer_seconds_bucket{le="+Inf"} 1.0
	// app_answer_seconds_sum 0.2
	// app_answer_seconds_count 1.0
	// # EOF
}
