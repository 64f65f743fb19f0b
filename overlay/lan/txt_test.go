// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"slices"
	"strings"
	"testing"
)

func TestTXT(t *testing.T) {
	want := facts{version, [4]byte{0xde, 0xad, 0, 1}}
	if got := want.txt(); !slices.Equal(got, []string{"v=1", "net=dead0001"}) {
		t.Errorf("written as %q", got)
	}
	for _, c := range []struct {
		why  string
		list []string
		ok   bool
	}{
		{"as written", want.txt(), true},
		{"keys without regard to case", []string{"V=1", "Net=DEAD0001"}, true},
		{"unknown ones in between", []string{"x=y", "v=1", "=bad", "flag", "", "net=dead0001", "later=\x00"}, true},
		{"the first of a kind counts", []string{"v=1", "v=2", "net=dead0001", "net=00000000"}, true},
		{"a flag is no value", []string{"v", "v=1", "net=dead0001"}, true},
		{"no version", []string{"net=dead0001"}, false},
		{"no network", []string{"v=1"}, false},
		{"short network", []string{"v=1", "net=dead00"}, false},
		{"long network", []string{"v=1", "net=dead000100"}, false},
		{"not hexadecimal", []string{"v=1", "net=dead000g"}, false},
		{"nothing", nil, false},
	} {
		got, ok := readTXT(c.list)
		if ok != c.ok || ok && got != want {
			t.Errorf("%s: %q is %v %v", c.why, c.list, got, ok)
		}
	}
}

func FuzzTXT(f *testing.F) {
	f.Add("v=1\nnet=dead0001")
	f.Add("V=1\nv=2\nNET=00000000\nx")
	f.Add("=\n\nv\nnet=")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := readTXT(strings.Split(s, "\n"))
		if !ok {
			return
		}
		if again, ok := readTXT(got.txt()); !ok || again != got {
			t.Errorf("%q became %v, and written again %v", s, got, again)
		}
	})
}
