// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	mitText = `MIT License

Copyright (c) 2023 Somebody <https://example.org>

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`
	bsd2Text = `Copyright (c) 2020, Somebody
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.
`
	bsd3Clause = `
3. Neither the name of the copyright holder nor the names of its
   contributors may be used to endorse or promote products derived from
   this software without specific prior written permission.
`
	bsdAsIs = `
THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
`
	iscText = `ISC License

Copyright (c) 2020 Somebody

Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above
copyright notice and this permission notice appear in all copies.
`
	iscDisclaimer = `
THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH
REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM
LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR
OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR
PERFORMANCE OF THIS SOFTWARE.
`
	unlicense = `This is free and unencumbered software released into the public domain.

Anyone is free to copy, modify, publish, use, compile, sell, or
distribute this software, either in source code form or as a compiled
binary, for any purpose, commercial or non-commercial, and by any
means.

In jurisdictions that recognize copyright laws, the author or authors
of this software dedicate any and all copyright interest in the
software to the public domain. We make this dedication for the benefit
of the public at large and to the detriment of our heirs and
successors. We intend this dedication to be an overt act of
relinquishment in perpetuity of all present and future rights to this
software under copyright law.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR
OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR
OTHER DEALINGS IN THE SOFTWARE.

For more information, please refer to <https://unlicense.org/>
`
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const apacheShort = `   Copyright 2013 Someone

   Licensed under the Apache License, Version 2.0 (the "License");
   you may not use this file except in compliance with the License.
   You may obtain a copy of the License at

       http://www.apache.org/licenses/LICENSE-2.0

   Unless required by applicable law or agreed to in writing, software
   distributed under the License is distributed on an "AS IS" BASIS,
   WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
   See the License for the specific language governing permissions and
   limitations under the License.
`

var twoText = `
This project is covered by two different licenses: MIT and Apache.

#### MIT License ####

The following files were ported to Go from C files of libyaml, and thus
are still covered by their original MIT license, with the additional
copyright staring in 2011 when the project was ported over:

    apic.go emitterc.go

Copyright (c) 2006-2010 Somebody
` + "\n" + mitWords + `
### Apache License ###

All the remaining project files are covered by the Apache license:

Copyright (c) 2011-2019 Someone
` + apacheShort

// mitWords is mitText without its head.
var _, mitWords, _ = strings.Cut(mitText, "example.org>\n")

func TestDetect(t *testing.T) {
	apache, mpl, agpl := read(t, "testdata/Apache-2.0.txt"), read(t, "testdata/MPL-2.0.txt"), read(t, "../../../LICENSE")
	for _, c := range []struct{ name, text, want string }{
		{"MIT", mitText, "MIT"},
		{"MIT without a title", mitText[len("MIT License\n"):], "MIT"},
		{"MIT with DOS line ends", strings.ReplaceAll(mitText, "\n", "\r\n"), "MIT"},
		{"BSD-2", bsd2Text + bsdAsIs, "BSD-2-Clause"},
		{"BSD-3", bsd2Text + bsd3Clause + bsdAsIs, "BSD-3-Clause"},
		{"BSD-3 in other words", bsd2Text + "The names of its contributors may not be used to endorse or promote products derived from this software without specific prior written permission.\n" + bsdAsIs, "BSD-3-Clause"},
		{"two in one file", twoText, "MIT AND Apache-2.0"},
		{"two in one file, and a third", twoText + "Not for military use.\n", ""},
		{"ISC", iscText + iscDisclaimer, "ISC"},
		{"0BSD", strings.Replace(iscText, ", provided that the above\ncopyright notice and this permission notice appear in all copies", "", 1) + iscDisclaimer, "0BSD"},
		{"Unlicense", unlicense, "Unlicense"},
		{"Apache", apache, "Apache-2.0"},
		{"Apache's notice", apacheShort, "Apache-2.0"},
		{"Apache's notice, then a condition", apacheShort + "Not for military use.\n", ""},
		{"MPL", mpl, "MPL-2.0"},

		{"AGPL", agpl, ""},
		{"MIT, then AGPL", mitText + agpl, ""},
		{"AGPL, then MIT", agpl + mitText, ""},
		{"Apache, then AGPL", apache + agpl, ""},
		{"MIT and a condition", mitText + "\nNot for military use.\n", ""},
		{"BSD-4", strings.Replace(bsd2Text+bsd3Clause+bsdAsIs, "\n3. ", "\n3. All advertising materials mentioning features or use of this software must display an acknowledgement.\n\n4. ", 1), ""},
		{"half of MIT", mitText[:len(mitText)/2], ""},
		{"a name alone", "MIT License\n", ""},
		{"nothing", "", ""},
	} {
		if got := detect(c.text); got != c.want {
			t.Errorf("%s: detected %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPermits(t *testing.T) {
	for expression, want := range map[string]bool{
		"MIT": true, "MIT OR GPL-3.0-only": true, "GPL-2.0-only OR Apache-2.0": true, "MIT AND BSD-3-Clause": true,
		"GPL-3.0-only": false, "MIT AND GPL-3.0-only": false, "GPL-3.0-only AND MIT": false, "CC0-1.0": false, "": false, "(MIT OR ISC) AND GPL-2.0-only": false,
	} {
		if permits(expression) != want {
			t.Errorf("permits(%q) = %v, want %v", expression, !want, want)
		}
	}
}

// plant makes a module of the files in a folder of its own.
func plant(t *testing.T, files map[string]string) module {
	t.Helper()
	m := module{path: "example.org/m", version: "v1.2.3", dir: t.TempDir()}
	m.packages = []string{m.dir, filepath.Join(m.dir, "sub")}
	for name, text := range files {
		p := filepath.Join(m.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestDocument(t *testing.T) {
	const src, tagged = "package m\n", "// SPDX-License-Identifier: "
	agpl := read(t, "../../../LICENSE")
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // part of the table's row, or of the error after "!"
	}{
		{"plain", map[string]string{"LICENSE": mitText, "sub/a.go": src}, "| MIT |"},
		{"spelling", map[string]string{"licence.md": mitText, "sub/a.go": src}, "| MIT |"},
		{"two", map[string]string{"LICENSE": mitText, "sub/LICENSE": bsd2Text + bsdAsIs, "sub/a.go": src}, "| MIT, BSD-2-Clause |"},
		{"declared beside", map[string]string{"LICENSE": mitText, "LICENSES/0BSD.txt": "text", "sub/a.go": tagged + "0BSD\n" + src}, "| MIT, 0BSD |"},
		{"declared but not linked", map[string]string{"LICENSE": mitText, "LICENSES/GPL-3.0-only.txt": agpl, "sub/a.go": src, "other/b.go": tagged + "GPL-3.0-only\n" + src}, "| MIT |"},
		{"only a picture of it", map[string]string{"LICENSE": mitText, "sub/logo.svg": tagged + "GPL-3.0-only\n", "sub/a.go": src}, "| MIT |"},
		{"only tests", map[string]string{"LICENSE": mitText, "sub/a_test.go": tagged + "GPL-3.0-only\n" + src}, "| MIT |"},

		{"AGPL", map[string]string{"LICENSE": agpl, "sub/a.go": src}, "!LICENSE holds a licence that is not on the list"},
		{"AGPL in COPYING", map[string]string{"LICENSE": mitText, "COPYING": agpl, "sub/a.go": src}, "!COPYING holds"},
		{"AGPL beside a package", map[string]string{"LICENSE": mitText, "sub/LICENSE.txt": agpl, "sub/a.go": src}, "!sub/LICENSE.txt holds"},
		{"AGPL in a header", map[string]string{"LICENSE": mitText, "sub/a.go": tagged + "AGPL-3.0-only\n" + src}, "!is under AGPL-3.0-only"},
		{"AGPL in a C header", map[string]string{"LICENSE": mitText, "sub/a.h": "/* SPDX-License-Identifier: AGPL-3.0-only */\n"}, "!is under AGPL-3.0-only"},
		{"none", map[string]string{"README": "MIT, trust me", "sub/a.go": src}, "!no licence file"},
	} {
		doc, err := document([]module{plant(t, c.files)})
		if want, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "example.org/m v1.2.3") {
				t.Errorf("%s: error %v, want one with %q", c.name, err, want)
			}
		} else if err != nil || !strings.Contains(string(doc), "| example.org/m | v1.2.3 "+want) {
			t.Errorf("%s: %v, no %q in\n%s", c.name, err, want, doc)
		}
	}
}

func TestDocumentHoldsTexts(t *testing.T) {
	doc, err := document([]module{plant(t, map[string]string{"LICENSE": mitText, "NOTICE": "made by somebody", "sub/a.go": ""})})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Copyright (c) 2023 Somebody", "OTHER DEALINGS", "made by somebody"} {
		if !strings.Contains(string(doc), part) {
			t.Errorf("no %q in the document", part)
		}
	}
}

func TestUpdate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list.md")
	for _, step := range []struct {
		doc    string
		check  bool
		failed bool
	}{
		{"one\n", true, true}, // missing is stale
		{"one\n", false, false},
		{"one\n", true, false},
		{"two\n", true, true},
		{"two\n", false, false},
	} {
		err := update(name, []byte(step.doc), step.check)
		if (err != nil) != step.failed {
			t.Errorf("update(%q, check %v): %v", step.doc, step.check, err)
		}
	}
	if got := read(t, name); got != "two\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestCollect(t *testing.T) {
	const list = `{"ImportPath": "fmt", "Dir": "/go/fmt"}
{"ImportPath": "m.org/ours", "Dir": "/ours", "Module": {"Path": "m.org/ours", "Main": true}}
{"ImportPath": "f.org/a/x", "Dir": "/a/x", "Module": {"Path": "f.org/a", "Version": "v1.0.0", "Dir": "/a"}}
{"ImportPath": "f.org/a/y", "Dir": "/a/y", "Module": {"Path": "f.org/a", "Version": "v1.0.0", "Dir": "/a"}}
{"ImportPath": "f.org/b", "Dir": "/c", "Module": {"Path": "f.org/b", "Version": "v1.0.0", "Dir": "/c", "Replace": {"Path": "f.org/c", "Version": "v2.0.0"}}}
`
	var got []module
	for range 2 { // a second system adds nothing new
		var err error
		if got, err = collect(got, strings.NewReader(list)); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[0].path != "f.org/a" || len(got[0].packages) != 2 || got[1].path != "f.org/c" || got[1].version != "v2.0.0" {
		t.Errorf("%+v", got)
	}
	if _, err := collect(nil, strings.NewReader(`{"ImportPath": "f.org/d", "Module": {"Path": "f.org/d"}}`)); err == nil || !strings.Contains(err.Error(), "not downloaded") {
		t.Errorf("a module without a folder: %v", err)
	}
}
