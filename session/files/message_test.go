// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func someMessages() []message {
	id := ID{1, 2, 15: 16}
	o := Offer{ID: id, Name: "a.txt", Size: 5, Root: Hash{7}, SHA256: Hash{8}}
	return []message{
		{kind: kindOffer, id: id, offer: o},
		{kind: kindTake, id: id},
		{kind: kindWant, id: id, what: wantChunks, first: 3, count: 16},
		{kind: kindList, id: id, first: 1, hashes: make([]byte, 64)},
		{kind: kindHashes, id: id, first: 2, hashes: make([]byte, 32*pageChunks)},
		{kind: kindData, id: id, offset: 1 << 33, data: []byte("piece")},
		{kind: kindPause, id: id},
		{kind: kindGo, id: id},
		{kind: kindEnd, id: id, reason: Changed},
		{kind: kindQuiet, on: true},
	}
}

func TestMessages(t *testing.T) {
	for _, m := range someMessages() {
		b := appendMessage([]byte("x"), m)[1:]
		if n := int(b[1])<<8 | int(b[2]); n != len(b)-headLen {
			t.Errorf("%d: length %d of %d", m.kind, n, len(b)-headLen)
		}
		got, known, err := parseMessage(kind(b[0]), b[headLen:])
		if err != nil || !known || !reflect.DeepEqual(got, m) {
			t.Errorf("%d: %+v, %v", m.kind, got, err)
		}
		for cut := headLen; cut < len(b) && cut < 100; cut++ {
			if got, _, err := parseMessage(kind(b[0]), b[headLen:cut]); err == nil && m.kind != kindData && m.kind != kindList && m.kind != kindHashes {
				t.Errorf("%d cut at %d: %+v", m.kind, cut, got)
			}
		}
	}
	golden := appendMessage(nil, someMessages()[2])
	if want := "030019" + "01020000000000000000000000000010" + "03" + "00000003" + "00000010"; hex.EncodeToString(golden) != want {
		t.Errorf("%x, want %s", golden, want)
	}
	if _, known, err := parseMessage(99, nil); known || err != nil {
		t.Error("a type of a later program is an error")
	}
}

func TestBadMessages(t *testing.T) {
	id := make([]byte, idLen)
	offer := appendMessage(nil, message{kind: kindOffer, offer: Offer{Name: "x", Size: 1}})[headLen:]
	huge := bytes.Clone(offer)
	huge[idLen+3] = 0xff // the size
	for what, b := range map[string]struct {
		k kind
		b []byte
	}{
		"too long":             {kindData, make([]byte, maxBody+1)},
		"an empty piece":       {kindData, append(bytes.Clone(id), make([]byte, 8)...)},
		"a piece beyond 1 TiB": {kindData, append(bytes.Clone(id), 0xff, 0, 0, 0, 0, 0, 0, 0, 1)},
		"half a hash":          {kindList, append(bytes.Clone(id), make([]byte, 4+40)...)},
		"no hash":              {kindHashes, append(bytes.Clone(id), make([]byte, 4)...)},
		"something behind":     {kindTake, append(bytes.Clone(id), 1)},
		"no ID":                {kindPause, id[:5]},
		"an offer without all": {kindOffer, id},
		"an impossible size":   {kindOffer, huge},
		"a name of 100 kB":     {kindOffer, appendMessage(nil, message{kind: kindOffer, offer: Offer{Name: strings.Repeat("x", 60_000)}})[headLen:]},
		"a name of 256 bytes":  {kindOffer, appendMessage(nil, message{kind: kindOffer, offer: Offer{Name: strings.Repeat("x", 256)}})[headLen:]},
	} {
		if m, _, err := parseMessage(b.k, b.b); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range someMessages() {
		b := appendMessage(nil, m)
		f.Add(b[0], b[headLen:])
	}
	f.Fuzz(func(t *testing.T, k byte, b []byte) {
		m, known, err := parseMessage(kind(k), b)
		if err != nil || !known || k == byte(kindOffer) || k == byte(kindQuiet) {
			return // fields of later programs, and bools, are not written again
		}
		if again := appendMessage(nil, m); !bytes.Equal(again[headLen:], b) {
			t.Errorf("%x became %x", b, again[headLen:])
		}
	})
}
