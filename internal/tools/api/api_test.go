// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

const source = `package p

import "io"

type Config struct { Name string; hidden int; io.Reader }
func (c *Config) Set(name string, more ...int) (old string, err error) { return }
func (c Config) Get() string { return "" }
func (c Config) secret() {}
type Kind string
const One Kind = "one"
var ErrX, hiddenErr error
func Do[T any](f func(T) error) []T { return nil }
type Event interface { Name() string; event() }
type Open interface { Name() string }
type Alias = Config
`

func check(t *testing.T, src string) []string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := (&types.Config{Importer: importer.ForCompiler(set, "source", nil)}).Check("x/p", set, []*ast.File{f}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := describe(p)
	slices.Sort(list)
	return list
}

func TestDescribe(t *testing.T) {
	want := `const One Kind = "one"
func Do[T any](func(T) error) []T
method (*Config) Set(string, ...int) (string, error)
method (Config) Get() string
method (Config) Read([]byte) (int, error)
type Alias = Config
type Config struct
type Config struct, Name string
type Config struct, embedded io.Reader
type Event interface, Name() string
type Event interface, closed
type Kind string
type Open interface
type Open interface, Name() string
var ErrX error`
	var got []string
	for _, l := range check(t, source) {
		got = append(got, strings.TrimPrefix(l, "pkg x/p, "))
	}
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

// What breaks a program is missing afterwards; what doesn't is not.
func TestMissing(t *testing.T) {
	old := check(t, source)
	for _, c := range []struct {
		what, from, to string
		gone           int
	}{
		{"a new field", "Name string;", "Name string; New int;", 0},
		{"a new method", "func (c Config) secret", "func (c Config) Public", 0},
		{"a renamed parameter", "name string, more", "other string, more", 0},
		{"a changed parameter", "name string, more", "name []byte, more", 1},
		{"a field that went", "Name string;", "", 1},
		{"a value that changed", `"one"`, `"two"`, 1},
		{"a receiver that became a pointer", "(c Config) Get", "(c *Config) Get", 1},
		{"a hidden name", "hiddenErr", "other", 0},
	} {
		src := strings.Replace(source, c.from, c.to, 1)
		if gone := missing(old, check(t, src)); len(gone) != c.gone {
			t.Errorf("%s: %q", c.what, gone)
		}
	}
}
