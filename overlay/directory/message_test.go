// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/identity"
)

// blobs returns n blobs of a size.
func blobs(n, size int) (list [][]byte) {
	for i := range n {
		list = append(list, bytes.Repeat([]byte{byte(i + 1)}, size))
	}
	return list
}

// golden holds a message of each type with its bytes: x×n is n bytes of x.
func golden() []struct {
	m    Message
	want string
} {
	key := Key(bytes.Repeat([]byte{0xab}, 32))
	return []struct {
		m    Message
		want string
	}{
		{StoreMessage{Records: blobs(1, identity.RecordSize)}, "010001 01×1006"},
		{StoreMessage{Replica: true, Records: blobs(3, identity.RecordSize)}, "010103 01×1006 02×1006 03×1006"},
		{StoredMessage{Lines: []StoredLine{{Stored, 0x0102030405060708}, {Busy, 0}}}, "0202 010102030405060708 070000000000000000"},
		{KnockMessage{Knock: blobs(1, identity.KnockSize)[0]}, "03 01×702"},
		{FetchMessage{Key: key}, "04 ab×32"},
		{RecordsMessage{Parts: 1}, "05000100"},
		{RecordsMessage{1, 2, blobs(2, identity.RecordSize)}, "05010202 01×1006 02×1006"},
		{StoreMessage{Replica: true, Records: blobs(1, identity.PrekeysSize)}, "0801 01×3456"},
		{RecordsMessage{4, 5, blobs(1, identity.PrekeysSize)}, "090405 01×3456"},
		{CollectMessage{Key: key, Slot: 4, Proof: blobs(1, identity.OwnerProofSize)[0]}, "06 ab×32 04 01×72"},
		{KnocksMessage{7, 8, blobs(4, identity.KnockSize)}, "07070804 01×702 02×702 03×702 04×702"},
	}
}

func expand(t testing.TB, s string) (out []byte) {
	t.Helper()
	for _, word := range strings.Fields(s) {
		n := 1
		if code, times, ok := strings.Cut(word, "×"); ok {
			word = code
			if _, err := fmt.Sscan(times, &n); err != nil {
				t.Fatal(err)
			}
		}
		b, err := hex.DecodeString(word)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

func TestGoldenMessages(t *testing.T) {
	for _, c := range golden() {
		b, want := c.m.Append(nil), expand(t, c.want)
		if !bytes.Equal(b, want) {
			t.Errorf("%T is\n%x, want\n%x", c.m, b, want)
		}
		if len(b) > MaxBody {
			t.Errorf("%T has %d bytes", c.m, len(b))
		}
		if got, err := Parse(want); err != nil || !reflect.DeepEqual(got, c.m) {
			t.Errorf("%T became %+v, %v", c.m, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for what, s := range map[string]string{
		"nothing":              "",
		"unknown type":         "08",
		"store of nothing":     "010000",
		"store of four":        "010004 01×4024",
		"store, flag":          "010201 01×1006",
		"store, short":         "010001 01×1005",
		"store, trailing":      "010001 01×1007",
		"stored nothing":       "0200",
		"stored four":          "0204 01×36",
		"stored, outcome 0":    "0201 000000000000000000",
		"stored, outcome 8":    "0201 080000000000000000",
		"knock, short":         "03 01×701",
		"fetch, short":         "04 ab×31",
		"fetch, trailing":      "04 ab×33",
		"records, part 1 of 1": "05010100",
		"records, no parts":    "05000000",
		"records, 9 parts":     "05000900",
		"records, four":        "05000104 01×4024",
		"collect, slot 5":      "06 ab×32 05 01×72",
		"collect, short":       "06 ab×32 04 01×71",
		"knocks, five":         "07000105 01×3510",
		"knocks, part 2 of 1":  "07020100",
		"oversized":            "05000103 01×3600",
	} {
		if m, err := Parse(expand(t, s)); !errors.Is(err, ErrMessage) || m != nil {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
	for _, c := range golden() {
		b := c.m.Append(nil)
		for i := range b {
			if m, err := Parse(b[:i]); err == nil {
				t.Fatalf("first %d bytes of %T: %+v", i, c.m, m)
			}
		}
	}
}

func TestSplit(t *testing.T) {
	for n, want := range []string{"[0]", "[1]", "[2]", "[3]", "[3 1]", "[3 2]", "[3 3]", "[3 3 1]"} {
		var sizes []int
		for _, p := range split(blobs(n, 1), 3) {
			sizes = append(sizes, len(p))
		}
		if fmt.Sprint(sizes) != want {
			t.Errorf("%d: %v, want %s", n, sizes, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range golden() {
		f.Add(c.m.Append(nil))
	}
	f.Add([]byte{typeStore, 0, 4})
	f.Add([]byte{typeKnocks, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// FuzzReceive feeds messages from outside to all machines.
func FuzzReceive(f *testing.F) {
	for _, c := range golden() {
		f.Add(c.m.Append(nil))
	}
	d := newDevice(f)
	b := record(f, d, 0, 1)
	f.Add(StoreMessage{Records: [][]byte{b, makeInbox(f, d)}}.Append(nil))
	f.Add(RecordsMessage{0, 1, [][]byte{b}}.Append(nil))
	f.Add(FetchMessage{keyOf(f, b)}.Append(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := NewStore(node(1), newRand(1))
		s.SetNeighbours(now, neighbours(2, 3))
		from := prefixOf("198.51.100.1")
		s.Put(now, b, from)
		answers, err := s.Receive(now, body, from)
		if err != nil && !errors.Is(err, ErrMessage) {
			t.Fatal(err)
		}
		for _, a := range answers {
			if _, err := Parse(a); err != nil {
				t.Fatalf("own answer %x: %v", a, err)
			}
		}
		handed(s, now.Add(round))
		if len(s.Get(now, keyOf(t, b))) == 0 {
			t.Fatal("a message removed a record")
		}
		l, err := NewLookup(now, d.ID(), d.Reach())
		if err != nil {
			t.Fatal(err)
		}
		l.Answer(now, 1, node(1), body)
		p, err := NewPublisher(d, 0, newRand(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.SetReach(now, []Reach{{Secret: d.Reach()}}, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := p.SetLocation(now, location(1)); err != nil {
			t.Fatal(err)
		}
		p.Advance(p.Deadline())
		p.Answer(now, 1, node(1), body)
		c := NewCollector(now, d, 0, newRand(1))
		c.Advance(c.Deadline())
		c.Answer(now, 1, node(1), body)
	})
}
