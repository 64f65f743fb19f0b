// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func randomID(rng *rand.Rand) ID {
	var id ID
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	return id
}

func TestIDRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		id := randomID(rng)
		s := id.String()
		if got, err := ParseID(s); err != nil || got != id {
			t.Fatalf("ParseID(%s) = %v, %v", s, got, err)
		}
		if len(s) != 58 || id.Short() != s[:8] {
			t.Fatalf("text %q, short %q", s, id.Short())
		}
	}
}

// What people do to a text on its way is ignored.
func TestParseIDForgiving(t *testing.T) {
	want, err := ParseID(goldenID)
	if err != nil {
		t.Fatal(err)
	}
	var grouped strings.Builder
	for i, r := range goldenID {
		if i > 0 && i%7 == 0 {
			grouped.WriteString([]string{" ", "-", " – ", "\r\n\t"}[i/7%4])
		}
		grouped.WriteRune(r)
	}
	for _, s := range []string{
		strings.ToUpper(goldenID),
		"  " + goldenID + "\n",
		grouped.String(),
		strings.ReplaceAll(goldenID, "0", "o"),
		strings.ReplaceAll(goldenID, "0", "O"),
		strings.ReplaceAll(goldenID, "1", "l"),
		strings.ReplaceAll(goldenID, "1", "I"),
	} {
		if id, err := ParseID(s); err != nil || id != want {
			t.Errorf("ParseID(%q) = %v, %v", s, id, err)
		}
	}
}

// Each wrong character in each place is named with its position and the right
// one, and putting that in makes the ID valid.
func TestParseIDEverySingleTypo(t *testing.T) {
	for i := range goldenID {
		for _, c := range alphabet {
			right := rune(goldenID[i])
			if c == right {
				continue
			}
			s := goldenID[:i] + string(c) + goldenID[i+1:]
			_, err := ParseID(s)
			var typo *TypoError
			if !errors.As(err, &typo) || *typo != (TypoError{Pos: i + 1, Got: c, Want: right}) {
				t.Fatalf("%s: %v, want %q at %d", s, err, right, i+1)
			}
			if want := fmt.Sprintf("character %d is %q, should be %q", i+1, c, right); !strings.HasSuffix(err.Error(), want) {
				t.Fatalf("message %q does not end in %q", err, want)
			}
		}
	}
}

func TestParseIDDoubleTypos(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		s := []rune(goldenID)
		i, j := rng.IntN(idLen), rng.IntN(idLen)
		if i == j {
			continue
		}
		i, j = min(i, j), max(i, j)
		for _, k := range []int{i, j} {
			v := symbolOf(s[k])
			s[k] = rune(alphabet[(int(v)+1+rng.IntN(31))%32])
		}
		_, err := ParseID(string(s))
		var typo *TypoError
		if !errors.As(err, &typo) {
			t.Fatalf("%s: %v", string(s), err)
		}
		if i/rsWord != j/rsWord { // one in each half: both are located
			if typo.Pos != i+1 || typo.Next == nil || typo.Next.Pos != j+1 {
				t.Fatalf("%s: %v, want %d and %d", string(s), err, i+1, j+1)
			}
			continue
		}
		from := i/rsWord*rsWord + 1
		if *typo != (TypoError{From: from, To: from + rsWord - 1}) {
			t.Fatalf("%s: %v, want the half from %d", string(s), err, from)
		}
	}
}

// Positions count what the user sees: separators and wide runes included.
func TestParseIDPositions(t *testing.T) {
	s := []rune(goldenID[:10] + " – " + goldenID[10:])
	s[20] = 'u' // no ID contains it
	_, err := ParseID(string(s))
	var typo *TypoError
	if !errors.As(err, &typo) || typo.Pos != 21 || typo.Got != 'u' || typo.Want != rune(goldenID[17]) {
		t.Errorf("foreign character: %v (%+v)", err, typo)
	}
	s[25] = '!' // a second error in the half: the right ones can't be known
	_, err = ParseID(string(s))
	if !errors.As(err, &typo) || typo.Pos != 21 || typo.Want != 0 {
		t.Errorf("two foreign characters: %v (%+v)", err, typo)
	}
	// A foreign character that stands for 0, and an error elsewhere: the word
	// looks as if it had that error alone, whose cure is not this one's.
	_, err = ParseID("u" + goldenID[1:5] + "z" + goldenID[6:])
	if goldenID[0] != '0' || !errors.As(err, &typo) || typo.Pos != 1 || typo.Want != 0 {
		t.Errorf("foreign character and another: %v (%+v)", err, typo)
	}
}

func TestParseIDNot(t *testing.T) {
	zero := ID{}.String()
	version1 := func() string { // a valid text of version 1
		var data [rsData]byte
		for i := range data {
			data[i] = symbolOf(rune(goldenID[i]))
		}
		data[0] |= 1 << 1
		sum := rsSum(data[:])
		var b strings.Builder
		for _, v := range append(data[:], sum[:]...) {
			b.WriteByte(alphabet[v])
		}
		return b.String() + goldenID[rsWord:]
	}()
	for _, c := range []struct{ what, s, says string }{
		{"empty", "", "0 characters"},
		{"a word", "hello", "5 characters"},
		{"a sentence of the right length", strings.Repeat("truly, u", 8)[:58], "no ID contains"},
		{"missing in the first half", goldenID[:5] + goldenID[6:], "missing before character 29"},
		{"missing in the second half", goldenID[:40] + goldenID[41:], "missing after character 29"},
		{"doubled in the first half", goldenID[:9] + goldenID[8:], "too many before character 31"},
		{"doubled in the second half", goldenID[:50] + goldenID[49:], "too many after character 29"},
		{"half", goldenID[:29], "29 characters"},
		{"very long", strings.Repeat(goldenID, 100), "5800 bytes"},
		{"a ticket", goldenTicket, "ticket"},
		{"version 1", version1, "version 1"},
		{"nobody", zero, "nobody"},
		{"not UTF-8", "\xff\xfe\xfd" + goldenID[3:], "no ID contains"},
	} {
		id, err := ParseID(c.s)
		if !errors.Is(err, ErrNotID) || !strings.Contains(fmt.Sprint(err), c.says) || !id.IsZero() {
			t.Errorf("%s: %v, want ErrNotID that says %q", c.what, err, c.says)
		}
	}
}

func TestIDText(t *testing.T) {
	type contact struct{ Who, Nobody ID }
	in := contact{Who: testDevice(t, now, "").ID()}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out contact
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%s: %+v, %v", b, out, err)
	}
	if err := out.Who.UnmarshalText([]byte("hello")); !errors.Is(err, ErrNotID) || out != in {
		t.Errorf("bad text: %v; ID now %v", err, out.Who)
	}
	if got := slog.AnyValue(in.Who).Resolve().String(); got != goldenID[:8] {
		t.Errorf("logged as %q", got)
	}
}

func TestNodeID(t *testing.T) {
	a, b := NodeID{0: 1}, NodeID{0: 1, 31: 9}
	if !a.Less(b) || b.Less(a) || a.Less(a) || a.Compare(b) != -1 || b.Compare(a) != 1 || a.Compare(a) != 0 {
		t.Error("order is wrong")
	}
	if a.Short() != "01000000" || len(a.String()) != 64 || a.IsZero() || !(NodeID{}).IsZero() {
		t.Errorf("%s, %s", a, a.Short())
	}
	if got := slog.AnyValue(a).Resolve().String(); got != a.Short() {
		t.Errorf("logged as %q", got)
	}
}

func TestBase32Canonical(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for n := range 40 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		syms, strangers := scan(encode32(b), 0)
		if got, ok := decode32(syms); !ok || strangers != 0 || !slices.Equal(got, b) {
			t.Fatalf("%x became %x, %v", b, got, ok)
		}
		if n%5 != 0 { // a padding bit that is set
			syms[len(syms)-1].val |= 1
			if _, ok := decode32(syms); ok {
				t.Fatalf("%d bytes: padding bit accepted", n)
			}
		}
		if n%5 == 0 { // a lone symbol of zero bits carries nothing
			if _, ok := decode32(append(syms, symbol{})); ok {
				t.Fatalf("%d bytes: extra symbol accepted", n)
			}
		}
	}
}
