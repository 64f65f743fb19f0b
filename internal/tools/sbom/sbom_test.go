// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const list = `{"ImportPath":"fmt","Standard":true}
{"ImportPath":"example.org/b","Imports":["fmt"],"Module":{"Path":"example.org/b","Version":"v1.0.0"}}
{"ImportPath":"example.org/a/x","Imports":["fmt","example.org/b"],"Module":{"Path":"example.org/a","Version":"v0.2.0"}}
{"ImportPath":"zz.org/p/inner","Imports":["example.org/a/x"],"Module":{"Path":"zz.org/p","Main":true}}
{"ImportPath":"zz.org/p","Imports":["fmt","zz.org/p/inner"],"Module":{"Path":"zz.org/p","Main":true}}
`

const sums = `example.org/a v0.2.0 h1:AAA=
example.org/a v0.2.0/go.mod h1:no=
example.org/b v1.0.0 h1:BBB=
`

const table = `| module | version | licence |
|---|---|---|
| example.org/a | v0.2.0 | MIT |
| example.org/b | v1.0.0 | MIT, Apache-2.0 |
`

func TestBill(t *testing.T) {
	b, err := collect(strings.NewReader(list), "go1.26.8", readSums([]byte(sums)), readLicences([]byte(table)))
	if err != nil {
		t.Fatal(err)
	}
	b.when = time.Unix(1e9, 0).UTC()
	var got []string
	for _, m := range b.modules {
		got = append(got, strings.Join([]string{m.purl(), m.licence, m.sum, strings.Join(m.uses, "+")}, " "))
	}
	want := `pkg:golang/zz.org/p@devel AGPL-3.0-only OR LicenseRef-P2POS-Commercial  example.org/a+std
pkg:golang/example.org/a@v0.2.0 MIT h1:AAA= example.org/b+std
pkg:golang/example.org/b@v1.0.0 MIT AND Apache-2.0 h1:BBB= std
pkg:golang/std@1.26.8 BSD-3-Clause  `
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	for name, doc := range map[string]any{"CycloneDX": b.cycloneDX(), "SPDX": b.spdx()} {
		one, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{"example.org/a", "example.org/b", "zz.org/p", "2001-09-09T01:46:40Z", b.number()} {
			if !strings.Contains(string(one), m) {
				t.Errorf("%s lacks %s", name, m)
			}
		}
	}
	if id := b.find("example.org/a").spdxID(); id != "SPDXRef-example.org-a-v0.2.0" {
		t.Error(id)
	}
	was := b.number()
	b.modules[1].sum = "h1:CCC="
	if b.number() == was {
		t.Error("other content has the same number")
	}
}

// What is unknown is said, not left out.
func TestUnknown(t *testing.T) {
	for what, c := range map[string][2]string{
		"hash": {strings.Replace(sums, "h1:BBB=", "", 1), table}, "licence": {sums, strings.Replace(table, "example.org/b", "example.org/c", 1)},
	} {
		if _, err := collect(strings.NewReader(list), "go1.26.8", readSums([]byte(c[0])), readLicences([]byte(c[1]))); err == nil || !strings.Contains(err.Error(), "example.org/b") {
			t.Errorf("no %s: %v", what, err)
		}
	}
}
