// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package house

import (
	"path"
	"slices"
	"strings"
)

// Layers is the table of allowed imports.
type Layers struct {
	Module string // the module's path
	// Internal holds a row for each package: which packages of the module it
	// may import, by folder, "." being the top. A row "x/*" serves every
	// package below x that has no row of its own.
	Internal map[string][]string
	// External names the only packages that may import a foreign module.
	External map[string][]string
}

// Layers returns the imports that break the table. Test files may import
// what they like, except that only an external test may import the top.
func (t *Tree) Layers(l Layers) []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if f.Nested {
			continue
		}
		row, known := l.row(f.Dir)
		if !known && !f.Test {
			out.at(f, f.AST.Package, "package %s has no row in the import table", f.Dir)
		}
		for _, im := range f.AST.Imports {
			ip := strings.Trim(im.Path.Value, "\"`")
			rel, own := l.own(ip)
			switch {
			case f.Test:
				if own && rel == "." && !strings.HasSuffix(f.AST.Name.Name, "_test") {
					out.at(f, im.Pos(), "only external tests (package x_test) may import %s", ip)
				}
			case own:
				if known && !slices.Contains(row, rel) {
					out.at(f, im.Pos(), "package %s must not import %s", f.Dir, rel)
				}
			case strings.Contains(strings.SplitN(ip, "/", 2)[0], "."): // std paths have no dot
				mod := l.module(ip)
				if mod == "" {
					out.at(f, im.Pos(), "%s belongs to no module in the table", ip)
				} else if !slices.Contains(l.External[mod], f.Dir) {
					out.at(f, im.Pos(), "%s is confined to %s", mod, strings.Join(l.External[mod], ", "))
				}
			}
		}
	}
	return out.sorted()
}

// row returns the row for a package, the nearest x/* above it if it has none.
func (l Layers) row(dir string) ([]string, bool) {
	if r, ok := l.Internal[dir]; ok {
		return r, true
	}
	for d := path.Dir(dir); d != "." && d != "/"; d = path.Dir(d) {
		if r, ok := l.Internal[d+"/*"]; ok {
			return r, true
		}
	}
	return nil, false
}

// own returns the folder of a package of this module.
func (l Layers) own(ip string) (string, bool) {
	if ip == l.Module {
		return ".", true
	}
	return strings.CutPrefix(ip, l.Module+"/")
}

// module returns the row of External that ip belongs to. Another major
// version is another module and needs a row of its own.
func (l Layers) module(ip string) string {
	best := ""
	for m := range l.External {
		if inModule(ip, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

func inModule(ip, mod string) bool {
	rest, ok := strings.CutPrefix(ip, mod)
	if !ok || rest == "" {
		return ok
	}
	return rest[0] == '/' && !majorVersion(strings.SplitN(rest[1:], "/", 2)[0])
}

// Importers returns the places outside the allowed folders where non-test
// code imports the module, whatever its major version.
func (t *Tree) Importers(module string, allowed ...string) []Finding {
	out := &findings{fset: t.fset}
	for _, f := range t.Files {
		if f.Test || under(f.Dir, allowed) {
			continue
		}
		for _, im := range f.AST.Imports {
			ip := strings.Trim(im.Path.Value, "\"`")
			if ip == module || strings.HasPrefix(ip, module+"/") {
				out.at(f, im.Pos(), "imports %s", ip)
			}
		}
	}
	return out.sorted()
}
