// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Api writes api.txt: every exported name that is promised, one fact a line, as
// the Go project keeps its own. What programs rely on is then a file whose
// changes are read.
//
//	go run ./internal/tools/api                 write the file
//	go run ./internal/tools/api -check          fail when something of it has gone or changed
//	go run ./internal/tools/api -against v1.2.0 list what that version had and this one has not
//
// New names don't fail the check: they break nobody.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

const (
	file   = "api.txt"
	module = "github.com/p2pos/p2pos"
	head   = "# The API of this module, written by make api. See COMPATIBILITY.md.\n"
)

// promised tells whether all of a package is. Of the layers below, programs see
// only the types that these packages name.
func promised(path string) bool {
	rest := strings.TrimPrefix(path, module)
	return rest == "" || rest == "/identity" || rest == "/metric" || rest == "/media" || strings.HasPrefix(rest, "/media/")
}

func main() {
	check := flag.Bool("check", false, "fail when something has gone or changed, and write nothing")
	against := flag.String("against", "", "a revision of git; list what it had and this one has not")
	flag.Parse()
	if err := run(*check, *against); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(check bool, against string) error {
	now, err := current()
	if err != nil {
		return err
	}
	if !check && against == "" {
		return os.WriteFile(file, []byte(head+strings.Join(now, "\n")+"\n"), 0o644)
	}
	old, err := os.ReadFile(file)
	if against != "" {
		old, err = exec.Command("git", "show", against+":"+file).Output()
	}
	if err != nil {
		return fmt.Errorf("what was promised can't be read: %w", err)
	}
	gone := missing(lines(old), now)
	for _, l := range gone {
		fmt.Println("gone:", l)
	}
	if len(gone) > 0 {
		return errors.New("programs may break: say so in CHANGELOG.md, run make api, and commit both (COMPATIBILITY.md)")
	}
	return nil
}

func lines(b []byte) (list []string) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if l := strings.TrimSpace(s.Text()); l != "" && l[0] != '#' {
			list = append(list, l)
		}
	}
	return list
}

// missing returns what is in old and not in now, which is sorted.
func missing(old, now []string) (gone []string) {
	for _, l := range old {
		if _, ok := slices.BinarySearch(now, l); !ok {
			gone = append(gone, l)
		}
	}
	return gone
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Name, Export string
	Standard, DepOnly        bool
}

// current returns the API of the packages around the current folder, sorted.
// Without cgo and on Linux: the API is the same everywhere.
func current() ([]string, error) {
	cmd := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Name,Export,Standard,DepOnly", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	exports := make(map[string]string)
	var own []string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath] = p.Export
		hidden := slices.Contains(strings.Split(p.ImportPath, "/"), "internal")
		if !p.Standard && !p.DepOnly && p.Name != "main" && !hidden {
			own = append(own, p.ImportPath)
		}
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	var api []string
	for _, path := range own {
		if !promised(path) {
			continue
		}
		p, err := imports.Import(path)
		if err != nil {
			return nil, err
		}
		api = append(api, describe(p)...)
	}
	if api, err = named(api, imports); err != nil {
		return nil, err
	}
	for i, l := range api {
		api[i] = strings.ReplaceAll(l, module, "p2pos")
	}
	slices.Sort(api)
	return slices.Compact(api), nil
}

var typeName = regexp.MustCompile(`\b(` + regexp.QuoteMeta(module) + `(?:/[a-z/]+)?)\.([A-Z]\w*)`)

// named adds the types of other packages that the lines name, and those that
// these name in turn.
func named(api []string, imports types.Importer) ([]string, error) {
	seen := make(map[string]bool)
	for i := 0; i < len(api); i++ {
		for _, m := range typeName.FindAllStringSubmatch(api[i], -1) {
			if promised(m[1]) || seen[m[0]] {
				continue
			}
			seen[m[0]] = true
			p, err := imports.Import(m[1])
			if err != nil {
				return nil, err
			}
			api = append(api, describe(p, m[2])...)
		}
	}
	return api, nil
}
