// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// content returns bytes that no two places have alike.
func content(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{7})
	rng.Read(b)
	return b
}

func treeOf(t testing.TB, b []byte) *Tree {
	t.Helper()
	tree, err := hashFile(context.Background(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTree(t *testing.T) {
	for _, c := range []struct {
		size, chunks, pages int
		root                string
	}{
		{0, 0, 0, "71bd30ed"},
		{1, 1, 1, "f22792d8"},
		{ChunkSize, 1, 1, "53864616"},
		{ChunkSize + 1, 2, 1, "b2cb8d9b"},
		{pageChunks * 8, 1, 1, "dac0b97f"},
	} {
		b := content(c.size)
		tree := treeOf(t, b)
		if len(tree.Chunks) != c.chunks || len(tree.pages()) != c.pages || tree.Size != int64(c.size) || tree.SHA256 != sha256.Sum256(b) {
			t.Errorf("%d bytes: %d chunks, %d pages", c.size, len(tree.Chunks), len(tree.pages()))
		}
		root := tree.Root()
		if got := hex.EncodeToString(root[:4]); got != c.root {
			t.Errorf("%d bytes: root %s, want %s", c.size, got, c.root)
		}
		for i, h := range tree.Chunks {
			if h != sha256.Sum256(b[i*ChunkSize:i*ChunkSize+chunkLen(tree.Size, i)]) {
				t.Errorf("%d bytes: chunk %d", c.size, i)
			}
		}
	}
}

// Each byte, and the length, is under the root.
func TestRootBindsAll(t *testing.T) {
	b := content(3 * ChunkSize / 2)
	want := treeOf(t, b).Root()
	for _, at := range []int{0, ChunkSize - 1, ChunkSize, len(b) - 1} {
		b[at] ^= 1
		if treeOf(t, b).Root() == want {
			t.Errorf("byte %d is not bound", at)
		}
		b[at] ^= 1
	}
	tree := treeOf(t, b)
	tree.Size++
	if tree.Root() == want {
		t.Error("the length is not bound")
	}
	// Two pages: a list longer than what one message holds.
	big := &Tree{Size: (pageChunks + 1) * ChunkSize, Chunks: make([]Hash, pageChunks+1)}
	root := big.Root()
	big.Chunks[pageChunks][5]++
	if big.Root() == root {
		t.Error("the second page is not bound")
	}
}

func TestCleanName(t *testing.T) {
	long := string(bytes.Repeat([]byte("ä"), 200))
	for in, want := range map[string]string{
		"photo.jpg":             "photo.jpg",
		"My Holiday (1).tar.gz": "My Holiday (1).tar.gz",
		"../../etc/passwd":      "passwd",
		"C:\\Windows\\evil.exe": "evil.exe",
		"a/b\\c/":               "file",
		"..":                    "file",
		"":                      "file",
		".bashrc":               "bashrc",
		"...":                   "file",
		"name. . .":             "name",
		"a\x00b\nc\x1b[2Jd.txt": "abc[2Jd.txt",
		"\u202egpj.exe":         "gpj.exe",
		"what?*<>|\":.txt":      "what_______.txt",
		"CON":                   "_CON",
		"nul.txt":               "_nul.txt",
		"com1.log":              "_com1.log",
		"LPT9":                  "_LPT9",
		"computer":              "computer",
		"com10":                 "com10",
		"bad\xff\xfeutf8":       "badutf8",
		"tab\there":             "tabhere",
		"no\u00a0break":         "no break",
		long + ".jpeg":          long[:194] + ".jpeg",
		"x." + long:             ("x." + long)[:200],
	} {
		got := CleanName(in)
		if got != want {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
		if again := CleanName(got); again != got {
			t.Errorf("%q is cleaned once more to %q", got, again)
		}
	}
}

func TestNumbered(t *testing.T) {
	for in, want := range map[string]string{
		"a.txt": "a (2).txt", "a": "a (2)", "a.tar.gz": "a.tar (2).gz", "a (2).txt": "a (2) (2).txt",
	} {
		if got := numbered(in, 2); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		if numbered(in, 1) != in {
			t.Errorf("%q has a number", in)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"a.txt", "../x", "CON.", "\u202e", ". .", "com¹.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := CleanName(s)
		if n == "" || n == "." || n == ".." || len(n) > maxName+1 || bytes.ContainsAny([]byte(n), "/\\\x00\n<>:\"|?*") || n[0] == '.' {
			t.Errorf("%q became %q", s, n)
		}
	})
}
