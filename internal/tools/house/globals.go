// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package house

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// Globals returns package variables that can change: those that code of the
// package writes, those made to be written (locks, counters, pools, maps made
// empty), and exported ones that aren't errors, which any importer could set.
// Tables, compiled patterns and error values that nobody writes are fine.
// allow holds exceptions, "folder.Name" → reason.
func (t *Tree) Globals(allow map[string]string, exempt ...string) []Finding {
	out := &findings{fset: t.fset}
	packages := make(map[string][]*File)
	for _, f := range t.Files {
		if !f.Test && !under(f.Dir, exempt) {
			packages[f.Dir] = append(packages[f.Dir], f)
		}
	}
	for dir, files := range packages {
		g := globals{names: make(map[string]bool), specs: make(map[any]bool)}
		for _, f := range files {
			g.declare(f)
		}
		report := func(f *File, id *ast.Ident, what string) {
			if _, ok := allow[dir+"."+id.Name]; !ok {
				out.at(f, id.Pos(), "package variable %s %s", id.Name, what)
			}
		}
		for _, f := range files {
			g.born(f, report)
			g.written(f, report)
		}
	}
	return out.sorted()
}

type globals struct {
	names map[string]bool // variables of the package
	specs map[any]bool    // their declarations
}

func (g *globals) declare(f *File) {
	for _, d := range f.AST.Decls {
		for _, s := range isVar(d) {
			v := s.(*ast.ValueSpec)
			g.specs[v] = true
			for _, id := range v.Names {
				g.names[id.Name] = id.Name != "_"
			}
		}
	}
}

// born reports variables whose declaration says that they will change.
func (g *globals) born(f *File, report func(*File, *ast.Ident, string)) {
	for _, d := range f.AST.Decls {
		for _, s := range isVar(d) {
			v := s.(*ast.ValueSpec)
			for i, id := range v.Names {
				if id.Name == "_" {
					continue
				}
				var value ast.Expr
				if len(v.Values) == len(v.Names) {
					value = v.Values[i]
				}
				if id.IsExported() && !strings.HasPrefix(id.Name, "Err") {
					report(f, id, "is exported: any importer could set it")
				} else if f.mutable(v.Type) || f.mutable(value) {
					report(f, id, "holds state")
				}
			}
		}
	}
}

// mutable reports whether a type or value is made to be written.
func (f *File) mutable(e ast.Expr) (yes bool) {
	if e == nil {
		return false
	}
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.FuncType:
			return false // what a function makes when called is its own
		case *ast.ChanType:
			yes = true
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "make" || id.Name == "new") {
				yes = true
			}
		case *ast.SelectorExpr:
			switch pkg, name, _ := f.selects(n); pkg {
			case "sync":
				yes = yes || !prefixed(name, "OnceValue", "OnceFunc") // a constant computed late
			case "sync/atomic":
				yes = true
			case "math/rand", "math/rand/v2":
				yes = true
			}
		}
		return !yes
	})
	return yes
}

// written reports statements that change a package variable.
func (g *globals) written(f *File, report func(*File, *ast.Ident, string)) {
	target := func(e ast.Expr) {
		id := root(e)
		if id == nil || !g.names[id.Name] {
			return
		}
		if id.Obj != nil && !g.specs[id.Obj.Decl] {
			return // a local one of the same name
		}
		report(f, id, "is written")
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					target(e)
				}
			}
		case *ast.IncDecStmt:
			target(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				target(n.Key)
				target(n.Value)
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				target(n.X)
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"delete", "clear", "copy"}, id.Name) && len(n.Args) > 0 {
				target(n.Args[0])
			}
		}
		return true
	})
}

// root returns the variable at the bottom of x.f[i].g, or nil.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
