// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"strings"
	"unicode"
)

// alphabet is Crockford's base32 in lower case. It has no i, l, o and u, so
// that a text read aloud or from paper is not misheard or misread.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// foreign marks a rune outside the alphabet.
const foreign = 0xff

// symbol is one character of a text: its five-bit value, the rune the user
// wrote and its place (1-based, in runes) in the user's text.
type symbol struct {
	val  byte
	got  rune
	rune int
}

// symbolOf returns the five-bit value of r, or foreign. Case is ignored; o
// reads as 0, i and l as 1.
func symbolOf(r rune) byte {
	switch r {
	case 'o', 'O':
		return 0
	case 'i', 'I', 'l', 'L':
		return 1
	}
	if r >= 'A' && r <= 'Z' {
		r += 'a' - 'A'
	}
	if i := strings.IndexRune(alphabet, r); i >= 0 {
		return byte(i)
	}
	return foreign
}

// skipped tells whether r only groups characters: white space, and dashes in
// the forms that word processors make of '-'.
func skipped(r rune) bool {
	return r == '-' || r >= 0x2010 && r <= 0x2015 || r == 0x2212 || unicode.IsSpace(r)
}

// scan splits s into symbols. Positions count from 1+skip, for a text whose
// first skip runes were cut off before. The caller bounds len(s).
func scan(s string, skip int) (syms []symbol, foreigners int) {
	pos := skip
	for _, r := range s {
		pos++
		if skipped(r) {
			continue
		}
		v := symbolOf(r)
		if v == foreign {
			foreigners++
		}
		syms = append(syms, symbol{val: v, got: r, rune: pos})
	}
	return syms, foreigners
}

// encode32 returns b in base32, the last symbol filled up with zero bits.
func encode32(b []byte) string {
	var t strings.Builder
	t.Grow((len(b)*8 + 4) / 5)
	acc, bits := uint(0), 0
	for _, c := range b {
		acc, bits = acc<<8|uint(c), bits+8
		for bits >= 5 {
			bits -= 5
			t.WriteByte(alphabet[acc>>bits&31])
		}
	}
	if bits > 0 {
		t.WriteByte(alphabet[acc<<(5-bits)&31])
	}
	return t.String()
}

// decode32 is the inverse of encode32 for symbols that hold no foreigner. It
// reports false when the last symbols are not what encode32 would have
// written, so that a value has one text only.
func decode32(syms []symbol) ([]byte, bool) {
	b := make([]byte, 0, len(syms)*5/8)
	acc, bits := uint(0), 0
	for _, s := range syms {
		acc, bits = acc<<5|uint(s.val), bits+5
		if bits >= 8 {
			bits -= 8
			b = append(b, byte(acc>>bits))
		}
	}
	return b, bits < 5 && acc&(1<<bits-1) == 0
}
