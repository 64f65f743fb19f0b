// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

var stateKey = [32]byte{1, 2, 3}

func someState() state {
	return state{port: 4711, memories: []byte{1, 0, 0}, known: []overlay.Target{
		{ID: identity.ID{1}, Secret: identity.Secret{2}}, {ID: identity.ID{3}, Secret: identity.Secret{4}},
	}}
}

func sameState(a, b state) bool {
	return a.port == b.port && bytes.Equal(a.memories, b.memories) &&
		slices.EqualFunc(a.known, b.known, func(x, y overlay.Target) bool { return x.ID == y.ID && x.Secret == y.Secret })
}

func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	if s, err := loadState(dir, stateKey); err != nil || !sameState(s, state{}) {
		t.Fatalf("without a file: %v, %v", s, err)
	}
	want := someState()
	for range 2 { // written and replaced
		if err := saveState(dir, stateKey, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := loadState(dir, stateKey)
	if err != nil || !sameState(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	path := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
	if bytes.Contains(b, want.known[0].Secret[:]) {
		t.Error("a secret stands in the clear")
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A state file that can't be used is kept aside, said once, and the start goes on.
func TestDamagedStateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	if err := saveState(dir, stateKey, someState()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	newer := bytes.Clone(good)
	newer[len(stateMagic)] = 9
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:20], "flipped": flipped, "newer": newer, "text": []byte("hello"), "huge": make([]byte, maxState+9),
	} {
		os.Remove(path + ".bad")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadState(dir, stateKey)
		if err == nil || !strings.Contains(err.Error(), "state.bad") || !sameState(s, state{}) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if kept, err := os.ReadFile(path + ".bad"); err != nil || !bytes.Equal(kept, b) {
			t.Errorf("%s: not kept aside: %v", name, err)
		}
		if _, err := loadState(dir, stateKey); err != nil {
			t.Errorf("%s: said twice: %v", name, err)
		}
	}
}

// The key store of another installation does not open it.
func TestStateOfAnotherInstallation(t *testing.T) {
	dir := t.TempDir()
	if err := saveState(dir, stateKey, someState()); err != nil {
		t.Fatal(err)
	}
	if _, err := loadState(dir, [32]byte{9}); err == nil {
		t.Error("opened")
	}
}

func FuzzState(f *testing.F) {
	s := someState()
	f.Add(s.append(nil))
	f.Add([]byte{3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(s.append(nil))
		if err != nil || !sameState(s, again) {
			t.Errorf("%v became %v, %v", s, again, err)
		}
	})
}
