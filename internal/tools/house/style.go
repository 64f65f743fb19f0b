// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package house

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
)

// MaxLines is the ceiling for one file. A file near half of it usually holds
// a second idea.
const MaxLines = 800

// Headers returns the files that don't begin with their licence line and an
// empty one. The licence of a file is that of the longest folder above it;
// "." is the rest.
func (t *Tree) Headers(licence map[string]string) []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		dir := f.Dir
		for dir != "." && licence[dir] == "" {
			dir = path.Dir(dir)
		}
		want := "// SPDX-License-Identifier: " + licence[dir]
		switch {
		case len(f.Head) == 0 || f.Head[0] != want:
			out.list = append(out.list, Finding{f.Path, 1, "does not begin with " + want})
		case len(f.Head) < 2 || f.Head[1] != "":
			out.list = append(out.list, Finding{f.Path, 2, "no empty line behind the licence line"})
		}
	}
	return out.sorted()
}

// Sizes returns the files above MaxLines.
func (t *Tree) Sizes() []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if f.Lines > MaxLines {
			out.list = append(out.list, Finding{f.Path, f.Lines, "file has more than 800 lines"})
		}
	}
	return out.sorted()
}

// Docs returns the packages without a doc.go, outside the exempt folders.
func (t *Tree) Docs(exempt ...string) []Finding {
	first, documented := make(map[string]string), make(map[string]bool)
	for _, f := range t.Files {
		if f.Test || f.Nested || under(f.Dir, exempt) {
			continue
		}
		if first[f.Dir] == "" {
			first[f.Dir] = f.Path
		}
		if path.Base(f.Path) == "doc.go" && f.AST.Doc != nil {
			documented[f.Dir] = true
		}
	}
	out := &findings{fset: t.fset}
	for dir, p := range first {
		if !documented[dir] {
			out.list = append(out.list, Finding{p, 1, "package " + dir + " has no doc.go with a package comment"})
		}
	}
	return out.sorted()
}

// Sleeps returns where tests sleep on the real clock: outside a synctest
// bubble such a test is slow, or fails on a busy machine. A file that imports
// testing/synctest is trusted, and so is what stands inside a call of one of
// its package's functions that open a bubble.
func (t *Tree) Sleeps() []Finding {
	bubbles := make(map[string]bool) // folder.function
	for _, f := range t.Files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && f.uses(fn.Body, "testing/synctest", "Test") {
				bubbles[f.Dir+"."+fn.Name.Name] = true
			}
		}
	}
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if _, bubble := f.Imports["testing/synctest"]; !f.Test || bubble {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				id, ok := n.Fun.(*ast.Ident)
				return !ok || !bubbles[f.Dir+"."+id.Name]
			case *ast.SelectorExpr:
				if pkg, name, _ := f.selects(n); pkg == "time" && name == "Sleep" {
					out.at(f, n.Pos(), "time.Sleep in a test outside a synctest bubble")
				}
			}
			return true
		})
	}
	return out.sorted()
}

// Sorts returns where code outside tests and the exempt folders sorts by the
// functions of package slices that the compiler copies, with all that they call,
// for each shape of element. internal/order sorts the same way in few bytes.
func (t *Tree) Sorts(exempt ...string) []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if f.Test || f.Nested || under(f.Dir, exempt) {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				pkg, name, _ := f.selects(s)
				if pkg == "slices" && strings.HasPrefix(name, "Sort") && strings.HasSuffix(name, "Func") {
					out.at(f, s.Pos(), "slices.%s costs 7 KB for each shape of element: use internal/order", name)
				}
			}
			return true
		})
	}
	return out.sorted()
}

// uses reports whether a package's name is used below n.
func (f *File) uses(n ast.Node, pkg, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			p, sel, _ := f.selects(s)
			found = found || p == pkg && sel == name
		}
		return !found
	})
	return found
}

// Uses returns where non-test code selects, or sets by key, a name that
// contains one of the parts. It is for names that are dangerous in whatever
// type they appear.
func (t *Tree) Uses(parts ...string) []Finding {
	out := &findings{fset: t.fset}
	check := func(f *File, id *ast.Ident) {
		for _, p := range parts {
			if strings.Contains(id.Name, p) {
				out.at(f, id.Pos(), "uses %s", id.Name)
				return
			}
		}
	}
	for _, f := range t.Files {
		if f.Test {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				check(f, n.Sel)
			case *ast.KeyValueExpr:
				if id, ok := n.Key.(*ast.Ident); ok {
					check(f, id)
				}
			}
			return true
		})
	}
	return out.sorted()
}

// Inits returns the init functions of packages outside the exempt folders.
func (t *Tree) Inits(exempt ...string) []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if f.Test || under(f.Dir, exempt) {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out.at(f, fn.Pos(), "func init: importing a package must do nothing")
			}
		}
	}
	return out.sorted()
}

// isVar returns the specs of a var declaration at package level.
func isVar(d ast.Decl) []ast.Spec {
	if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
		return g.Specs
	}
	return nil
}
