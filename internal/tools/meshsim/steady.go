// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"slices"
	"time"
)

// figures are those of the simulation behind the design, by size.
type figures struct{ links, hops, alone, three string }

func reference(n int) figures {
	switch n {
	case 10:
		return figures{"8.8 (9)", "1.0 (2)", "89/217", "89/217"}
	case 100:
		return figures{"24 (32)", "1.9 (3)", "130/377", "110/257"}
	case 1000:
		return figures{"42 (53)", "2.8 (5)", "165/442", "133/287"}
	case 10_000:
		return figures{"59 (72)", "3.7 (6)", "200/511", "159/334"}
	case 100_000:
		return figures{"74 (92)", "4.7 (7)", "252/574", "196/381"}
	case 1_000_000:
		return figures{"91 (110), fit", "5.6 (9), fit", "295/640, fit", "230/430, fit"}
	}
	return figures{}
}

func isStandard(m string) bool { return m == "10/45/30/15" }

// steady measures a network in which nobody comes or goes.
func (b *bench) steady(w *world, r *report) {
	ref := reference(w.n)
	c := w.census()
	r.links(c, ref)
	r.add("relayed links", c.relayed, "%")
	r.add("relayed links carried: mean", mean(c.carried), "")
	r.add("relayed links carried: p99", at(c.carried, 99), "")
	r.add("relayed links carried: most", at(c.carried, 100), "").atMost(32)
	r.add("siblings known", c.near, "%")
	r.add("nodes without a link", float64(c.lonely), "").atMost(0)

	n := b.count(w.n)
	f := w.traffic(n, ringTime(n), 1)
	r.add("hops: mean", f.meanHops(), "").was(ref.hops)
	r.add("hops: p99", f.hop(99), "")
	rate, p50, _ := r.fates("ring, 1 copy", f)
	rate.atLeast(100)
	p50.was(ref.alone)
	r.curve("1 copy", ms(f))
	w.forwarded()
	n = max(b.count(w.n), 3*min(w.n, 20_000))
	f = w.traffic(n, ringTime(n), 0)
	rate, p50, p99 := r.fates("ring, 3 copies", f)
	rate.atLeast(100)
	if p50.was(ref.three); w.n == 10_000 && isStandard(r.Mix) {
		p50.atMost(160)
		p99.atMost(340)
	}
	r.curve("3 copies", ms(f))
	load := w.forwarded()
	r.add("forwarding: p99/mean", at(load, 99)/mean(load), "").was("1.9–2.0 at 10⁴")
	r.add("forwarding: max/mean", at(load, 100)/mean(load), "").was("2.7–2.8 at 10⁴").atMost(4)
	r.curve("forwarded", load)

	list := w.lookups(min(n/4, 1000), 20*time.Second)
	w.run(20*time.Second + ringLife)
	l := tallyLookups(*list)
	rate, p50, _ = r.fates("by ticket, fetch and ring", l)
	rate.atLeast(100)
	p50.atMost(600)
	r.curve("by ticket", ms(l))

	w.run(recordsCalm)
	u := w.measure(recordsTime)
	r.add("idle, nobody comes or goes", u.bytes/1000, "kbit/s")
	r.parts(u)
}

// links adds what a census says of links.
func (r *report) links(c *census, ref figures) {
	m := r.add("links: mean", mean(c.links), "").was(ref.links)
	if m.Target == "" && r.N == 10_000 {
		m.atMost(80)
	}
	r.add("links: p99", at(c.links, 99), "").atMost(110)
	low, high := 0.0, 0.0
	for k := range kinds {
		if len(c.byKind[k]) == 0 {
			continue
		}
		v := mean(c.byKind[k])
		m := r.add("links: "+k.String(), v, "")
		if r.N == 10_000 {
			m.was([...]string{"67", "67", "49", "49"}[k])
		}
		if low == 0 || v < low {
			low = v
		}
		high = max(high, v)
	}
	r.add("links: most/least by class", high/max(low, 1), "").atMost(1.5)
	all := make([]float64, 0, len(c.links))
	for k, list := range c.byKind {
		one := make([]float64, len(list))
		for i, v := range list {
			one[i] = float64(v)
		}
		slices.Sort(one)
		all = append(all, one...)
		if len(one) > 0 {
			r.curve("links "+kind(k).String(), one)
		}
	}
	slices.Sort(all)
	r.curve("links", all)
}

// ringTime spreads messages so thinly that none meets another's traffic.
func ringTime(n int) time.Duration { return max(5*time.Second, time.Duration(n)*time.Millisecond) }

func ms(f *fate) []float64 {
	slices.Sort(f.times)
	list := make([]float64, len(f.times))
	for i, t := range f.times {
		list[i] = t.Seconds() * 1000
	}
	return list
}
