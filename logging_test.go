// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// logLine is one call that writes to a logger.
type logLine struct {
	at, level, text string
	fields          []string
}

// logLines finds what the library logs: calls of a slog method whose first
// argument is a text.
func logLines(t *testing.T, source func(set *token.FileSet) []*ast.File) (list []logLine) {
	t.Helper()
	set := token.NewFileSet()
	for _, f := range source(set) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			l := logLine{at: set.Position(call.Pos()).String(), level: sel.Sel.Name}
			switch sel.Sel.Name {
			case "Debug", "Info", "Warn", "Error":
			default:
				return true
			}
			first, ok := call.Args[0].(*ast.BasicLit)
			if !ok || first.Kind != token.STRING {
				return true
			}
			l.text, _ = strconv.Unquote(first.Value)
			for i := 1; i < len(call.Args); i += 2 {
				key := "?"
				if lit, ok := call.Args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					key, _ = strconv.Unquote(lit.Value)
				}
				l.fields = append(l.fields, key)
			}
			list = append(list, l)
			return true
		})
	}
	return list
}

// librarySource parses what an embedder imports.
func librarySource(t *testing.T) func(*token.FileSet) []*ast.File {
	return func(set *token.FileSet) (files []*ast.File) {
		err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				switch path {
				case ".git", "examples", "internal/tools", "internal/simnet", "internal/natlab", "internal/embedtest", "bin":
					return filepath.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			f, err := parser.ParseFile(set, path, nil, 0)
			if err == nil {
				files = append(files, f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
}

// docs/logging.md lists each field that the library logs, and no other.
func TestLogFieldsAreListed(t *testing.T) {
	page, err := os.ReadFile("docs/logging.md")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(page, -1) {
		used[string(m[1])] = false
	}
	lines := logLines(t, librarySource(t))
	if len(lines) < 50 {
		t.Fatalf("%d lines of log found", len(lines))
	}
	name := regexp.MustCompile(`^[a-z]+$`)
	for _, l := range lines {
		for _, f := range l.fields {
			switch _, ok := used[f]; {
			case !name.MatchString(f):
				t.Errorf("%s: field %q is not one lower-case word", l.at, f)
			case !ok:
				t.Errorf("%s: field %q is not in docs/logging.md", l.at, f)
			}
			used[f] = true
		}
	}
	for f, is := range used {
		if !is {
			t.Errorf("docs/logging.md lists %q, which nothing logs", f)
		}
	}
}

// The rule of Config.Logger: addresses stand at Debug alone.
func TestLogAddressesAtDebug(t *testing.T) {
	for _, l := range logLines(t, librarySource(t)) {
		if l.level == "Debug" {
			continue
		}
		for _, f := range l.fields {
			switch f {
			case "remote", "addr", "local", "from", "to", "external", "internal", "gateway":
				t.Errorf("%s: %s %q shows %s", l.at, l.level, l.text, f)
			}
		}
	}
}

func TestLogLinesFindsPlanted(t *testing.T) {
	lines := logLines(t, func(set *token.FileSet) []*ast.File {
		f, err := parser.ParseFile(set, "x.go", "package x\nfunc f() { l.log.Info(\"text\", \"peer\", 1, key, 2); t.Error(err) }", 0)
		if err != nil {
			t.Fatal(err)
		}
		return []*ast.File{f}
	})
	if len(lines) != 1 || lines[0].level != "Info" || strings.Join(lines[0].fields, " ") != "peer ?" {
		t.Errorf("%+v", lines)
	}
}
