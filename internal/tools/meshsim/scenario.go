// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// bench holds what all runs share. Nothing in it changes while they run.
type bench struct {
	devices []*identity.Device
	odds    odds
	oddsBy  string
	form    string // grow, plant, or auto
	rings   int    // for each figure; 0 = by size
	rest    time.Duration
}

// job is one run of a scenario.
type job struct {
	name string
	n    int
	mix  mix
	seed uint64
}

// scenarios in the order of the table.
func scenarios() []string {
	return []string{
		"steady", "fail30", "fail50", "churn60", "churn10", "holes10", "holes20", "holes30", "sybil", "eclipse", "compact",
	}
}

// standard is the set of `make bench-overlay`: the promises at a hundred nodes,
// everything at a thousand, what only size can show at ten thousand, and the compact
// form up to a million.
func standard(seed uint64) (jobs []job) {
	usual, hidden := mix{0.10, 0.45, 0.30, 0.15}, mix{0, 0.50, 0.33, 0.17}
	add := func(name string, n int, m mix) { jobs = append(jobs, job{name, n, m, seed}) }
	for _, name := range []string{"steady", "fail50", "churn10", "holes20"} {
		add(name, 100, usual)
	}
	add("steady", 10_000, usual)
	add("fail50", 10_000, usual)
	for _, name := range scenarios() {
		switch name {
		case "sybil": // eleven times as many nodes take part
			add(name, 300, usual)
		case "compact":
			for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
				add(name, n, usual)
			}
		default:
			add(name, 1000, usual)
		}
	}
	add("fail50", 1000, hidden)
	// How scarce may endpoint-independent nodes be, when none is public?
	for _, easy := range []float64{0.50, 0.30, 0.20, 0.10, 0.05} {
		add("steady", 1000, mix{0, easy, (1 - easy) * 2 / 3, (1 - easy) / 3})
	}
	return jobs
}

const (
	// calm is how long a new network is left alone before it is measured.
	calm = 5 * time.Minute
	// growMost is the largest network that grows by itself unless asked for.
	growMost = 10_000
)

func (b *bench) run(j job) (*report, error) {
	began := time.Now()
	r := &report{Scenario: j.name, N: j.n, Mix: j.mix.String(), Odds: b.oddsBy, Seed: j.seed}
	s := setup{n: j.n, mix: j.mix, odds: b.odds, seed: j.seed}
	var w *world
	switch name, arg := split(j.name); name {
	case "steady":
		w = b.world(r, s, b.form == "plant" || b.form == "auto" && j.n > growMost)
		b.steady(w, r)
	case "fail":
		w = b.world(r, s, b.form != "grow")
		b.failure(w, r, float64(arg)/100)
	case "churn":
		w = b.world(r, s, b.form != "grow")
		b.churn(w, r, time.Duration(arg)*time.Minute)
	case "holes":
		w = b.world(r, s, b.form != "grow")
		b.holes(w, r, float64(arg)/100)
	case "sybil":
		w = b.world(r, s, b.form != "grow")
		b.sybil(w, r)
	case "eclipse":
		w = b.world(r, s, b.form != "grow")
		b.eclipse(w, r)
	case "compact":
		b.compact(s, r)
	default:
		return nil, fmt.Errorf("unknown scenario %q; there are %s", j.name, strings.Join(scenarios(), ", "))
	}
	if w != nil {
		r.Trace, r.Events, r.Virtual = fmt.Sprintf("%016x", w.trace), w.moved, w.now.Round(time.Second).String()
	}
	r.Took = time.Since(began).Round(100 * time.Millisecond).String()
	return r, nil
}

// split takes the number off the end of a scenario's name.
func split(s string) (string, int) {
	name := strings.TrimRight(s, "0123456789")
	n, _ := strconv.Atoi(s[len(name):])
	return name, n
}

// world makes a network that has come to rest.
func (b *bench) world(r *report, s setup, planted bool) *world {
	w := newWorld(s, b.devices)
	if planted {
		r.Form = "planted"
		w.settle()
	} else {
		r.Form = "grown"
		w.grow()
	}
	w.run(b.rest)
	w.publish()
	w.run(time.Minute)
	return w
}

// count is how many messages stand behind a figure.
func (b *bench) count(n int) int {
	if b.rings > 0 {
		return b.rings
	}
	return min(max(2000, n), 20_000)
}
