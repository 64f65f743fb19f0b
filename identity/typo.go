// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import "fmt"

// TypoError says where an ID was mistyped. Positions count the runes of the
// user's text from 1, separators included.
type TypoError struct {
	Pos  int  // the wrong character, or 0 when it can't be located
	Got  rune // what stands at Pos
	Want rune // what should stand there, or 0 when that can't be known

	From, To int // when Pos is 0: the range that holds two or more errors

	Next *TypoError // the error in the second half, when both halves have one
}

// Error names the position and the right character, or the range to look at.
func (e *TypoError) Error() string {
	s := "identity: mistyped ID: " + e.what()
	if e.Next != nil {
		s += "; " + e.Next.what()
	}
	return s
}

func (e *TypoError) what() string {
	switch {
	case e.Pos == 0:
		return fmt.Sprintf("two or more errors in characters %d to %d", e.From, e.To)
	case e.Want == 0:
		return fmt.Sprintf("character %d is %q, which no ID contains", e.Pos, e.Got)
	}
	return fmt.Sprintf("character %d is %q, should be %q", e.Pos, e.Got, e.Want)
}

// checkHalf judges the rsWord symbols of one half; nil means good.
func checkHalf(syms []symbol) *TypoError {
	var word [rsWord]byte
	stranger := -1 // index of the first foreign character
	strangers := 0
	for i, s := range syms {
		if s.val != foreign {
			word[i] = s.val // a foreign character counts as 0 until corrected
			continue
		}
		if strangers++; stranger < 0 {
			stranger = i
		}
	}
	v, at, want := rsCheckWord(word[:])
	if strangers > 0 {
		e := &TypoError{Pos: syms[stranger].rune, Got: syms[stranger].got}
		switch {
		case strangers > 1:
		case v == rsGood:
			e.Want = rune(alphabet[0])
		case v == rsOne && at == stranger:
			e.Want = rune(alphabet[want])
		}
		return e
	}
	switch v {
	case rsOne:
		return &TypoError{Pos: syms[at].rune, Got: syms[at].got, Want: rune(alphabet[want])}
	case rsMany:
		return &TypoError{From: syms[0].rune, To: syms[rsWord-1].rune}
	}
	return nil
}
