// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

// A half of an ID is a word of a shortened Reed–Solomon code over GF(32): 26
// data symbols, highest power first, then three check symbols. Its generator
// is (x−α)(x−α²)(x−α³) with α = 2 in GF(2)[x]/(x⁵+x²+1). Three check symbols
// give distance 4: one wrong symbol is located and corrected, two are always
// detected, never mistaken for one.
const (
	rsData  = 26
	rsCheck = 3
	rsWord  = rsData + rsCheck // ≤ 31, the length of the full code
)

// gfMul multiplies in GF(32).
func gfMul(a, b byte) byte {
	var p byte
	for ; b > 0; b >>= 1 {
		if b&1 != 0 {
			p ^= a
		}
		a <<= 1
		if a&0x20 != 0 {
			a ^= 0x25
		}
	}
	return p
}

// gfExp returns α to the power n.
func gfExp(n int) byte {
	p := byte(1)
	for range n {
		p = gfMul(p, 2)
	}
	return p
}

// rsSum returns the three check symbols for data.
func rsSum(data []byte) [rsCheck]byte {
	a1, a2, a3 := gfExp(1), gfExp(2), gfExp(3)
	g2 := a1 ^ a2 ^ a3
	g1 := gfMul(a1, a2) ^ gfMul(a1, a3) ^ gfMul(a2, a3)
	g0 := gfMul(gfMul(a1, a2), a3)
	var r [rsCheck]byte // remainder of data·x³ divided by the generator
	for _, d := range data {
		f := d ^ r[0]
		r[0] = r[1] ^ gfMul(f, g2)
		r[1] = r[2] ^ gfMul(f, g1)
		r[2] = gfMul(f, g0)
	}
	return r
}

// verdict is what the check symbols say about a word.
type verdict uint8

const (
	rsGood verdict = iota
	rsOne          // one wrong symbol, located
	rsMany         // two or more
)

// rsCheckWord judges a word of rsWord symbols. For rsOne it returns the index
// of the wrong symbol and its right value.
func rsCheckWord(word []byte) (v verdict, at int, want byte) {
	var s [rsCheck]byte // syndromes: the word as a polynomial at α, α², α³
	for j := range s {
		x := gfExp(j + 1)
		for _, c := range word {
			s[j] = gfMul(s[j], x) ^ c
		}
	}
	if s == [rsCheck]byte{} {
		return rsGood, 0, 0
	}
	// An error e at power d makes the syndromes e·α^d, e·α^2d, e·α^3d.
	for d := range rsWord {
		x := gfExp(d)
		if s[0] != 0 && gfMul(s[0], x) == s[1] && gfMul(s[1], x) == s[2] {
			at = rsWord - 1 - d
			// 1/x = α^(31−d), since α has order 31.
			return rsOne, at, word[at] ^ gfMul(s[0], gfExp(31-d))
		}
	}
	return rsMany, 0, 0
}
