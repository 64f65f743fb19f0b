// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	module = "github.com/p2pos/p2pos"
	// before is the version N−1: there is no release yet, so it is the last commit
	// of 29 November 2026. It becomes the tag of the last minor version once there is
	// one. P2POS_PREV names another one for a run.
	before = "1173fb28422b9c37219cdf9518f478d12625ec1c"
)

// A program that imports two versions, by two paths, has both run, each for itself
// and with each other.
func TestTwoVersions(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("builds the library twice: set P2POS_LONG")
	}
	prev := before
	if v := os.Getenv("P2POS_PREV"); v != "" {
		prev = v
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		return cmd.Output()
	}
	if _, err := git("cat-file", "-e", prev+"^{commit}"); err != nil {
		t.Skipf("no commit %s here, a clone without history perhaps: %v", prev, err)
	}
	work := t.TempDir()
	old := filepath.Join(work, "old")
	tree := filepath.Join(work, "tree.tar")
	if _, err := git("archive", "-o", tree, prev); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", tree, "-C", old).CombinedOutput(); err != nil {
		t.Skipf("tar: %v %s", err, out)
	}
	// The old version moves to a path of its own, module and imports.
	if err := filepath.WalkDir(old, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") && d.Name() != "go.mod" {
			return err
		}
		return moved(path, path, module, module+"/prev")
	}); err != nil {
		t.Fatal(err)
	}
	// The side of each.
	for dir, path := range map[string]string{"cur": module, "prev": module + "/prev"} {
		if err := os.MkdirAll(filepath.Join(work, "program", dir), 0o700); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(work, "program", dir, "side.go")
		if err := moved("side/side.go", to, module, path); err != nil {
			t.Fatal(err)
		}
		if err := moved(to, to, "package side", "package "+dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := moved("testdata/versions/main.go", filepath.Join(work, "program", "main.go"), "", ""); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("module example.org/embedtest", "module example.org/versions",
		"require "+module+" v0.0.0", "require "+module+" v0.0.0\n\nrequire "+module+"/prev v0.0.0",
		"=> ../..", "=> "+root+"\n\nreplace "+module+"/prev => "+old).Replace(string(mod))
	if err := os.WriteFile(filepath.Join(work, "program", "go.mod"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var sums []byte
	for _, from := range []string{"go.sum", filepath.Join(old, "go.sum"), filepath.Join(root, "go.sum")} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, b...)
	}
	if err := os.WriteFile(filepath.Join(work, "program", "go.sum"), sums, 0o600); err != nil {
		t.Fatal(err)
	}

	name := filepath.Join(work, "versions")
	build := exec.Command("go", "build", "-mod=mod", "-buildvcs=false", "-o", name, ".")
	build.Dir = filepath.Join(work, "program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	began := time.Now()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built := time.Since(began)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, name)
	run.Env = append(os.Environ(), "TMPDIR="+work)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	each := "ok cur with cur\nok prev with prev\nok cur with prev\nok prev with cur\n"
	if want := each + each + "ok two networks\nok nothing left\n"; string(out) != want {
		t.Errorf("it said\n%swant\n%s", out, want)
	}
	t.Logf("against %.7s: built in %v, ran for %v\n%s", prev, built.Round(time.Second), time.Since(began).Round(time.Second)-built.Round(time.Second), out)
}

// moved copies a file with other paths in it.
func moved(from, to, path, other string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if path != "" {
		b = bytes.ReplaceAll(b, []byte(path), []byte(other))
	}
	return os.WriteFile(to, b, 0o600)
}
