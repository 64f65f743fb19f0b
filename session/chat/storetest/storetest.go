// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package storetest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/p2pos/p2pos/session/chat"
)

// Run tests a kind of store. open returns an empty one at first, and, when it
// is called again with what it had returned, the same one as after a restart;
// nil makes a new one.
func Run(t *testing.T, open func(t *testing.T, last chat.Store) chat.Store) {
	get := func(t *testing.T, s chat.Store, name string, want []byte) {
		t.Helper()
		got, err := s.Get([]byte(name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q holds %q, want %q", name, got, want)
		}
	}
	commit := func(t *testing.T, s chat.Store, writes ...chat.Write) {
		t.Helper()
		if err := s.Commit(writes, nil); err != nil {
			t.Fatal(err)
		}
	}
	w := func(name, value string) chat.Write { return chat.Write{Name: []byte(name), Value: []byte(value)} }

	t.Run("empty", func(t *testing.T) {
		get(t, open(t, nil), "nothing", nil)
	})
	t.Run("put, replace, delete", func(t *testing.T) {
		s := open(t, nil)
		commit(t, s, w("a", "1"), w("b", "2"))
		get(t, s, "a", []byte("1"))
		commit(t, s, w("a", "3"), chat.Write{Name: []byte("b")}, chat.Write{Name: []byte("never there")})
		get(t, s, "a", []byte("3"))
		get(t, s, "b", nil)
		s = open(t, s)
		get(t, s, "a", []byte("3"))
		get(t, s, "b", nil)
	})
	t.Run("nothing is kept of what was given", func(t *testing.T) {
		s := open(t, nil)
		name, value := []byte("name"), []byte("value")
		commit(t, s, chat.Write{Name: name, Value: value})
		name[0], value[0] = 'x', 'x'
		get(t, s, "name", []byte("value"))
		got, _ := s.Get([]byte("name"))
		got[0] = 'y'
		get(t, s, "name", []byte("value"))
	})
	t.Run("an empty value is a value", func(t *testing.T) {
		s := open(t, nil)
		if err := s.Commit([]chat.Write{{Name: []byte("e"), Value: []byte{}}}, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get([]byte("e")); err != nil || len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("large", func(t *testing.T) {
		s := open(t, nil)
		big := bytes.Repeat([]byte{7}, 600<<10) // entries held back are one value
		var list []chat.Write
		for i := range 200 {
			list = append(list, w(fmt.Sprintf("n%d", i), fmt.Sprint(i)))
		}
		commit(t, s, append(list, chat.Write{Name: bytes.Repeat([]byte{1}, 57), Value: big})...)
		s = open(t, s)
		get(t, s, string(bytes.Repeat([]byte{1}, 57)), big)
		get(t, s, "n199", []byte("199"))
	})
}
