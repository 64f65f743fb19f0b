// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"math/rand/v2"
	"testing"
)

func randomWord(rng *rand.Rand) [rsWord]byte {
	var w [rsWord]byte
	for i := range rsData {
		w[i] = byte(rng.IntN(32))
	}
	sum := rsSum(w[:rsData])
	copy(w[rsData:], sum[:])
	return w
}

// Every wrong symbol at every place is located and put right.
func TestReedSolomonSingle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		w := randomWord(rng)
		if v, _, _ := rsCheckWord(w[:]); v != rsGood {
			t.Fatalf("word %v is judged %d", w, v)
		}
		for i := range w {
			for e := byte(1); e < 32; e++ {
				bad := w
				bad[i] ^= e
				if v, at, want := rsCheckWord(bad[:]); v != rsOne || at != i || want != w[i] {
					t.Fatalf("error %d at %d: verdict %d, %d at %d; right is %d", e, i, v, want, at, w[i])
				}
			}
		}
	}
}

// All pairs of errors are detected as more than one. The code is linear, so
// the pairs over the zero word stand for those over any word.
func TestReedSolomonDouble(t *testing.T) {
	var w [rsWord]byte
	for i := range w {
		for j := i + 1; j < rsWord; j++ {
			for e := byte(1); e < 32; e++ {
				for f := byte(1); f < 32; f++ {
					w[i], w[j] = e, f
					if v, at, _ := rsCheckWord(w[:]); v != rsMany {
						t.Fatalf("errors %d at %d and %d at %d: verdict %d (at %d)", e, i, f, j, v, at)
					}
				}
			}
			w[i], w[j] = 0, 0
		}
	}
}
