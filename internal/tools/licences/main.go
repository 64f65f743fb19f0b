// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Licences writes THIRD_PARTY_LICENSES.md: every foreign module that a program
// made with this one may contain on Linux, macOS or Windows, with the codec
// tags set, and the texts that have to go with a copy. It fails when a licence
// is not on the list in detect.go.
//
//	go run ./internal/tools/licences          write the file
//	go run ./internal/tools/licences -check   fail when it would change
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const file = "THIRD_PARTY_LICENSES.md"

func main() {
	check := flag.Bool("check", false, "fail when "+file+" is stale, and write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := goCommand(nil, "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	var linked []module
	for _, system := range []string{"linux", "darwin", "windows"} {
		out, err := goCommand([]string{"GOOS=" + system, "GOARCH=amd64", "CGO_ENABLED=1"},
			"list", "-deps", "-tags", "libopus,nolibopusfile", "-json=ImportPath,Dir,Module", "./...")
		if err != nil {
			return err
		}
		if linked, err = collect(linked, bytes.NewReader(out)); err != nil {
			return err
		}
	}
	doc, err := document(linked)
	if err != nil {
		return err
	}
	return update(filepath.Join(strings.TrimSpace(string(root)), file), doc, check)
}

// update writes doc, or when checking fails if that would change the file.
func update(name string, doc []byte, check bool) error {
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch {
	case bytes.Equal(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), doc):
		return nil
	case check:
		return fmt.Errorf("%s is stale: run make licences and commit it", file)
	}
	return os.WriteFile(name, doc, 0o644)
}

func goCommand(env []string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// collect adds the foreign modules in the output of go list to those known.
func collect(known []module, list io.Reader) ([]module, error) {
	for dec := json.NewDecoder(list); ; {
		var p struct {
			ImportPath, Dir string
			Module          *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path, Version string }
			}
		}
		if err := dec.Decode(&p); err == io.EOF {
			return known, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		m := p.Module
		if m == nil || m.Main { // the standard library, or ours
			continue
		}
		if m.Dir == "" {
			return nil, fmt.Errorf("%s is not downloaded", m.Path)
		}
		if m.Replace != nil {
			m.Path, m.Version = m.Replace.Path, m.Replace.Version
		}
		i := slices.IndexFunc(known, func(k module) bool { return k.dir == m.Dir })
		if i < 0 {
			i, known = len(known), append(known, module{path: m.Path, version: m.Version, dir: m.Dir})
		}
		if !slices.Contains(known[i].packages, p.Dir) {
			known[i].packages = append(known[i].packages, p.Dir)
		}
	}
}

const preface = `# Third-party licences

Foreign modules that a program made with P2P OS may contain, on Linux, macOS or Windows and with the codec tags set. A program
that leaves packages out contains fewer. Written by ` + "`make licences`" + `; ` + "`make test`" + ` fails when it is stale or when a licence is not
one of %s. What isn't a Go module is named in NOTICE.

| module | version | licence |
|---|---|---|
`

// document renders the file. It names every module whose licence won't do.
func document(modules []module) ([]byte, error) {
	slices.SortFunc(modules, func(a, b module) int { return cmp.Compare(a.path, b.path) })
	var table, body bytes.Buffer
	var bad []error
	fmt.Fprintf(&table, preface, strings.Join(allowed, ", "))
	for _, m := range modules {
		slices.Sort(m.packages)
		notices, err := m.read()
		if err != nil {
			bad = append(bad, err)
			continue
		}
		var ids []string
		fmt.Fprintf(&body, "\n## %s %s\n", m.path, m.version)
		for _, n := range notices {
			if n.id != "" && !slices.Contains(ids, n.id) {
				ids = append(ids, n.id)
			}
			text := strings.TrimRight(strings.ReplaceAll(n.text, "\r\n", "\n"), " \n")
			fmt.Fprintf(&body, "\n%s:\n\n```\n%s\n```\n", n.name, text)
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", m.path, m.version, strings.Join(ids, ", "))
	}
	return append(table.Bytes(), body.Bytes()...), errors.Join(bad...)
}
