// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is a foreign module and what of it ends up in a program.
type module struct {
	path, version, dir string
	packages           []string // folders of the linked packages
}

// notice is one file that has to go with a copy of the module.
type notice struct {
	name, text string
	id         string // SPDX identifier; "" for files that hold no licence
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying|^copyright`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents)(\.|$)`)
	sourceFile  = regexp.MustCompile(`\.(go|s|c|h|cc|cpp|m)$`)
)

// read collects the licence files of a module, those beside its linked
// packages included, and fails on the first text or declaration that isn't on
// the list.
func (m module) read() ([]notice, error) {
	dirs := []string{m.dir}
	for _, p := range m.packages {
		for d := p; len(d) > len(m.dir) && strings.HasPrefix(d, m.dir); d = filepath.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	var out []notice
	for _, d := range slices.Compact(dirs) {
		found, err := m.notices(d)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if !slices.ContainsFunc(out, func(n notice) bool { return n.id != "" && !strings.Contains(n.name, "/") }) {
		return nil, fmt.Errorf("%s %s: no licence file at its top", m.path, m.version)
	}
	more, err := m.declarations(out)
	return append(out, more...), err
}

func (m module) notices(dir string) (out []notice, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.path, err)
	}
	for _, e := range entries {
		isLicence := licenceFile.MatchString(e.Name()) && !sourceFile.MatchString(e.Name())
		if e.IsDir() || !isLicence && !noticeFile.MatchString(e.Name()) {
			continue
		}
		n, err := m.load(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if isLicence {
			if n.id = detect(n.text); n.id == "" {
				return nil, fmt.Errorf("%s %s: %s holds a licence that is not on the list (%s)", m.path, m.version, n.name, strings.Join(allowed, ", "))
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// declarations checks the SPDX lines of the linked packages' files, and adds
// the texts in LICENSES (as the REUSE rules have it) of those that no licence
// file covers. That folder may hold more, for files that we don't link.
func (m module) declarations(have []notice) (out []notice, err error) {
	ids := make(map[string]bool)
	for _, n := range have {
		ids[n.id] = true
	}
	for _, dir := range m.packages {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
		for _, e := range entries {
			if e.IsDir() || !sourceFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			src, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.path, err)
			}
			id := declared(src)
			if id == "" || ids[id] {
				continue
			}
			if !permits(id) {
				return nil, fmt.Errorf("%s %s: %s is under %s, which is not on the list", m.path, m.version, filepath.Join(dir, e.Name()), id)
			}
			ids[id] = true
			if n, err := m.load(filepath.Join(m.dir, "LICENSES", id+".txt")); err == nil {
				n.id = id
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b notice) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func (m module) load(file string) (notice, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return notice{}, fmt.Errorf("%s: %w", m.path, err)
	}
	name, err := filepath.Rel(m.dir, file)
	if err != nil {
		return notice{}, fmt.Errorf("%s: %w", m.path, err)
	}
	return notice{name: filepath.ToSlash(name), text: string(text)}, nil
}
