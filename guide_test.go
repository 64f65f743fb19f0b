// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guideImports are the packages that a block without import lines may use.
var guideImports = []string{
	"context", "errors", "fmt", "io", "log/slog", "net/http", "os", "time",
	"github.com/p2pos/p2pos", "github.com/p2pos/p2pos/identity", "github.com/p2pos/p2pos/media",
}

// program makes a file of a block: a whole one, declarations, or statements in
// a function that has a node.
func program(block string) string {
	if strings.HasPrefix(block, "package ") {
		return block
	}
	if !regexp.MustCompile(`(?m)^(func|type|var|const) `).MatchString(block) {
		node := "node *p2pos.Node"
		if strings.Contains(block, "node, err :=") {
			node = "_ *p2pos.Node"
		}
		block = "func statements(ctx context.Context, " + node + ") error {\n" + block + "\nreturn nil\n}\n"
	}
	var head strings.Builder
	head.WriteString("package guide\n\nimport (\n")
	for _, path := range guideImports {
		name := path[strings.LastIndex(path, "/")+1:]
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(block) {
			fmt.Fprintf(&head, "%q\n", path)
		}
	}
	return head.String() + ")\n\n" + block
}

func goBlocks(page []byte) [][][]byte {
	return regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(page, -1)
}

// The README's first program rings within fifteen lines.
func TestReadmeFirstRing(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlocks(readme)
	if len(blocks) == 0 {
		t.Fatal("no program in the README")
	}
	_, body, ok := strings.Cut(string(blocks[0][1]), "func main() {\n")
	before, _, rings := strings.Cut(body, "node.Call(")
	if lines := strings.Count(before, "\n") + 1; !ok || !rings || lines > 15 {
		t.Errorf("%d lines until it rings", lines)
	}
}

// Each block of Go in the guide and the README compiles, against this checkout.
func TestGuideCompiles(t *testing.T) {
	page, err := os.ReadFile("docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlocks(page)
	if len(blocks) < 6 {
		t.Fatalf("%d blocks of Go in docs/embedding.md", len(blocks))
	}
	blocks = append(blocks, goBlocks(readme)...)
	temp := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	args := []string{"build", "-o", os.DevNull, "-overlay", filepath.Join(temp, "overlay.json")}
	for i, b := range blocks {
		file := filepath.Join(temp, fmt.Sprintf("block%d.go", i+1))
		if err := os.WriteFile(file, []byte(program(string(b[1]))), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := fmt.Sprintf("internal/guide/block%d", i+1) // exists in the overlay alone
		overlay.Replace[filepath.Join(here, dir, "block.go")] = file
		args = append(args, "./"+dir)
	}
	list, err := json.Marshal(overlay)
	if err == nil {
		err = os.WriteFile(filepath.Join(temp, "overlay.json"), list, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the build before the tests, whose results are there
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Every error that is promised has its row in the guide.
func TestGuideHasErrors(t *testing.T) {
	page, err := os.ReadFile("docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	api, err := os.ReadFile("api.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^pkg (p2pos|p2pos/identity|p2pos/media), var (Err\w+) error$`).FindAllSubmatch(api, -1) {
		name := string(m[2])
		if pkg := strings.TrimPrefix(string(m[1]), "p2pos/"); pkg != "p2pos" {
			name = pkg + "." + name
		}
		found++
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/embedding.md does not say what to do about %s", name)
		}
	}
	if found < 20 {
		t.Errorf("%d errors in api.txt", found)
	}
}
