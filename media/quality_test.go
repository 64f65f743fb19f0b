// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"testing"
	"time"
)

// grow makes the counters of one more second.
func (s *Stats) grow(lost int, concealed float64) {
	s.PacketsReceived += uint64(50 - lost)
	s.BytesReceived += uint64(50-lost) * 60
	s.PacketsLost += int64(lost)
	s.TotalSamplesReceived += ClockRate
	s.ConcealedSamples += uint64(concealed * ClockRate)
	s.JitterBufferEmittedCount += ClockRate
	s.JitterBufferDelay += ClockRate * 40 * ms
}

// TestQualityWarns: three bad seconds of five begin a warning, four good ones
// end it; single bad ones do nothing.
func TestQualityWarns(t *testing.T) {
	for _, tt := range []struct {
		w    Warning
		name string
		bad  func(s *Stats)
		good func(s *Stats)
	}{
		{HighRTT, "high-rtt", func(s *Stats) { s.RoundTripTime = 401 * ms }, func(s *Stats) { s.RoundTripTime = 400 * ms }},
		{HighJitter, "high-jitter", func(s *Stats) { s.Jitter = 31 * ms }, func(s *Stats) { s.Jitter = 30 * ms }},
		{LowMOS, "low-mos", func(s *Stats) { s.ConcealedSamples += ClockRate / 10 }, func(*Stats) {}},
	} {
		var q Quality
		var s Stats
		trace := ""
		for i, bad := range []bool{false, true, false, false, true, false, true, true, true, false, false, false, false} {
			s.grow(0, 0)
			if tt.good(&s); bad {
				tt.bad(&s)
			}
			began, ended := q.Add(start.Add(time.Duration(i)*time.Second), &s)
			switch {
			case began == tt.w && ended == 0:
				trace += "+"
			case ended == tt.w && began == 0:
				trace += "-"
			case began|ended == 0:
				trace += "."
			default:
				trace += "?"
			}
		}
		if trace != ".......+...-." && trace != ".......+....-" {
			t.Errorf("%v: %s", tt.w, trace)
		}
		if tt.w.String() != tt.name {
			t.Errorf("%v is called %q", tt.name, tt.w)
		}
	}
}

func TestQualityLoss(t *testing.T) {
	var q Quality
	var s Stats
	for i := range 40 {
		lost := 0
		if i < 20 {
			lost = 2 // 4 %
		}
		s.grow(lost, 0)
		q.Add(start.Add(time.Duration(i)*time.Second), &s)
		if want := i >= 6 && i < 23; (q.Warnings() == HighLoss) != want {
			t.Errorf("second %d: %v", i, q.Warnings())
		}
	}
	if got := (HighRTT | LowMOS).String(); got != "high-rtt low-mos" {
		t.Error(got)
	}
}

func TestQualityHistory(t *testing.T) {
	var q Quality
	var s Stats
	if len(q.History(nil)) != 0 {
		t.Error("history of nothing")
	}
	for i := range 100 {
		s.grow(i%2*5, 0.02)
		s.RoundTripTime = time.Duration(i) * ms
		q.Add(start.Add(time.Duration(i)*time.Second), &s)
	}
	h := q.History(nil)
	if len(h) != HistoryPoints {
		t.Fatalf("%d samples", len(h))
	}
	for i, x := range h {
		k := 40 + i
		if x.RTT != time.Duration(k)*ms || x.At != start.Add(time.Duration(k)*time.Second) {
			t.Errorf("sample %d: %+v", i, x)
		}
		if want := float64(k%2) * 0.1; x.Loss < want-0.001 || x.Loss > want+0.001 {
			t.Errorf("sample %d: loss %v", i, x.Loss)
		}
		if want := (50 - k%2*5) * 60 * 8; x.Received != want {
			t.Errorf("sample %d: %d bits, want %d", i, x.Received, want)
		}
		if x.Concealed < 0.019 || x.Concealed > 0.021 || x.MOS < 4 || x.MOS > 4.3 {
			t.Errorf("sample %d: %v concealed, MOS %v", i, x.Concealed, x.MOS)
		}
	}
	// Counters that start anew are no flood.
	q.Add(start.Add(time.Hour), &Stats{})
	if x := q.History(nil)[HistoryPoints-1]; x.Loss != 0 || x.Received != 0 {
		t.Errorf("%+v", x)
	}
}

// TestW3C: names and units of webrtc-stats.
func TestW3C(t *testing.T) {
	s := Stats{
		ConcealedSamples: 5, SilentConcealedSamples: 7, RoundTripTime: 250 * ms, Jitter: 5 * ms,
		JitterBufferTarget: 40 * ms, JitterBufferEmittedCount: 100, PacketsLost: -1, Advice: DefaultAdvice(),
	}
	seen := map[string]float64{}
	for _, m := range s.W3C() {
		key := m.Type + " " + m.Name
		if _, twice := seen[key]; twice {
			t.Errorf("%s twice", key)
		}
		seen[key] = m.Value
	}
	for key, want := range map[string]float64{
		"inbound-rtp concealedSamples":        12,
		"inbound-rtp jitter":                  0.005,
		"inbound-rtp packetsLost":             -1,
		"inbound-rtp jitterBufferTargetDelay": 4,
		"outbound-rtp targetBitrate":          24000,
		"remote-inbound-rtp roundTripTime":    0.25,
	} {
		if got, ok := seen[key]; !ok || got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
}
