// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// module is one thing in a build.
type module struct {
	Path, Version string
	sum           string   // h1:… of go.sum
	licence       string   // an SPDX expression
	uses          []string // paths
}

func (m *module) purl() string {
	return "pkg:golang/" + m.Path + "@" + m.Version
}

// bill is what a build contains: our module first, the others by path.
type bill struct {
	modules []*module
	when    time.Time
}

const (
	std = "std"
	// own is what the first line of our files says.
	own = "AGPL-3.0-only OR LicenseRef-P2POS-Commercial"
)

// collect reads the output of go list.
func collect(list io.Reader, goVersion string, sums, licences map[string]string) (*bill, error) {
	found := map[string]*module{std: {Path: std, Version: strings.TrimPrefix(goVersion, "go"), licence: "BSD-3-Clause"}}
	of := make(map[string]string)               // import path to module
	imports := make(map[string]map[string]bool) // module to import paths
	var main string
	for dec := json.NewDecoder(list); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
			Module     *struct {
				Path, Version string
				Main          bool
			}
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		path := std
		if !p.Standard {
			if p.Module == nil {
				return nil, fmt.Errorf("%s belongs to no module", p.ImportPath)
			}
			path = p.Module.Path
			if found[path] == nil {
				m := &module{Path: path, Version: p.Module.Version, sum: sums[path+" "+p.Module.Version], licence: licences[path]}
				if p.Module.Main {
					main, m.licence, m.Version = path, own, "devel"
				} else if m.sum == "" || m.licence == "" {
					return nil, fmt.Errorf("%s %s: not in go.sum or not in THIRD_PARTY_LICENSES.md (make licences)", path, m.Version)
				}
				found[path] = m
			}
		}
		of[p.ImportPath] = path
		if imports[path] == nil {
			imports[path] = make(map[string]bool)
		}
		for _, i := range p.Imports {
			imports[path][i] = true
		}
	}
	if main == "" {
		return nil, fmt.Errorf("no package of the module itself")
	}
	for path, m := range found {
		uses := make(map[string]bool)
		for i := range imports[path] {
			if o := of[i]; o != "" && o != path {
				uses[o] = true
			}
		}
		if path != std { // its vendored packages are its own affair
			m.uses = slices.Sorted(maps.Keys(uses))
		}
	}
	b := &bill{modules: []*module{found[main]}}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if path != main {
			b.modules = append(b.modules, found[path])
		}
	}
	return b, nil
}

// find returns the module of a path.
func (b *bill) find(path string) *module {
	i := slices.IndexFunc(b.modules, func(m *module) bool { return m.Path == path })
	return b.modules[i]
}

// readSums maps "path version" to the hash of the module's files.
func readSums(text []byte) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && !strings.HasSuffix(f[1], "/go.mod") {
			m[f[0]+" "+f[1]] = f[2]
		}
	}
	return m
}

// readLicences reads the table of THIRD_PARTY_LICENSES.md.
func readLicences(text []byte) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		c := strings.Split(line, "|")
		if len(c) == 5 && strings.Contains(c[1], ".") { // a module's path
			m[strings.TrimSpace(c[1])] = strings.Join(strings.Split(strings.TrimSpace(c[3]), ", "), " AND ")
		}
	}
	return m
}
