// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/internal/tools/house"
)

// licences says under what each folder stands; "." is the rest. Examples may
// be pasted into any program.
var licences = map[string]string{
	".":        "AGPL-3.0-only OR LicenseRef-P2POS-Commercial",
	"examples": "0BSD",
}

func licenceOf(p string) string {
	if strings.HasPrefix(p, "examples/") {
		return licences["examples"]
	}
	return licences["."]
}

// globalsAllowed excuses package variables that can change, "folder.Name",
// with the reason.
var globalsAllowed = map[string]string{}

// programs are folders of package main, which nobody imports.
var programs = []string{"examples", "scripts", "internal/tools/licences"}

// laboratories are folders of which no embedder's program contains anything.
var laboratories = []string{"examples", "scripts", "internal/tools"}

func TestHeaders(t *testing.T) { report(t, own(t).Headers(licences)) }
func TestSizes(t *testing.T)   { report(t, own(t).Sizes()) }
func TestSleeps(t *testing.T)  { report(t, own(t).Sleeps()) }
func TestInits(t *testing.T)   { report(t, own(t).Inits(programs...)) }
func TestGlobals(t *testing.T) { report(t, own(t).Globals(globalsAllowed, programs...)) }

// TestSorts leaves out the mesh, which sorts arrays on its stack, often.
func TestSorts(t *testing.T) {
	report(t, own(t).Sorts(append(laboratories[:len(laboratories):len(laboratories)], "overlay/mesh")...))
}

// TestDocs holds for what others can import.
func TestDocs(t *testing.T) { report(t, own(t).Docs("examples", "scripts", "internal")) }

func TestHouseFindsPlanted(t *testing.T) {
	for _, c := range []struct {
		path, src string
		check     func(*house.Tree) []house.Finding
	}{
		{"nat/a.go", "package nat\n\nvar Tunable = 5\n", func(x *house.Tree) []house.Finding { return x.Globals(globalsAllowed, programs...) }},
		{"nat/a.go", "package nat\n\nfunc init() {}\n", func(x *house.Tree) []house.Finding { return x.Inits(programs...) }},
		{"nat/a_test.go", "package nat\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", (*house.Tree).Sleeps},
		{"nat/a.go", "package nat\n\nimport \"slices\"\n\nfunc f(l []int) { slices.SortStableFunc(l, nil) }\n", func(x *house.Tree) []house.Finding { return x.Sorts(laboratories...) }},
		{"nat/a.go", "package nat\n" + strings.Repeat("\n", house.MaxLines), (*house.Tree).Sizes},
		{"nat/a.go", "package nat\n", func(x *house.Tree) []house.Finding { return x.Docs("examples", "scripts", "internal") }},
		{"examples/a/main.go", "package main\n", func(x *house.Tree) []house.Finding { return x.Headers(map[string]string{".": licences["."]}) }},
	} {
		plant(t, c.path, c.src, c.check)
	}
}

// TestLicenceText holds LICENSE to the text the Free Software Foundation
// publishes, byte for byte.
func TestLicenceText(t *testing.T) {
	const agpl3 = "0d96a4ff68ad6d4b6f1f30f713b18d5184912ba8dd389f86aa7710db079abcb0"
	text, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != agpl3 {
		t.Errorf("LICENSE has SHA-256 %x, want %s", sum, agpl3)
	}
}
