// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func TestREDGolden(t *testing.T) {
	got, err := AppendRED([]byte("x"), 111, []Copy{{Offset: 1920, Payload: []byte{1, 2, 3}}, {Offset: 960, Payload: []byte{4}}}, []byte{5, 6})
	if err != nil {
		t.Fatal(err)
	}
	// 1|111 1920<<10|3, 1|111 960<<10|1, 0|111
	if want := "78" + "ef1e0003" + "ef0f0001" + "6f" + "010203" + "04" + "0506"; hex.EncodeToString(got) != want {
		t.Errorf("%x\nwant %s", got, want)
	}
	var r RED
	if err := r.Parse(got[1:], 111); err != nil {
		t.Fatal(err)
	}
	if c := r.Copies(); len(c) != 2 || c[0].Offset != 1920 || !bytes.Equal(c[0].Payload, []byte{1, 2, 3}) || c[1].Offset != 960 || !bytes.Equal(c[1].Payload, []byte{4}) || !bytes.Equal(r.Primary, []byte{5, 6}) {
		t.Errorf("%+v", r)
	}
}

func TestREDRefuses(t *testing.T) {
	var r RED
	for what, s := range map[string]string{
		"nothing":               "",
		"no end of headers":     "ef0f0001",
		"half a header":         "ef0f",
		"a length that lies":    "ef0f03ff" + "6f" + "0102",
		"no primary":            "ef0f0001" + "6f" + "01",
		"another primary":       "ef0f0001" + "60" + "0102",
		"two lies":              "ef0f0001" + "ef0f0003" + "6f" + "0102",
		"more headers than fit": "ef0f0000ef0f0000ef0f0000ef0f0000ef0f0000ef0f0000ef0f0000ef0f0000ef0f0000" + "6f" + "01",
	} {
		b, _ := hex.DecodeString(s)
		var e *PayloadError
		if err := r.Parse(b, 111); !errors.As(err, &e) || len(r.Copies()) != 0 {
			t.Errorf("%s: %v, %+v", what, err, r)
		}
	}
	// What is not ours, empty, or too many is skipped; the rest is read.
	b, _ := hex.DecodeString("80" + "0f0001" + "ef0f0000" + "ef000001" + "ef0f0001" + "ef1e0001" + "ef2d0001" + "ef3c0001" + "6f" + "09" + "08" + "01020304" + "aa")
	if err := r.Parse(b, 111); err != nil || len(r.Copies()) != MaxCopies || r.Copies()[0].Payload[0] != 1 || r.Primary[0] != 0xaa {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestAppendREDRefuses(t *testing.T) {
	big := make([]byte, 1100)
	for what, c := range map[string][]Copy{
		"no offset":      {{0, []byte{1}}},
		"an old one":     {{1 << 14, []byte{1}}},
		"nothing in it":  {{960, nil}},
		"a long one":     {{960, big}},
		"too many":       {{1, []byte{1}}, {2, []byte{1}}, {3, []byte{1}}, {4, []byte{1}}},
		"too many bytes": {{960, big[:700]}, {1920, big[:700]}},
	} {
		if b, err := AppendRED([]byte("x"), 111, c, []byte{1}); err == nil || string(b) != "x" {
			t.Errorf("%s: %x", what, b)
		}
	}
	if _, err := AppendRED(nil, 111, nil, nil); err == nil {
		t.Error("an empty frame taken")
	}
}

// FuzzRED: no input panics; what is read can be written again and read the same.
func FuzzRED(f *testing.F) {
	seed, _ := AppendRED(nil, 111, []Copy{{960, speech(1)}, {1920, speech(2)}}, speech(3))
	f.Add(seed)
	f.Add([]byte{0x80 | 111, 0xff, 0xff, 0xff, 111, 1, 2, 3})
	f.Add([]byte{111, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again RED
		if r.Parse(b, 111) != nil {
			return
		}
		if len(r.Primary) == 0 || len(r.Copies()) > MaxCopies {
			t.Fatalf("%+v", r)
		}
		out, err := AppendRED(nil, 111, r.Copies(), r.Primary)
		if err != nil {
			return // longer than we would send
		}
		if err := again.Parse(out, 111); err != nil || !bytes.Equal(again.Primary, r.Primary) || len(again.Copies()) != len(r.Copies()) {
			t.Fatalf("%x read again: %v", out, err)
		}
		for i, c := range again.Copies() {
			if c.Offset != r.Copies()[i].Offset || !bytes.Equal(c.Payload, r.Copies()[i].Payload) {
				t.Fatalf("copy %d: %+v", i, c)
			}
		}
		// The buffer takes whatever the blocks hold.
		p := NewPlayout(PlayoutConfig{})
		h := headerFor(1)
		p.PushRedundant(start, &h, r.Primary, r.Copies())
		checkPlayout(t, p, start)
	})
}
