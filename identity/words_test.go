// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestWordList(t *testing.T) {
	list := strings.Fields(wordList)
	if len(list) != wordCount || !slices.IsSorted(list) {
		t.Fatalf("%d words", len(list))
	}
	seen := make(map[string]bool)
	for _, w := range list {
		start := w[:min(4, len(w))]
		if seen[start] || len(w) < 3 || len(w) > 8 || strings.ToLower(w) != w {
			t.Errorf("word %q", w)
		}
		seen[start] = true
	}
	// The published file, byte for byte.
	const want = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
	if sum := sha256.Sum256([]byte(wordList)); hex.EncodeToString(sum[:]) != want {
		t.Errorf("SHA-256 %x", sum)
	}
}

func TestSafetyWords(t *testing.T) {
	var all [32]byte
	for i := range all {
		all[i] = 0xff
	}
	for _, c := range []struct {
		digest [32]byte
		want   string
	}{
		{[32]byte{}, "[abandon abandon abandon abandon]"},
		{all, "[zoo zoo zoo zoo]"},
		{[32]byte{0, 0x20, 0x08, 0x01, 0x80, 0x40}, "[ability able about above]"},
		{[32]byte{5: 0x1f, 6: 0xff}, "[abandon abandon abandon ability]"}, // bits 40 to 43 are the last
	} {
		if got := fmt.Sprint(SafetyWords(c.digest)); got != c.want {
			t.Errorf("%x: %s, want %s", c.digest[:6], got, c.want)
		}
	}
	a, b := SafetyWords([32]byte{5: 0x10}), SafetyWords([32]byte{5: 0x20})
	if slices.Equal(a, b) {
		t.Error("44 bits do not all count")
	}
}
