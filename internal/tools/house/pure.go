// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package house

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// Purity says which files may touch the world. All others hold rules: time
// and randomness reach them as arguments and nothing in them blocks, listens,
// logs or starts a goroutine. Keys are paths or patterns as in path.Match,
// values the reason.
type Purity struct {
	Drivers map[string]string // may do anything
	Files   map[string]string // may touch files and the environment, nothing else
	Exempt  []string          // folders of programs
}

// Pure returns what non-test files do that they may not, and, as idle, the
// patterns of the lists that match a file but excuse nothing.
func (t *Tree) Pure(p Purity) (broken []Finding, idle []string) {
	out := &findings{fset: t.fset}
	present, used := make(map[string]bool), make(map[string]bool)
	for _, f := range t.Files {
		if f.Test || f.Nested || under(f.Dir, p.Exempt) {
			continue
		}
		driver, files := match(p.Drivers, f.Path), match(p.Files, f.Path)
		present[driver], present[files] = true, true
		for _, im := range impurities(f) {
			switch {
			case driver != "":
				used[driver] = true
			case files != "" && im.file:
				used[files] = true
			default:
				out.at(f, im.node.Pos(), "%s in a pure file; hand it in, or move it to a driver listed in deps_test.go", im.what)
			}
		}
	}
	delete(present, "")
	for pattern := range present {
		if !used[pattern] {
			idle = append(idle, pattern)
		}
	}
	slices.Sort(idle)
	return out.sorted(), idle
}

func match(patterns map[string]string, p string) string {
	if _, ok := patterns[p]; ok {
		return p
	}
	found := ""
	for pattern := range patterns {
		if ok, _ := path.Match(pattern, p); ok && pattern > found {
			found = pattern
		}
	}
	return found
}

type impurity struct {
	node ast.Node
	what string
	file bool // file access, as opposed to clocks, goroutines and sockets
}

func impurities(f *File) (list []impurity) {
	for _, im := range f.AST.Imports {
		ip := strings.Trim(im.Path.Value, `"`)
		switch ip {
		case "log", "net/http", "os/exec", "os/signal", "expvar":
			list = append(list, impurity{im, "import of " + ip, false})
		}
		if im.Name != nil && im.Name.Name == "." {
			list = append(list, impurity{im, "dot import of " + ip, false})
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			list = append(list, impurity{n, "go statement", false})
		case *ast.CallExpr:
			// sync.WaitGroup and errgroup.Group both call it Go.
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
				list = append(list, impurity{n, "goroutine started by a method Go", false})
			}
		case *ast.SelectorExpr:
			if pkg, name, ok := f.selects(n); ok {
				if touches, file := worldly(pkg, name); touches {
					list = append(list, impurity{n, pkg + "." + name, file})
				}
			}
		}
		return true
	})
	return list
}

// worldly reports whether a name of the standard library reads a clock, draws
// from the global generator, opens a socket, logs, or touches files.
func worldly(pkg, name string) (touches, file bool) {
	switch pkg {
	case "time":
		return has(name, "Now Since Until After AfterFunc NewTimer NewTicker Sleep Tick"), false
	case "context":
		return has(name, "WithTimeout WithTimeoutCause WithDeadline WithDeadlineCause AfterFunc"), false
	case "math/rand", "math/rand/v2":
		return !has(name, "New NewPCG NewChaCha8 NewSource NewZipf Rand PCG ChaCha8 Source Source64 Zipf"), false
	case "net":
		return has(name, "Interfaces InterfaceAddrs InterfaceByIndex InterfaceByName") ||
			prefixed(name, "Listen", "Dial", "Lookup", "Resolve", "File", "DefaultResolver"), false
	case "log/slog":
		return has(name, "Logger New NewLogLogger Default SetDefault SetLogLoggerLevel With Log LogAttrs") ||
			prefixed(name, "Debug", "Info", "Warn", "Error"), false
	case "os":
		return !prefixed(name, "Err", "Is", "Mode") && !has(name, "FileMode FileInfo PathError LinkError SyscallError"), true
	case "io/ioutil":
		return !has(name, "ReadAll NopCloser Discard"), true
	case "path/filepath":
		return has(name, "Abs EvalSymlinks Glob Walk WalkDir"), true
	case "crypto/tls":
		return has(name, "Dial DialWithDialer Dialer Listen LoadX509KeyPair"), false
	}
	return false, false
}

func has(name, list string) bool { return slices.Contains(strings.Fields(list), name) }

func prefixed(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
