// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"strings"
	"testing"
)

const output = `{"config":{"protocol_version":"v1.0.0"}}
{"osv":{"id":"GO-2026-0001","aliases":["CVE-2026-1"],"summary":"a panic"}}
{"osv":{"id":"GO-2026-0002","aliases":["CVE-2026-2"],"summary":"not ours"}}
{"finding":{"osv":"GO-2026-0001","trace":[{"module":"example.org/a"}]}}
{"finding":{"osv":"GO-2026-0001","trace":[{"module":"example.org/a","package":"example.org/a","function":"Parse"},{"module":"us"}]}}
{"finding":{"osv":"GO-2026-0002","trace":[{"module":"example.org/b","package":"example.org/b"}]}}
`

func TestJudge(t *testing.T) {
	holes, err := read(strings.NewReader(output))
	if err != nil || len(holes) != 2 || holes[0].called != "example.org/a.Parse" || holes[1].called != "" {
		t.Fatalf("%+v, %v", holes, err)
	}
	for _, c := range []struct {
		list string
		want string
	}{
		{"", "[GO-2026-0001, CVE-2026-1 in example.org/a: a panic; called: example.org/a.Parse]"},
		{"CVE-2026-1 filtered before\n", "[]"},
		{"# GO-2026-0001 no\nGO-2026-0001 filtered before\nCVE-2020-9 long gone\n", "[]"},
		{"CVE-2026-2 another\n", "[GO-2026-0001, CVE-2026-1 in example.org/a: a panic; called: example.org/a.Parse]"},
	} {
		list, err := readExceptions(strings.NewReader(c.list))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(judge(holes, list)); got != c.want {
			t.Errorf("%q: %s", c.list, got)
		}
	}
}

func TestExceptionsNeedReasons(t *testing.T) {
	if _, err := readExceptions(strings.NewReader("CVE-2026-1\n")); err == nil {
		t.Error("an exception without a reason")
	}
	if _, err := read(strings.NewReader("{")); err == nil {
		t.Error("half an output")
	}
}

func TestCommittedList(t *testing.T) {
	if err := run(strings.NewReader(output[:strings.Index(output, `{"finding"`)]), "../../../.ci/vulnerabilities.txt"); err != nil {
		t.Error(err)
	}
	if err := run(strings.NewReader(output), "../../../.ci/vulnerabilities.txt"); err == nil {
		t.Error("a hole that is called and not excepted")
	}
}
