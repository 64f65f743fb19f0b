// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/json"
	"io"
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
	b := &bench{odds: o, oddsBy: "reference", form: "auto", rings: 400}
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

// TestSteady holds a grown network to what it promises, and the program to
// "same seed, same trace".
func TestSteady(t *testing.T) {
	b := testBench(t, 20)
	j := job{name: "steady", n: 200, mix: standardMix(t, "10/45/30/15"), seed: 3}
	r, err := b.run(j)
	if err != nil {
		t.Fatal(err)
	}
	r.print(testWriter{t})
	for _, m := range r.Metrics {
		if strings.HasSuffix(m.Name, "arrived") && m.Value != 100 {
			t.Errorf("%s: %v %%", m.Name, m.Value)
		}
	}
	again, err := b.run(j)
	if err != nil {
		t.Fatal(err)
	}
	if r.Trace != again.Trace || r.Events != again.Events || !reflect.DeepEqual(r.Metrics, again.Metrics) {
		t.Errorf("same seed: trace %s of %d events, then %s of %d", r.Trace, r.Events, again.Trace, again.Events)
	}
	j.n = 30
	one, err := b.run(j)
	if err != nil {
		t.Fatal(err)
	}
	j.seed++
	two, err := b.run(j)
	if err != nil {
		t.Fatal(err)
	}
	if one.Trace == two.Trace {
		t.Error("another seed left the same trace")
	}
}

// TestLong runs every scenario, without public nodes too, and all that has a
// target must keep it.
func TestLong(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("takes minutes; set P2POS_LONG=1")
	}
	b := testBench(t, 100)
	b.rings = 0
	jobs, err := jobsOf("500", "10/45/30/15,0/50/33/17", "all", 1, 1)
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
