// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

func testBench(t *testing.T, owners int) *bench {
	t.Helper()
	o, err := oddsOf("reference")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{odds: o, oddsBy: "reference", form: "auto", rings: 400, rest: calm}
	if b.devices, err = makeDevices(owners); err != nil {
		t.Fatal(err)
	}
	return b
}

func standardMix(t *testing.T, s string) mix {
	t.Helper()
	m, err := parseMix(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSteady holds a grown network to what it promises, and the compact form to
// the machines themselves.
func TestSteady(t *testing.T) {
	b := testBench(t, 20)
	jobs, err := jobsOf("150", "10/45/30/15", "steady,compact", 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("P2POS_LONG") != "" {
		jobs[0].n, jobs[1].n, b.rings = 3000, 3000, 5000
	}
	list, err := b.runAll(jobs, 2, func(r *report) { r.print(testWriter{t}) })
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range list[0].Metrics {
		switch {
		case strings.HasSuffix(m.Name, "arrived"):
			found++
			if m.Value != 100 {
				t.Errorf("%s: %v %%", m.Name, m.Value)
			}
		case m.Name == "nodes without a link" && m.Value > 0:
			t.Errorf("%v nodes without a link", m.Value)
		}
	}
	if found != 3 {
		t.Errorf("%d figures of what arrived, not 3", found)
	}
	for _, c := range []struct {
		name string
		off  float64 // by how much they may differ
	}{{"links: mean", 0.2}, {"hops: mean", 0.1}, {"ring, 1 copy: one way p50", 0.2}, {"ring, 3 copies: one way p50", 0.2}} {
		real, compact := list[0].value(c.name), list[1].value(c.name)
		if math.Abs(compact/real-1) > c.off {
			t.Errorf("%s: compact %v, machines %v", c.name, compact, real)
		}
	}
}

// TestTrace: same seed, same trace, whatever else runs; another seed, another.
func TestTrace(t *testing.T) {
	b := testBench(t, 5)
	b.rings = 50
	jobs, err := jobsOf("30", "0/50/33/17", "fail50", 5, 2)
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.runAll([]job{jobs[0], jobs[0], jobs[1]}, 2, func(*report) {})
	if err != nil {
		t.Fatal(err)
	}
	one, two, other := list[0], list[1], list[2]
	if one.Trace != two.Trace || one.Events != two.Events || !reflect.DeepEqual(one.Metrics, two.Metrics) {
		t.Errorf("same seed: trace %s of %d events, then %s of %d", one.Trace, one.Events, two.Trace, two.Events)
	}
	if one.Trace == other.Trace {
		t.Error("another seed left the same trace")
	}
}

func (r *report) value(name string) float64 {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m.Value
		}
	}
	return math.NaN()
}

// TestLong runs every scenario, without public nodes too, and all that has a
// target must keep it.
func TestLong(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("takes minutes; set P2POS_LONG=1")
	}
	b := testBench(t, 100)
	b.rings = 0
	jobs, err := jobsOf("300", "10/45/30/15,0/50/33/17", "all", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.runAll(jobs, 2, func(r *report) {
		r.print(testWriter{t})
		for _, m := range r.Metrics {
			if m.Missed {
				t.Errorf("%s with mix %s: %s is %v, to be %s", r.Scenario, r.Mix, m.Name, m.Value, m.Target)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestArguments(t *testing.T) {
	for _, bad := range [][]string{
		{"-mix", "10/45/30"}, {"-mix", "10/45/30/16"}, {"-mix", "x/45/30/15"}, {"-n", "5"}, {"-n", "many"},
		{"-run", "nothing"}, {"-punching", "lucky"},
	} {
		if err := run(append(bad, "-owners", "1"), io.Discard); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	var out strings.Builder
	if err := run([]string{"-n", "1000", "-run", "compact", "-json", "-owners", "1"}, &out); err != nil {
		t.Fatal(err)
	}
	var list []report
	if err := json.Unmarshal([]byte(out.String()), &list); err != nil || len(list) != 1 || list[0].N != 1000 {
		t.Errorf("JSON: %v, %v", list, err)
	}
}

// testWriter prints into a test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
