// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package house checks the rules that every source file of the project lives
// by: which package may import which, which files may touch the world, and
// how a file looks. It reads syntax only and all build tags at once, so that a
// file for another system is checked too. The tables stand in deps_test.go at
// the top of the module; this package knows no package by name.
package house

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// File is one parsed Go file.
type File struct {
	Path    string // slash separated, from the top of the module
	Dir     string // the package's folder; "." is the top
	Test    bool   // name ends in _test.go
	Nested  bool   // belongs to a module of its own below this one
	Lines   int
	Head    []string          // its first two lines
	Imports map[string]string // import path → name used in the file
	AST     *ast.File
}

// Tree is all Go files of a module, in path order.
type Tree struct {
	Files []*File
	fset  *token.FileSet
}

// Finding is one broken rule.
type Finding struct {
	Path string
	Line int
	Text string
}

// String returns path:line: text.
func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text) }

// Load parses every .go file below fsys, except in testdata, vendor, and
// folders whose name begins with a dot or an underscore, which the go command
// skips as well.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	var modules []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir():
			if p != "." && (name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_') {
				return fs.SkipDir
			}
		case name == "go.mod" && path.Dir(p) != ".":
			modules = append(modules, path.Dir(p)+"/")
		case strings.HasSuffix(name, ".go") && name[0] != '.' && name[0] != '_':
			return t.parse(fsys, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("house: %w", err)
	}
	for _, f := range t.Files {
		f.Nested = slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(f.Path, m) })
	}
	return t, nil
}

func (t *Tree) parse(fsys fs.FS, p string) error {
	src, err := fs.ReadFile(fsys, p)
	if err != nil {
		return err
	}
	// Identifiers are resolved within the file (no SkipObjectResolution), so
	// that a local variable called time is not mistaken for the package.
	a, err := parser.ParseFile(t.fset, p, src, parser.ParseComments)
	if err != nil {
		return err
	}
	f := &File{
		Path:    p,
		Dir:     path.Dir(p),
		Test:    strings.HasSuffix(p, "_test.go"),
		Lines:   bytes.Count(src, []byte("\n")),
		Imports: make(map[string]string),
		AST:     a,
	}
	for i, line := range strings.SplitN(string(src), "\n", 3) {
		if i < 2 {
			f.Head = append(f.Head, strings.TrimSuffix(line, "\r"))
		}
	}
	for _, im := range a.Imports {
		ip, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		f.Imports[ip] = importName(ip)
		if im.Name != nil {
			f.Imports[ip] = im.Name.Name
		}
	}
	t.Files = append(t.Files, f)
	return nil
}

// importName guesses the name of a package from its path, which is right for
// the standard library and everything else that is looked up by name here.
func importName(ip string) string {
	base := path.Base(ip)
	if majorVersion(base) {
		base = path.Base(path.Dir(ip))
	}
	return base
}

func majorVersion(s string) bool {
	return len(s) > 1 && s[0] == 'v' && strings.Trim(s[1:], "0123456789") == ""
}

// selects reports which package and name of it the expression means, such as
// "time", "Now"; ok is false for anything that isn't a qualified name.
func (f *File) selects(s *ast.SelectorExpr) (pkg, name string, ok bool) {
	id, isIdent := s.X.(*ast.Ident)
	if !isIdent || id.Obj != nil { // resolved: something declared in this file
		return "", "", false
	}
	for ip, as := range f.Imports {
		if as == id.Name {
			return ip, s.Sel.Name, true
		}
	}
	return "", "", false
}

// findings collects broken rules of one check.
type findings struct {
	fset *token.FileSet
	list []Finding
}

func (fs *findings) at(f *File, pos token.Pos, format string, args ...any) {
	fs.list = append(fs.list, Finding{f.Path, fs.fset.Position(pos).Line, fmt.Sprintf(format, args...)})
}

func (fs *findings) sorted() []Finding {
	slices.SortStableFunc(fs.list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return fs.list
}

// under reports whether file or folder p is in one of the named folders.
func under(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(d string) bool { return p == d || strings.HasPrefix(p, d+"/") })
}
