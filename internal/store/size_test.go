// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// When the own rooms are full the oldest history goes, and nothing else.
func TestHistoryMakesRoom(t *testing.T) {
	o := testOptions(t.TempDir())
	o.Size = 100 << 10
	s := testStore(t, o)
	value := make([]byte, 1000)
	for i := range 50 {
		update(t, s, func(tx *Tx) error {
			_, err := tx.List(History).Append(nil, fmt.Append(value[:len(value):len(value)], i))
			if err != nil || i%5 != 0 {
				return err
			}
			_, err = tx.List(Outbox).Append([]byte("anna"), value)
			return err
		})
	}
	history := func() []string { return list(t, s, History, "") }
	before := len(history())
	if before != 50 {
		t.Fatalf("%d of 50 before it is full", before)
	}
	for i := range 100 {
		update(t, s, func(tx *Tx) error {
			_, err := tx.List(History).Append(nil, fmt.Append(value[:len(value):len(value)], 50+i))
			return err
		})
	}
	h := history()
	if n := len(h); n < 70 || n > 100 {
		t.Errorf("%d kept", n)
	}
	for i, v := range h { // the newest, without a hole
		if want := 150 - len(h) + i; v[len(v)-len(fmt.Sprint(want)):] != fmt.Sprint(want) {
			t.Fatalf("entry %d is %s, want %d", i, v[len(v)-5:], want)
		}
	}
	if n := len(list(t, s, Outbox, "anna")); n != 10 {
		t.Errorf("%d of 10 in the outbox", n)
	}
	// The outbox may drive out all of the history, and not more.
	var err error
	sent := 10
	for ; err == nil && sent < 200; sent++ {
		err = s.Update(func(tx *Tx) error { _, err := tx.List(Outbox).Append([]byte("anna"), value); return err })
	}
	if !errors.Is(err, ErrFull) || len(history()) != 0 && sent < 90 {
		t.Errorf("after %d: %v, %d in the history", sent, err, len(history()))
	}
	if n := len(list(t, s, Outbox, "anna")); n != sent-1 {
		t.Errorf("%d of %d in the outbox", n, sent-1)
	}
	// What makes it smaller is always allowed.
	update(t, s, func(tx *Tx) error { return tx.List(Outbox).Delete([]byte("anna"), 1) })
	s.View(func(tx *Tx) error {
		if n := tx.Size(History) + tx.Size(Outbox); n > o.Size || n < o.Size/2 {
			t.Errorf("%d bytes of %d", n, o.Size)
		}
		return nil
	})
}

// What is held for others has a budget of its own, which it can't leave.
func TestHeldIsBounded(t *testing.T) {
	o := testOptions(t.TempDir())
	o.Size, o.Held = 1<<20, 20<<10
	s := testStore(t, o)
	update(t, s, func(tx *Tx) error { _, err := tx.List(History).Append(nil, []byte("mine")); return err })
	n, err := 0, error(nil)
	for ; err == nil && n < 100; n++ {
		err = s.Update(func(tx *Tx) error { _, err := tx.List(Held).Append([]byte("q"), make([]byte, 1000)); return err })
	}
	if !errors.Is(err, ErrFull) || n < 15 || n > 20 {
		t.Errorf("%d held, %v", n, err)
	}
	update(t, s, func(tx *Tx) error { _, err := tx.List(History).Append(nil, []byte("still")); return err })
	if h := list(t, s, History, ""); len(h) != 2 {
		t.Errorf("%v", h)
	}
}

// The books agree with what is there.
func TestSizes(t *testing.T) {
	dir := t.TempDir()
	s := New(testOptions(dir))
	for i := range 300 {
		update(t, s, func(tx *Tx) error {
			k := fmt.Append(nil, i*7%100)
			if i%3 == 0 {
				return tx.Map(Chat).Delete(k)
			}
			return tx.Map(Chat).Put(k, make([]byte, i%50))
		})
	}
	want := int64(0)
	var got int64
	s.View(func(tx *Tx) error {
		got = tx.Size(Chat)
		c := tx.bucket(Chat).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			want += int64(len(k) + len(v))
		}
		return nil
	})
	if got != want || want == 0 {
		t.Errorf("%d, want %d", got, want)
	}
	s.Close()
	if st, err := os.Stat(filepath.Join(dir, fileName)); err != nil || st.Size() > 256<<10 {
		t.Errorf("%v, %v", st.Size(), err)
	}
}
