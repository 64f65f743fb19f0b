// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package otel_test

import (
	"slices"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/metric"
	"github.com/p2pos/p2pos/metric/otel"
)

// collect asks a source through OpenTelemetry's own reader.
func collect(t *testing.T, s otel.Source) map[string]metricdata.Metrics {
	t.Helper()
	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(otel.New(s)))
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer provider.Shutdown(t.Context())
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	list := make(map[string]metricdata.Metrics)
	for _, s := range got.ScopeMetrics {
		for _, m := range s.Metrics {
			list[m.Name] = m
		}
	}
	return list
}

type fixed []metric.Family

func (f fixed) Metrics() []metric.Family { return f }

func TestKinds(t *testing.T) {
	h := metric.NewBuckets(1, 2)
	for _, v := range []float64{0.5, 2, 9} {
		h.Observe(v)
	}
	got := collect(t, fixed{
		{Name: "p2pos_start_time_seconds", Kind: metric.Gauge, Unit: "seconds", Points: []metric.Point{{Value: 1e9}}},
		{Name: "c", Kind: metric.Counter, Unit: "bytes", Points: []metric.Point{{Value: 7, Labels: []metric.Label{{Name: "reason", Value: "x"}}}, {Value: 8}}},
		{Name: "h", Kind: metric.Histogram, Unit: "seconds", Points: []metric.Point{{Buckets: h}}},
		{Name: "i", Kind: metric.Info, Points: []metric.Point{{Value: 1}}},
		{Name: "none", Kind: metric.Gauge},
	})
	sum, ok := got["c"].Data.(metricdata.Sum[float64])
	if !ok || !sum.IsMonotonic || sum.Temporality != metricdata.CumulativeTemporality || len(sum.DataPoints) != 2 || got["c"].Unit != "By" {
		t.Fatalf("counter: %+v", got["c"])
	}
	p := sum.DataPoints[0]
	if v, _ := p.Attributes.Value("reason"); p.Value != 7 || v.AsString() != "x" || p.StartTime.Unix() != 1e9 || !p.Time.After(p.StartTime) {
		t.Errorf("point: %+v", p)
	}
	hist, ok := got["h"].Data.(metricdata.Histogram[float64])
	if !ok || len(hist.DataPoints) != 1 || got["h"].Unit != "s" {
		t.Fatalf("histogram: %+v", got["h"])
	}
	if d := hist.DataPoints[0]; d.Count != 3 || d.Sum != 11.5 || !slices.Equal(d.BucketCounts, []uint64{1, 1, 1}) || !slices.Equal(d.Bounds, []float64{1, 2}) {
		t.Errorf("buckets: %+v", d)
	}
	if _, ok := got["i"].Data.(metricdata.Gauge[float64]); !ok {
		t.Errorf("info: %+v", got["i"])
	}
	if _, ok := got["none"]; ok {
		t.Error("a family without points is exported")
	}
}

// All of a real node's families come through.
func TestNode(t *testing.T) {
	n, err := p2pos.New(p2pos.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	got := collect(t, n)
	for _, f := range n.Metrics() {
		if _, ok := got[f.Name]; !ok && len(f.Points) > 0 {
			t.Errorf("%s is missing", f.Name)
		}
	}
}
