// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package otel gives a node's numbers to OpenTelemetry. It is a module of its
// own, so that nobody else downloads OpenTelemetry:
//
//	node, err := p2pos.New(p2pos.Config{})
//	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(otel.New(node)))
//	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
//
// Names are those of docs/metrics.md without _total and _info, units those of
// UCUM (s, By, 1). Counters and histograms are cumulative since the node's
// start. It starts no goroutine and keeps nothing; each export asks the node once.
package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/p2pos/p2pos/metric"
)

// Source has numbers; *p2pos.Node is one.
type Source interface{ Metrics() []metric.Family }

// Producer is an sdkmetric.Producer over a Source. It may be used by several
// readers at once.
type Producer struct {
	source Source
	start  time.Time
}

var _ sdkmetric.Producer = (*Producer)(nil)

// New returns a Producer. Make it when the node starts: what it counts, it counts
// from then on as far as OpenTelemetry is concerned, unless the source tells
// its start as p2pos_start_time_seconds.
func New(s Source) *Producer { return &Producer{source: s, start: time.Now()} }

// Produce returns all families at this moment. It never fails, and blocks as
// long as Source.Metrics.
func (p *Producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	list, now, start := p.source.Metrics(), time.Now(), p.start
	for _, f := range list {
		if f.Name == "p2pos_start_time_seconds" && len(f.Points) == 1 {
			start = time.UnixMilli(int64(f.Points[0].Value * 1000))
		}
	}
	scope := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: "github.com/p2pos/p2pos/metric/otel"}}
	for _, f := range list {
		if len(f.Points) > 0 {
			scope.Metrics = append(scope.Metrics, metricdata.Metrics{Name: f.Name, Description: f.Help, Unit: unit(f.Unit), Data: data(f, start, now)})
		}
	}
	return []metricdata.ScopeMetrics{scope}, nil
}

func data(f metric.Family, start, now time.Time) metricdata.Aggregation {
	if f.Kind == metric.Histogram {
		h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, p := range f.Points {
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: attributes(p.Labels), StartTime: start, Time: now,
				Count: p.Total(), Sum: p.Sum, Bounds: p.Bounds, BucketCounts: p.Counts,
			})
		}
		return h
	}
	var points []metricdata.DataPoint[float64]
	for _, p := range f.Points {
		points = append(points, metricdata.DataPoint[float64]{Attributes: attributes(p.Labels), StartTime: start, Time: now, Value: p.Value})
	}
	if f.Kind == metric.Counter {
		return metricdata.Sum[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	}
	return metricdata.Gauge[float64]{DataPoints: points}
}

func attributes(labels []metric.Label) attribute.Set {
	var list []attribute.KeyValue
	for _, l := range labels {
		list = append(list, attribute.String(l.Name, l.Value))
	}
	return attribute.NewSet(list...)
}

// unit translates a unit's name to UCUM's code.
func unit(name string) string {
	switch name {
	case "seconds":
		return "s"
	case "bytes":
		return "By"
	case "ratio":
		return "1"
	}
	return ""
}
