// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	_ "embed"
	"strings"
)

// wordList is the English list of BIP-39, under the MIT licence (see NOTICE):
// 2,048 short words that differ in their first four letters, chosen so that no
// two are easily taken for each other.
//
//go:embed words.txt
var wordList string

const (
	// SafetyWordCount words are read aloud in some five seconds.
	SafetyWordCount = 4
	wordBits        = 11
	wordCount       = 1 << wordBits
)

// SafetyWords turns a digest that two people share into words that they can
// compare by voice, out of its first 44 bits: whoever stands between them has
// one chance in 1.8·10^13 that the words are equal, and can't try offline if
// the protocol has both sides commit before anything is shown.
func SafetyWords(digest [32]byte) []string {
	list := strings.Fields(wordList)
	words := make([]string, SafetyWordCount)
	var bits, have uint
	next := digest[:]
	for i := range words {
		for have < wordBits {
			bits, have, next = bits<<8|uint(next[0]), have+8, next[1:]
		}
		have -= wordBits
		words[i] = list[bits>>have&(wordCount-1)]
	}
	return words
}
