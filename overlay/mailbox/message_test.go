// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/p2pos/p2pos/overlay/directory"
)

type message interface{ append([]byte) []byte }

func samples(t testing.TB) []message {
	q := queueOf(1, now)
	p := pieces(t, q, now, blobOf(Large, 1))[0]
	r := makeReceipts(q, []ID{{1}, {2}})[0]
	many := make([]name, maxNames)
	for i := range many {
		many[i] = name{byte(i), byte(i >> 8)}
	}
	return []message{
		putMessage{piece: p}, putMessage{replica: true, piece: p},
		takenMessage{directory.Full},
		askMessage{place: q.Place(), names: many}, askMessage{place: q.Place()},
		piecesMessage{part: 3, parts: 5, left: 700, piece: p}, piecesMessage{parts: 1, piece: []byte{}},
		dropMessage{receipt: r}, dropMessage{replica: true, receipt: r},
		haveMessage{place: q.Place(), names: many[:3]},
		wantMessage{names: many[:2], receipts: [][]byte{r, r}}, wantMessage{},
	}
}

func TestMessages(t *testing.T) {
	for _, m := range samples(t) {
		b := m.append(nil)
		if len(b) > MaxBody || !IsMessage(b) {
			t.Errorf("%T of %d bytes", m, len(b))
		}
		got, err := parse(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: %v, %v", m, got, err)
		}
		if b[0] == typeTaken || b[0] == typeAsk || b[0] == typeHave { // whose end is known
			if _, err := parse(append(bytes.Clone(b), 0)); err == nil {
				t.Errorf("%T with a byte more", m)
			}
		}
	}
	// Receipts leave room for fewer names.
	r := makeReceipts(queueOf(1, now), make([]ID, MaxReceipt))[0]
	b := wantMessage{make([]name, maxNames), [][]byte{r, r}}.append(nil)
	if m, err := parse(b); err != nil || len(b) > MaxBody || len(m.(wantMessage).names) < 100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "type": {0x28}, "flags": {typePut, 2}, "flags of a receipt": {typeDrop, 2}, "outcome": {typeTaken, 0}, "outcome 8": {typeTaken, 8},
		"part behind the end": {typePieces, 1, 1, 0, 0}, "no parts": {typePieces, 0, 0, 0, 0}, "parts": {typePieces, 0, maxParts + 1, 0, 0},
		"names": append(append([]byte{typeAsk}, make([]byte, 32)...), 0, 1), "long": make([]byte, MaxBody+1),
		"three receipts": {typeWant, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, err := parse(b); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

// The bytes of a queue, a piece and a receipt are as they were.
func TestGolden(t *testing.T) {
	q := NewQueue([32]byte{1}, 1484)
	at := time.Unix(1484*periodHours*3600, 0)
	p := pieces(t, q, at, blobOf(Small, 7))[0]
	r := makeReceipts(q, []ID{IDOf(blobOf(Small, 7))})[0]
	for what, c := range map[string]struct {
		got  []byte
		want string
	}{
		"place": {func() []byte { p := q.Place(); return p[:] }(), "5756e5ea50e127c8364a54c58f0b8a737da2402aa9decbec8817d8d4892cd8e2"},
		"head":  {p[:pieceHead], "01b7022323d300c630ed3f898e5e0dca595e69a44153614c9d64bc6543a04e9a0d00079bc0a99c07ce93703c7390589c5b007bd9a90000"},
		"signature": {p[len(p)-64:], "13fb8f268cf599b3822cb2dbd96912fd11078e23d0db626885dd9dde38028d7c" +
			"b2f54b09cb9ddb00e118bc76d7a853fe794a2ffc9f6ddbbcb54a1d07786c430a"},
		"receipt": {r, "01b7022323d300c630ed3f898e5e0dca595e69a44153614c9d64bc6543a04e9a0d01a99c07ce93703c7390589c5b007bd9a9" +
			"26157743d5afa6feab9ae68e56bbba1b924b7c6366645d04df3f0bc4e96990ff5999845e662daad087cacc96b178a8c9b5bde59e39308098bb677ea01811ac09"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is %s", what, got)
		}
	}
}

func TestQueues(t *testing.T) {
	s := secretOf(1)
	start := time.Unix(2000*periodHours*3600, 0)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{start.Add(time.Hour), "[2000 1999]"},
		{start.Add(-time.Minute), "[1999 1998 2000]"},
		{start, "[2000 1999]"},
		{time.Unix(0, 0), "[0]"},
	} {
		var got []uint64
		for _, q := range Queues(s, c.at) {
			got = append(got, q.Period())
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("at %v: %v, want %s", c.at, got, c.want)
		}
	}
	a, b := queueOf(1, now), queueOf(1, now)
	if a.Place() != b.Place() || a.Place() == queueOf(2, now).Place() || a.Place() == NewQueue(s, Period(now)+1).Place() {
		t.Error("places")
	}
	if s := fmt.Sprintf("%v %x %#v %s", a, a, a, a); bytes.Contains([]byte(s), []byte(hex.EncodeToString(a.key[:4]))) {
		t.Errorf("printed its key: %s", s)
	}
	if a.IsZero() || !(Queue{}).IsZero() {
		t.Error("zero")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range samples(f) {
		f.Add(m.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if again := m.(message).append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x is written %x", b, again)
		}
	})
}

func FuzzPiece(f *testing.F) {
	q := queueOf(1, now)
	for _, size := range []int{Small, Medium, Large} {
		f.Add(pieces(f, q, now, blobOf(size, 1))[0])
	}
	f.Add(makeReceipts(q, []ID{{1}, {2}})[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePiece(b); err == nil {
			p.genuine()
			p.expires()
			p.name()
		}
		if x, err := parseReceipt(b); err == nil && x.genuine() && len(x.blobs) == 0 {
			t.Error("a receipt for nothing")
		}
	})
}
