// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Sbom writes what a build contains, as CycloneDX 1.6 and SPDX 2.3: modules,
// versions, go.sum hashes, licences, and which uses which.
//
//	go run ./internal/tools/sbom -out bin                 the library
//	go run ./internal/tools/sbom -out bin ./examples/softphone
//
// The same commit gives the same bytes: the time in the files is the commit's,
// or SOURCE_DATE_EPOCH.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	out := flag.String("out", ".", "folder for sbom.cdx.json and sbom.spdx.json")
	tags := flag.String("tags", "", "build tags, as for go build")
	flag.Parse()
	pkg := "."
	if flag.NArg() > 0 {
		pkg = flag.Arg(0)
	}
	if err := run(*out, *tags, pkg); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(out, tags, pkg string) error {
	list, err := command("go", "list", "-deps", "-tags", tags, "-json=ImportPath,Imports,Module,Standard,DepOnly", pkg)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return err
	}
	table, err := os.ReadFile("THIRD_PARTY_LICENSES.md")
	if err != nil {
		return err
	}
	goVersion, err := command("go", "env", "GOVERSION")
	if err != nil {
		return err
	}
	b, err := collect(bytes.NewReader(list), strings.TrimSpace(string(goVersion)), readSums(sums), readLicences(table))
	if err != nil {
		return err
	}
	if b.when, err = when(); err != nil {
		return err
	}
	if v, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		b.modules[0].Version = strings.TrimSpace(string(v))
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for name, doc := range map[string]any{"sbom.cdx.json": b.cycloneDX(), "sbom.spdx.json": b.spdx()} {
		text, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// when returns the time that stands in the files.
func when() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := command("git", "log", "-1", "--format=%ct")
		if err != nil {
			return time.Time{}, fmt.Errorf("no commit to take the time from, set SOURCE_DATE_EPOCH: %w", err)
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func command(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}
