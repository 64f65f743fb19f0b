// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package house_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/p2pos/p2pos/internal/tools/house"
)

const head = "// SPDX-License-Identifier: X\n\n"

// tree loads files given as path, source, path, source, …
func tree(t *testing.T, files ...string) *house.Tree {
	t.Helper()
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	tr, err := house.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// expect requires exactly one finding for each part, in order.
func expect(t *testing.T, got []house.Finding, parts ...string) {
	t.Helper()
	for i, f := range got {
		if i >= len(parts) || !strings.Contains(f.String(), parts[i]) {
			t.Errorf("unexpected finding %s", f)
		}
	}
	if len(got) < len(parts) {
		t.Errorf("%d findings, want %q", len(got), parts)
	}
}

func TestLoad(t *testing.T) {
	tr := tree(t,
		"a/a.go", head+"package a\n",
		"a/testdata/bad.go", "not Go at all",
		".hidden/h.go", "neither",
		"sub/go.mod", "module sub\n",
		"sub/s.go", head+"package sub\n")
	if n := len(tr.Files); n != 2 {
		t.Fatalf("%d files, want 2", n)
	}
	if f := tr.Files[1]; f.Path != "sub/s.go" || !f.Nested {
		t.Errorf("%s nested %v, want sub/s.go nested", f.Path, f.Nested)
	}
	if _, err := house.Load(fstest.MapFS{"x.go": {Data: []byte("packag x")}}); err == nil || !strings.Contains(err.Error(), "x.go") {
		t.Errorf("a file that doesn't parse: %v", err)
	}
}

func TestLayers(t *testing.T) {
	l := house.Layers{
		Module:   "m.org/m",
		Internal: map[string][]string{".": {"a", "b"}, "a": {}, "b": {"a"}, "cmd/*": {"."}},
		External: map[string][]string{"f.org/x": {"a"}, "f.org/x/v2": {"b"}},
	}
	imp := func(pkg string, paths ...string) string {
		return head + "package " + pkg + "\n\nimport (\n\t_ \"" + strings.Join(paths, "\"\n\t_ \"") + "\"\n)\n"
	}
	for _, c := range []struct {
		path, src, want string
	}{
		{"b/b.go", imp("b", "m.org/m/a", "fmt", "f.org/x/v2/sub"), ""},
		{"p.go", imp("m", "m.org/m/a", "m.org/m/b"), ""},
		{"cmd/q/r/p.go", imp("main", "m.org/m"), ""},
		{"a/a.go", imp("a", "m.org/m/b"), "a/a.go:6: package a must not import b"},
		{"a/a.go", imp("a", "m.org/m"), "package a must not import ."},
		{"a/a_windows.go", imp("a", "m.org/m/b"), "package a must not import b"},
		{"cmd/q/p.go", imp("main", "m.org/m/a"), "must not import a"},
		{"c/c.go", head + "package c\n", "package c has no row"},
		{"b/b.go", imp("b", "f.org/x/sub"), "f.org/x is confined to a"},
		{"a/a.go", imp("a", "f.org/x/v2"), "f.org/x/v2 is confined to b"},
		{"a/a.go", imp("a", "f.org/x/v3"), "belongs to no module"},
		{"a/a.go", imp("a", "f.org/xyz"), "belongs to no module"},
		{"a/a_test.go", imp("a", "m.org/m/b", "f.org/new"), ""},
		{"a/a_test.go", imp("a", "m.org/m"), "only external tests"},
		{"a/a_test.go", imp("a_test", "m.org/m"), ""},
	} {
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		expect(t, tree(t, c.path, c.src).Layers(l), want...)
	}
}

func TestPure(t *testing.T) {
	for _, c := range []struct {
		imports, body, want string
	}{
		{"time", "_ = time.Time{}.Add(time.Second)", ""},
		{"math/rand/v2", "_ = rand.New(rand.NewPCG(1, 2)).IntN(5)", ""},
		{"os", "_ = os.ErrNotExist", ""},
		{"net", "_ = net.ErrClosed; _ = net.UDPAddr{}", ""},
		{"log/slog", "_ = slog.StringValue(``)", ""},
		{"sync", "var mu sync.Mutex; mu.Lock()", ""},
		{"time", "var d time.Duration; { time := struct{ Now int }{}; _, _ = time.Now, d }", ""},
		{"", "go func() {}()", "go statement"},
		{"sync", "var wg sync.WaitGroup; wg.Go(func() {})", "goroutine started by"},
		{"time", "_ = time.Now()", "time.Now in a pure file"},
		{"time", "f := time.Now; _ = f", "time.Now"},
		{"time", "_ = time.NewTimer(1)", "time.NewTimer"},
		{"clock time", "clock.Sleep(1)", "time.Sleep"},
		{". time", "_ = Now()", "dot import of time"},
		{"context", "context.WithTimeout(nil, 1)", "context.WithTimeout"},
		{"math/rand/v2", "_ = rand.IntN(5)", "rand/v2.IntN"},
		{"math/rand", "rand.Shuffle(1, nil)", "rand.Shuffle"},
		{"net", "net.ListenPacket(``, ``)", "net.ListenPacket"},
		{"net", "_ = net.Dialer{}", "net.Dialer"},
		{"net", "net.Interfaces()", "net.Interfaces"},
		{"os", "os.ReadFile(``)", "os.ReadFile"},
		{"os", "os.Getenv(``)", "os.Getenv"},
		{"log", "log.Print()", "import of log"},
		{"net/http", "_ = http.Get", "import of net/http"},
		{"log/slog", "slog.Info(``)", "slog.Info"},
		{"log/slog", "var l *slog.Logger; _ = l", "slog.Logger"},
	} {
		src := head + "package a\n"
		if name, path, ok := strings.Cut(c.imports, " "); ok {
			src += fmt.Sprintf("\nimport %s %q\n", name, path)
		} else if c.imports != "" {
			src += fmt.Sprintf("\nimport %q\n", c.imports)
		}
		src += "\nfunc f() { " + c.body + " }\n"
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		got, _ := tree(t, "a/a.go", src).Pure(house.Purity{})
		expect(t, got, want...)
		for _, free := range []house.Purity{
			{Drivers: map[string]string{"a/a.go": "driver"}}, {Drivers: map[string]string{"a/*.go": "driver"}}, {Exempt: []string{"a"}},
		} {
			got, _ = tree(t, "a/a.go", src).Pure(free)
			expect(t, got)
		}
		got, _ = tree(t, "a/a_test.go", src).Pure(house.Purity{})
		expect(t, got)
	}
}

func TestPureFilesOnly(t *testing.T) {
	tr := tree(t,
		"a/store.go", head+"package a\n\nimport (\n\t\"os\"\n\t\"time\"\n)\n\nfunc f() { os.Remove(``); time.Sleep(1) }\n",
		"a/calm.go", head+"package a\n",
		"b/c/rule.go", head+"package c\n\nfunc g() { go g() }\n",
		"b/driver.go", head+"package b\n\nfunc f() { go f() }\n")
	got, idle := tr.Pure(house.Purity{
		Files:   map[string]string{"a/store.go": "key file"},
		Drivers: map[string]string{"a/calm.go": "no longer true", "a/gone.go": "not written yet", "b/*.go": "sockets"},
	})
	expect(t, got, "time.Sleep", "b/c/rule.go:5: go statement")
	if len(idle) != 1 || idle[0] != "a/calm.go" {
		t.Errorf("idle %q, want a/calm.go alone", idle)
	}
}

func TestGlobals(t *testing.T) {
	for _, c := range []struct {
		decl, body, want string
	}{
		{"var ErrX = errors.New(``)", "", ""},
		{"var table = map[string]int{`a`: 1}", "_ = table[`a`]", ""},
		{"var _ = 1", "", ""},
		{"var zero [4]byte", "_ = zero", ""},
		{"var once = sync.OnceValue(func() int { return len(make([]int, 1)) })", "", ""},
		{"var n int", "n := 1; n++; _ = n", ""},
		{"var Max = 5", "", "Max is exported"},
		{"var mu sync.Mutex", "", "mu holds state"},
		{"var pool = sync.Pool{}", "", "pool holds state"},
		{"var c atomic.Int64", "", "c holds state"},
		{"var m = make(map[int]int)", "", "m holds state"},
		{"var n int", "n = 1", "n is written"},
		{"var n int", "n++", "n is written"},
		{"var n int", "p := &n; _ = p", "n is written"},
		{"var m = map[int]int{}", "m[1] = 2", "m is written"},
		{"var m = map[int]int{}", "delete(m, 1)", "m is written"},
		{"var s struct{ a [2]int }", "s.a[1] += 2", "s is written"},
	} {
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		decl := head + "package a\n\nimport (\n\t\"errors\"\n\t\"sync\"\n\t\"sync/atomic\"\n)\n\n" + c.decl + "\n"
		body := head + "package a\n\nfunc f() { " + c.body + " }\n"
		expect(t, tree(t, "a/a.go", decl, "a/b.go", body).Globals(nil), want...)
		expect(t, tree(t, "a/a.go", decl+"\nfunc f() { "+c.body+" }\n").Globals(nil), want...)
	}
	tr := tree(t, "a/a.go", head+"package a\n\nvar Max = 5\n")
	expect(t, tr.Globals(map[string]string{"a.Max": "why not"}))
	expect(t, tr.Globals(nil, "a"))
}

func TestStyle(t *testing.T) {
	tr := tree(t,
		"a/a.go", head+"package a\n\nfunc init() {}\n\ntype T struct{}\n\nfunc (T) init() {}\n",
		"a/b.go", "package a\n",
		"a/c.go", "// SPDX-License-Identifier: X\n// more\n\npackage a\n",
		"a/doc.go", head+"// Package a is documented.\npackage a\n",
		"b/b.go", "// SPDX-License-Identifier: Y\n\npackage b\n",
		"b/b_test.go", "// SPDX-License-Identifier: Y\n\npackage b\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n",
		"b/c_test.go", "// SPDX-License-Identifier: Y\n\npackage b\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc g() { synctest.Test(nil, nil); time.Sleep(1) }\n",
		"b/bubble_test.go", "// SPDX-License-Identifier: Y\n\npackage b\n\nimport \"testing/synctest\"\n\nfunc bubble(f func()) { synctest.Test(nil, nil) }\n",
		"b/d_test.go", "// SPDX-License-Identifier: Y\n\npackage b\n\nimport \"time\"\n\nfunc h() { bubble(func() { time.Sleep(1) }) }\n\nfunc i() { h2(func() { time.Sleep(1) }) }\n",
		"b/long.go", "// SPDX-License-Identifier: Y\n\npackage b\n"+strings.Repeat("\n", house.MaxLines),
	)
	expect(t, tr.Headers(map[string]string{".": "X", "b": "Y"}), "a/b.go:1", "a/c.go:2: no empty line")
	expect(t, tr.Inits(), "a/a.go:5: func init")
	expect(t, tr.Inits("a"))
	expect(t, tr.Docs(), "package b has no doc.go")
	expect(t, tr.Docs("b"))
	expect(t, tr.Sleeps(), "b/b_test.go:7", "b/d_test.go:9")
	expect(t, tr.Sizes(), "b/long.go:803")
}

func TestUsesAndImporters(t *testing.T) {
	tr := tree(t,
		"a/a.go", head+"package a\n\nimport \"f.org/dtls/v2\"\n\nfunc f(c dtls.Config) { c.PSK = nil; _ = dtls.Config{PSKHint: nil} }\n",
		"a/a_test.go", head+"package a\n\nimport \"f.org/dtls\"\n\nvar _ = dtls.Config{PSK: nil}\n")
	expect(t, tr.Uses("PSK"), "a/a.go:7: uses PSK", "a/a.go:7: uses PSKHint")
	expect(t, tr.Importers("f.org/dtls"), "a/a.go:5: imports f.org/dtls/v2")
	expect(t, tr.Importers("f.org/dtls", "a"))
}
