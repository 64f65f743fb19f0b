// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"testing"
	"time"
)

// benchSeeds punches make a row: with fewer a share of 99 % can't be told from
// one of 98 %.
const benchSeeds = 1000

// BenchmarkPunch prints the table of design/003-punching.md: for each pair of
// routers, 20 ms apart one way, the share of punches that succeed within the
// time promised, the median and the 95th percentile of all, and what they cost
// one side on average.
func BenchmarkPunch(b *testing.B) {
	for _, r := range punchRows() {
		b.Run(r.name, func(b *testing.B) {
			var res punchResult
			for i := 0; b.Loop(); i++ {
				res = r.punch(b, benchSeeds, uint64(i)*benchSeeds, 0)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*float64(res.won)/float64(res.tried), "won-%")
			b.ReportMetric(r.within.Seconds(), "in-s")
			b.ReportMetric(float64(res.at(.5))/float64(time.Millisecond), "p50-ms")
			b.ReportMetric(float64(res.at(.95))/float64(time.Millisecond), "p95-ms")
			b.ReportMetric(res.meanMaps, "maps")
			b.ReportMetric(float64(res.maps), "maps-most")
			b.ReportMetric(res.meanProbes, "probes")
			if res.mostLiveShare > 0 {
				b.ReportMetric(100*res.mostLiveShare, "block-%")
			}
		})
	}
}

// BenchmarkPuncherShot is what one shot of a search costs this machine.
func BenchmarkPuncherShot(b *testing.B) {
	fresh := func() *punchRig {
		r := newPunchRig(b, "eim-apdf", "sym-full", PlanOptions{}, Attested)
		r.keep = false
		return r
	}
	r := fresh()
	b.ReportAllocs()
	for b.Loop() {
		if r.p.Status().Shots == mostShots {
			b.StopTimer()
			r = fresh()
			b.StartTimer()
		}
		r.now = r.p.Deadline()
		r.p.Advance(r.now)
		for _, ok := r.p.Poll(); ok; _, ok = r.p.Poll() {
		}
	}
}
