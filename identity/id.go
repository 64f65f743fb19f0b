// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrNotID reports a text that is no ID at all: wrong length, foreign
// characters, or an ID of a version this program does not know.
var ErrNotID = errors.New("identity: not an ID")

const (
	idLen     = 2 * rsWord // characters of an ID's text
	idVersion = 0          // the four bits in front of the key
	shortLen  = 8          // characters of Short: 36 bits, enough to tell people apart in a log

	// maxIDText bounds what ParseID looks at: the ID with a separator behind
	// each character in the longest encoding, and room to spare.
	maxIDText = 512

	// maxForeign is how many characters outside the alphabet still count as
	// typing errors. A text with more was never an ID.
	maxForeign = 2
)

// ID is a person: the Ed25519 public key of a long-lived identity. It is
// comparable; the zero ID is nobody.
type ID [32]byte

// String returns the ID's text: 58 characters that ParseID reads. Of them six
// are check characters, so that a mistyped ID is found and the error located.
func (id ID) String() string {
	// 4 bits of version and 256 of key are 52 symbols; halves of 26.
	var syms [2 * rsData]byte
	acc, bits, n := uint(idVersion), 4, 0
	for _, c := range id {
		acc, bits = acc<<8|uint(c), bits+8
		for bits >= 5 {
			bits -= 5
			syms[n] = byte(acc >> bits & 31)
			n++
		}
	}
	var t strings.Builder
	t.Grow(idLen)
	for half := range 2 {
		data := syms[half*rsData:][:rsData]
		for _, v := range data {
			t.WriteByte(alphabet[v])
		}
		for _, v := range rsSum(data) {
			t.WriteByte(alphabet[v])
		}
	}
	return t.String()
}

// Short returns the first 8 characters of the text, for logs and screens.
func (id ID) Short() string { return id.String()[:shortLen] }

// IsZero tells whether id is the zero ID, which stands for nobody.
func (id ID) IsZero() bool { return id == ID{} }

// Key returns the identity's public key.
func (id ID) Key() ed25519.PublicKey { return ed25519.PublicKey(id[:]) }

// LogValue makes logs show the short form.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

// MarshalText returns the text form; the zero ID becomes the empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText wrote. Errors are those of ParseID.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// ParseID reads an ID as a person may have typed it: case, white space and
// dashes are ignored, o reads as 0, i and l as 1. A text that is no ID gives
// an error that is ErrNotID; a mistyped one a *TypoError.
func ParseID(s string) (ID, error) {
	if len(s) > maxIDText {
		return ID{}, fmt.Errorf("%w: %d bytes long", ErrNotID, len(s))
	}
	if IsTicket(s) {
		return ID{}, fmt.Errorf("%w: it is a ticket", ErrNotID)
	}
	syms, foreigners := scan(s, 0)
	if foreigners > maxForeign {
		return ID{}, fmt.Errorf("%w: %d characters that no ID contains", ErrNotID, foreigners)
	}
	if len(syms) != idLen {
		return ID{}, lengthError(syms)
	}
	first, second := checkHalf(syms[:rsWord]), checkHalf(syms[rsWord:])
	if first != nil {
		first.Next = second
		return ID{}, first
	}
	if second != nil {
		return ID{}, second
	}

	var id ID
	acc, bits, n := uint(0), -4, 0 // the version's four bits don't count
	for i, s := range syms {
		if i%rsWord >= rsData {
			continue
		}
		acc, bits = acc<<5|uint(s.val), bits+5
		if i == 0 {
			if v := s.val >> 1; v != idVersion {
				return ID{}, fmt.Errorf("%w: version %d, this program knows version %d", ErrNotID, v, idVersion)
			}
		}
		if bits >= 8 {
			bits -= 8
			id[n] = byte(acc >> bits)
			n++
		}
	}
	if id.IsZero() {
		return ID{}, fmt.Errorf("%w: the zero ID is nobody", ErrNotID)
	}
	return id, nil
}

// lengthError says how a text of the wrong length differs from an ID. Near
// misses name the half that has to be looked at: the other one checks.
func lengthError(syms []symbol) error {
	n := len(syms)
	where := ""
	if n == idLen-1 || n == idLen+1 {
		what := "a character is missing"
		if n > idLen {
			what = "there is a character too many"
		}
		headOK := checkHalf(syms[:rsWord]) == nil
		tailOK := checkHalf(syms[n-rsWord:]) == nil
		switch {
		case headOK && !tailOK:
			where = fmt.Sprintf("; %s after character %d", what, syms[rsWord-1].rune)
		case tailOK && !headOK:
			where = fmt.Sprintf("; %s before character %d", what, syms[n-rsWord].rune)
		}
	}
	unit := "characters"
	if n == 1 {
		unit = "character"
	}
	return fmt.Errorf("%w: %d %s, an ID has %d%s", ErrNotID, n, unit, idLen, where)
}
