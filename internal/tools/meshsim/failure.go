// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"slices"
	"time"
)

// failure lets a share of all nodes die at once, and the same ones come back
// within a minute.
func (b *bench) failure(w *world, r *report, part float64) {
	n := b.count(w.n)
	died := slices.Clone(w.alive)
	w.rng.Shuffle(len(died), func(i, j int) { died[i], died[j] = died[j], died[i] })
	died = died[:int(part*float64(len(died)))]
	for _, x := range died {
		w.kill(x)
	}
	what := fmt.Sprintf("%.0f %% dead", 100*part)
	rings := w.send(n, 2*time.Second, 0, w.pair)
	alone := w.send(n/4, 2*time.Second, 1, w.pair)
	records := w.lookups(n/4, 2*time.Second)
	w.run(2*time.Second + ringLife)
	f := tally(*rings)
	r.add("rings before repair: arrived in 3 s", f.rate3(), "%").atLeast(99)
	r.add("rings before repair: arrived in 8 s", f.rate8(), "%").atLeast(99.9)
	r.add("rings before repair: p50", f.ms(50), "ms").was(when(part == 0.5, "371–419", "218–237"))
	r.add("rings before repair: p99", f.ms(99), "ms").was(when(part == 0.5, "2254–2809", "924–1031"))
	r.curve(what, ms(f))
	f = tally(*alone)
	r.add("the same, 1 copy at first: arrived in 3 s", f.rate3(), "%").was(when(part == 0.5, "99.71–99.88 at all", "99.96–100 at all"))
	f = tallyLookups(*records)
	r.add("by ticket before repair: arrived in 8 s", f.rate8(), "%").atLeast(99.5).was(when(part == 0.5, "99.55 kept", "100"))
	r.add("by ticket before repair: arrived", f.rate(), "%")

	w.run(time.Minute - 2*time.Second - ringLife)
	r.add("after 60 s: siblings known", w.siblings(), "%")
	records = w.lookups(n/4, 5*time.Second)
	f = w.traffic(n, 5*time.Second, 0)
	rate, p50, _ := r.fates("after 60 s: rings", f)
	rate.atLeast(100)
	p50.was(when(part == 0.5, "187/474–198/493", "187/476–200/503"))
	r.curve("a minute later", ms(f))
	r.add("after 60 s: by ticket", tallyLookups(*records).rate(), "%").atLeast(100)
	w.storm(r, died, n)
}

func when(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// stormTime is within how long all come back.
const stormTime = time.Minute

// storm lets nodes that died start again, each knowing the peers it had, under
// new keys.
func (w *world) storm(r *report, died []*node, n int) {
	began := w.now
	var back []*node
	for _, old := range died {
		w.after(time.Duration(w.rng.Int64N(int64(stormTime))), func() {
			x := w.newNode(old.site, w.rng.Uint64())
			x.known = old.known
			if old.owner != nil {
				w.move(old.owner, x)
			}
			w.mortal(x)
			w.enter(x)
			back = append(back, x)
		})
	}
	w.run(stormTime)
	for at := stormTime; at <= 2*time.Minute; at += 30 * time.Second {
		if at > stormTime {
			w.run(30*time.Second - (w.now-began)%(30*time.Second))
		}
		r.add(fmt.Sprintf("all back within 60 s: siblings known after %.0f s", at.Seconds()), w.siblings(), "%")
	}
	f := w.traffic(n, 5*time.Second, 0)
	rate, _, _ := r.fates("all back, after 120 s: rings", f)
	rate.atLeast(100)
	records := w.lookups(n/4, 5*time.Second)
	w.run(5*time.Second + ringLife)
	r.add("all back, after 140 s: by ticket", tallyLookups(*records).rate(), "%")
	var wait []time.Duration
	lonely := 0
	for _, x := range back {
		if x.usable > 0 {
			wait = append(wait, x.usable-x.born)
		} else if x.alive {
			lonely++
		}
	}
	slices.Sort(wait)
	r.add("who came back had 4 links after: p50", at(wait, 50)/1e9, "s").atMost(2)
	r.add("who came back had 4 links after: p99", at(wait, 99)/1e9, "s")
	r.add("who came back and never had 4 links", float64(lonely), "").atMost(0)
}

// Records are published every 15 to 25 minutes: after recordsCalm they don't go
// out all at once any more, and recordsTime sees all of them once.
const recordsCalm, recordsTime = 10 * time.Minute, 20 * time.Minute

// churn lets nodes leave without a word and others come, at exponential
// sessions of a median.
func (b *bench) churn(w *world, r *report, median time.Duration) {
	w.churn = median
	for _, x := range slices.Clone(w.alive) {
		w.mortal(x)
	}
	w.run(recordsCalm)
	u := w.measure(recordsTime)
	m := r.add("idle: all traffic", u.bytes/1000, "kbit/s")
	if median == time.Hour {
		m.atMost(8)
	}
	r.add("idle: of this, messages of the mesh", u.mesh/1000, "kbit/s")
	r.parts(u)
	made := r.add("links made a node and minute", u.links, "")
	if median == time.Hour && w.n == 10_000 {
		made.was("1.56 punches")
	}
	r.add("punches in vain a node and minute", u.failed, "")
	c := w.census()
	r.add("links: mean", mean(c.links), "")
	r.add("siblings known", c.near, "%")
	n := 2 * b.count(w.n)
	d := max(2*time.Minute, ringTime(n))
	records := w.lookups(n/8, d)
	f := w.traffic(n, d, 0)
	rate, p50, p99 := r.fates("rings", f)
	rate.atLeast(99.99)
	p50.was(when(median == time.Hour, "134–156", "135"))
	p99.was(when(median == time.Hour, "284–340", "320"))
	r.add("by ticket", tallyLookups(*records).rate(), "%")
	w.churn = 0
	w.newcomers(r)
}

// parts adds what traffic is for.
func (r *report) parts(u usage) {
	for i, name := range partNames() {
		r.add("idle: "+name, u.parts[i]/1000, "kbit/s")
	}
}

// newcomers lets some nodes join and rings them at several ages.
func (w *world) newcomers(r *report) {
	var list []*node
	for i := range max(100, w.n/50) {
		w.after(time.Duration(i)*200*time.Millisecond, func() {
			x := w.newNode(newSite(w.rng, w.mix, w.n), w.rng.Uint64())
			w.enter(x)
			list = append(list, x)
		})
	}
	ages := []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute}
	rings := make([][]*ring, len(ages))
	near := make([][2]int, len(ages))
	for i := range max(100, w.n/50) {
		for k, age := range ages {
			w.after(time.Duration(i)*200*time.Millisecond+age, func() {
				x := list[i]
				rings[k] = append(rings[k], w.ring(w.some(), x, 0))
				for _, o := range w.trueSiblings(x) {
					near[k][1]++
					near[k][0] += btoi(x.tieTo(o) != nil)
				}
			})
		}
	}
	w.run(time.Duration(max(100, w.n/50))*200*time.Millisecond + time.Minute + ringLife)
	for k, age := range ages {
		r.add(fmt.Sprintf("newcomers, %.0f s old: siblings known", age.Seconds()), share(near[k][0], near[k][1]), "%")
		r.add(fmt.Sprintf("newcomers, %.0f s old: rings to them", age.Seconds()), tally(rings[k]).rate(), "%")
	}
	var wait []time.Duration
	for _, x := range list {
		if x.usable > 0 {
			wait = append(wait, x.usable-x.born)
		}
	}
	slices.Sort(wait)
	r.add("newcomers had 4 links after: p50", at(wait, 50)/1e9, "s").atMost(2)
	r.add("newcomers had 4 links after: p99", at(wait, 99)/1e9, "s")
}
