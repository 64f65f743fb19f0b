// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a program may get with the import. A company's engineer reads each
// module before it comes in; a phone downloads the binary.
const (
	maxModules = 25
	maxBytes   = 15_000_000
)

// binary builds the program once, for linux/amd64, stripped and without cgo.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "embedtest-bin")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "embedtest")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", name, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

func built(t *testing.T) string {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// modules lists what the linker put into the program.
func modules(t *testing.T) (paths []string) {
	t.Helper()
	info, err := buildinfo.ReadFile(built(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		if m.Path != "github.com/p2pos/p2pos" {
			paths = append(paths, m.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// The program does what it says.
func TestProgramRuns(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the program is built for linux/amd64")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, built(t))
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range wants {
		if !strings.Contains(string(out), want) {
			t.Errorf("it doesn't say %q:\n%s", want, out)
		}
	}
}

// wants is what the program prints when all went well.
var wants = []string{"heard", `read "well heard"`}

// main is as short as we say it is.
func TestProgramIsShort(t *testing.T) {
	src, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(src), "\nfunc main() {\n")
	body, _, ok := strings.Cut(body, "\n}\n")
	if n := strings.Count(body, "\n") + 1; !ok || n > 30 {
		t.Errorf("main has %d lines, at most 30 are promised", n)
	}
}

func TestBudget(t *testing.T) {
	list := modules(t)
	if len(list) > maxModules {
		t.Errorf("%d modules, at most %d are allowed", len(list), maxModules)
	}
	for _, m := range list {
		for _, not := range []string{"github.com/pion/webrtc", "github.com/pion/ice", "github.com/hraban/opus", "sqlite", "badger", "pebble", "leveldb"} {
			if strings.Contains(m, not) {
				t.Errorf("%s came in with the import", m)
			}
		}
	}
	info, err := os.Stat(built(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxBytes {
		t.Errorf("the stripped binary has %d bytes, at most %d are allowed", info.Size(), maxBytes)
	}
	t.Logf("%d modules, %.1f MB", len(list), float64(info.Size())/1e6)
}

// Nothing outside of Go's own library is written in C, also where there is a
// compiler for it.
func TestNoCgo(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{if .CgoFiles}}{{.ImportPath}}{{end}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(string(out)); s != "" {
		t.Errorf("with cgo: %s", s)
	}
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// The README tells of each module, and of no other one, and of the size.
func TestReadmeTells(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(readme, []byte("## What comes with it"))
	if !ok {
		t.Fatal("the README has no section \"What comes with it\"")
	}
	section, _, _ := bytes.Cut(rest, []byte("\n## "))
	var told []string
	for _, m := range row.FindAllSubmatch(section, -1) {
		for _, one := range strings.Split(string(m[1]), "`, `") {
			told = append(told, one)
		}
	}
	slices.Sort(told)
	if list := modules(t); !slices.Equal(told, list) {
		t.Errorf("the README tells of\n%s\nthe program has\n%s", strings.Join(told, "\n"), strings.Join(list, "\n"))
	}
	size := regexp.MustCompile(`binary of ([0-9.]+) MB`).FindSubmatch(section)
	if size == nil {
		t.Fatal("the README doesn't tell of a \"binary of … MB\"")
	}
	says, _ := strconv.ParseFloat(string(size[1]), 64)
	info, err := os.Stat(built(t))
	if err != nil {
		t.Fatal(err)
	}
	if is := float64(info.Size()) / 1e6; is > says+0.6 || is < says-1 {
		t.Errorf("the README says %.1f MB, it is %.1f", says, is)
	}
}
