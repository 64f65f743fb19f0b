// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"testing"

	"github.com/p2pos/p2pos/session/chat"
)

// What is cut comes out whole; a part that is missing spoils one envelope only.
func TestLetter(t *testing.T) {
	var a assembly
	for _, n := range []int{0, 1, maxPart - 1, maxPart, maxPart + 1, 3 * maxPart, chat.MaxEnvelope} {
		whole := bytes.Repeat([]byte{byte(n)}, n)
		parts := letterParts(whole)
		for i, p := range parts {
			if len(p) > maxPart+2 {
				t.Fatalf("%d bytes: a part of %d", n, len(p))
			}
			got, err := a.take(p)
			if err != nil || (i < len(parts)-1) != (got == nil) && n > 0 {
				t.Fatalf("%d bytes, part %d: %d, %v", n, i, len(got), err)
			}
			if i == len(parts)-1 && !bytes.Equal(got, whole) {
				t.Fatalf("%d bytes become %d", n, len(got))
			}
		}
	}
	long := letterParts(make([]byte, 2*maxPart))
	a.take(long[0])
	if got, err := a.take(letterParts([]byte("next"))[0]); err != nil || string(got) != "next" {
		t.Errorf("after a broken one: %q, %v", got, err)
	}
	if _, err := a.take(long[1]); !errors.Is(err, ErrMessage) {
		t.Errorf("a part without its first: %v", err)
	}
	a.take(append([]byte{byte(typeChat), letterFirst | letterMore}, make([]byte, maxPart)...))
	var err error
	for range 10 {
		_, err = a.take(append([]byte{byte(typeChat), letterMore}, make([]byte, maxPart)...))
		if err != nil {
			break
		}
	}
	if !errors.Is(err, ErrMessage) || len(a.buf) > chat.MaxEnvelope {
		t.Errorf("without an end: %v, %d bytes kept", err, len(a.buf))
	}
	for _, bad := range [][]byte{nil, {byte(typeChat)}, {byte(typeInvite), 2, 3}} {
		if _, err := a.take(bad); !errors.Is(err, ErrMessage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func FuzzLetter(f *testing.F) {
	f.Add([]byte{byte(typeChat), 0}, letterParts([]byte("hello"))[0])
	f.Add(letterParts(make([]byte, 2*maxPart))[0], letterParts(make([]byte, 2*maxPart))[1])
	f.Fuzz(func(t *testing.T, x, y []byte) {
		var a assembly
		for _, b := range [][]byte{x, y, x} {
			if got, _ := a.take(b); len(got) > chat.MaxEnvelope || len(a.buf) > chat.MaxEnvelope {
				t.Error("too long")
			}
		}
	})
}
