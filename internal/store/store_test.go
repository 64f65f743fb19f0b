// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func testOptions(dir string) Options {
	return Options{Dir: dir, Key: [32]byte{1, 2, 3}}
}

func testStore(t testing.TB, o Options) *Store {
	t.Helper()
	s := New(o)
	t.Cleanup(func() { s.Close() })
	return s
}

func update(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// list returns a list's values, as "number=value".
func list(t testing.TB, s *Store, r Room, name string) (all []string) {
	t.Helper()
	err := s.View(func(tx *Tx) error {
		for n, v := range tx.List(r).From([]byte(name), 0) {
			all = append(all, fmt.Sprintf("%d=%s", n, v))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMap(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	update(t, s, func(tx *Tx) error {
		m := tx.Map(Contacts)
		for _, k := range []string{"anna", "ben", "", "cem"} {
			if err := m.Put([]byte(k), []byte("is "+k)); err != nil {
				return err
			}
		}
		return errors.Join(m.Put([]byte("ben"), []byte("is Ben")), m.Delete([]byte("cem")), m.Delete([]byte("nobody")))
	})
	err := s.View(func(tx *Tx) error {
		m := tx.Map(Contacts)
		if v, err := m.Get([]byte("ben")); string(v) != "is Ben" || err != nil {
			t.Errorf("ben: %q, %v", v, err)
		}
		if v, err := m.Get([]byte("cem")); v != nil || err != nil {
			t.Errorf("deleted: %q, %v", v, err)
		}
		if v, err := tx.Map(Chat).Get([]byte("ben")); v != nil || err != nil {
			t.Errorf("in another room: %q, %v", v, err)
		}
		var all []string
		for k, v := range m.All() {
			all = append(all, string(k)+":"+string(v))
		}
		slices.Sort(all)
		if want := ":is ,anna:is anna,ben:is Ben"; strings.Join(all, ",") != want {
			t.Errorf("all: %q, want %q", strings.Join(all, ","), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	update(t, s, func(tx *Tx) error {
		l := tx.List(Outbox)
		for i := range 6 {
			n, err := l.Append([]byte{"ab"[i%2]}, fmt.Append(nil, i))
			if err != nil || n != uint64(i+1) {
				t.Fatalf("number %d, %v", n, err)
			}
		}
		return errors.Join(l.Set([]byte("a"), 3, []byte("two")), l.Set([]byte("a"), 2, []byte("never")), l.Delete([]byte("b"), 6))
	})
	if got := list(t, s, Outbox, "a"); !slices.Equal(got, []string{"1=0", "3=two", "5=4"}) {
		t.Errorf("a: %v", got)
	}
	if got := list(t, s, Outbox, "b"); !slices.Equal(got, []string{"2=1", "4=3"}) {
		t.Errorf("b: %v", got)
	}
	// A number is never used twice, even when the last one was deleted.
	update(t, s, func(tx *Tx) error {
		n, err := tx.List(Outbox).Append([]byte("b"), nil)
		if n != 7 {
			t.Errorf("number %d", n)
		}
		return err
	})
	s.View(func(tx *Tx) error {
		var back []uint64
		for n := range tx.List(Outbox).Back([]byte("a"), 4) {
			back = append(back, n)
		}
		if !slices.Equal(back, []uint64{3, 1}) {
			t.Errorf("back: %v", back)
		}
		names := map[string]int{}
		for n := range tx.List(Outbox).Names() {
			names[string(n)]++
		}
		if len(names) != 2 || names["a"] != 1 || names["b"] != 1 {
			t.Errorf("names: %v", names)
		}
		if v, err := tx.List(Outbox).Get([]byte("b"), 7); v == nil || len(v) != 0 || err != nil {
			t.Errorf("an empty value: %v, %v", v, err)
		}
		return nil
	})
}

// The loop's body may change what it walks.
func TestChangeWhileWalking(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	update(t, s, func(tx *Tx) error {
		for i := range 500 {
			if _, err := tx.List(Outbox).Append([]byte("x"), fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		l, seen := tx.List(Outbox), 0
		for n, v := range l.From([]byte("x"), 0) {
			if string(v) != fmt.Sprint(seen) {
				t.Fatalf("%s, want %d", v, seen)
			}
			seen++
			if n%2 == 0 {
				if err := l.Delete([]byte("x"), n); err != nil {
					return err
				}
			}
		}
		if seen != 500 {
			t.Errorf("%d seen", seen)
		}
		return nil
	})
	if n := len(list(t, s, Outbox, "x")); n != 250 {
		t.Errorf("%d left", n)
	}
}

// An error of the function leaves everything as it was.
func TestRollback(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	update(t, s, func(tx *Tx) error { return tx.Map(Chat).Put([]byte("k"), []byte("old")) })
	want := errors.New("no")
	err := s.Update(func(tx *Tx) error {
		tx.Map(Chat).Put([]byte("k"), []byte("new"))
		tx.List(Outbox).Append(nil, []byte("x"))
		return want
	})
	if err != want {
		t.Errorf("%v", err)
	}
	func() {
		defer func() {
			if recover() != "app" {
				t.Error("the application's panic is its own")
			}
		}()
		s.Update(func(tx *Tx) error { tx.Map(Chat).Put([]byte("k"), nil); panic("app") })
	}()
	s.View(func(tx *Tx) error {
		if v, _ := tx.Map(Chat).Get([]byte("k")); string(v) != "old" || tx.Size(Outbox) != 0 {
			t.Errorf("%q, %d", v, tx.Size(Outbox))
		}
		return nil
	})
	if err := s.View(func(tx *Tx) error { return tx.Map(Chat).Put([]byte("k"), nil) }); err == nil {
		t.Error("written in a View")
	}
}

func TestTooLong(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	err := s.Update(func(tx *Tx) error {
		m := tx.Map(Chat)
		for _, err := range []error{m.Put(make([]byte, MaxName+1), nil), m.Put(nil, make([]byte, MaxValue+1))} {
			if !errors.Is(err, ErrTooLong) {
				t.Errorf("%v", err)
			}
		}
		return errors.Join(m.Put(make([]byte, MaxName), nil), m.Put(nil, make([]byte, MaxValue)))
	})
	if err != nil {
		t.Error(err)
	}
}

// A node that stores nothing leaves no file, and reading makes none.
func TestLazy(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, testOptions(dir))
	if list(t, s, History, "") != nil || s.Exists() {
		t.Error("there is something")
	}
	s.View(func(tx *Tx) error {
		for range tx.Map(Contacts).All() {
			t.Error("a contact")
		}
		return nil
	})
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
	update(t, s, func(tx *Tx) error { return nil })
	if files, _ := os.ReadDir(dir); len(files) != 1 || files[0].Name() != fileName {
		t.Errorf("files: %v", files)
	}
	st, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestClosed(t *testing.T) {
	s := New(testOptions(t.TempDir()))
	update(t, s, func(tx *Tx) error { return nil })
	s.Close()
	s.Close()
	if err := s.View(func(*Tx) error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := s.Update(func(*Tx) error { return nil }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := testStore(t, testOptions(t.TempDir()))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				if err := s.Update(func(tx *Tx) error {
					_, err := tx.List(Outbox).Append([]byte{byte(i)}, []byte{byte(j)})
					return err
				}); err != nil {
					t.Error(err)
				}
				s.View(func(tx *Tx) error {
					n := 0
					for range tx.List(Outbox).From([]byte{byte(i)}, 0) {
						n++
					}
					if n != j+1 {
						t.Errorf("%d of %d", n, j+1)
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
}

// The file shows neither names nor values, and nothing can be moved in it.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	s := New(testOptions(dir))
	name, value := []byte("a person's whole ID"), []byte("what was said")
	update(t, s, func(tx *Tx) error {
		_, err := tx.List(Outbox).Append(name, value)
		return errors.Join(err, tx.Map(Contacts).Put(name, value))
	})
	s.Close()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, name) || bytes.Contains(b, value) {
		t.Error("in plain")
	}
	k := newKeys([32]byte{1})
	key := k.key(Contacts, name, 0)
	box := k.seal(Contacts, key, name, value)
	if n, v, err := k.open(Contacts, key, box); err != nil || !bytes.Equal(n, name) || !bytes.Equal(v, value) {
		t.Errorf("%q, %q, %v", n, v, err)
	}
	for what, open := range map[string]func() error{
		"another room": func() error { _, _, err := k.open(Chat, key, box); return err },
		"another name": func() error { _, _, err := k.open(Contacts, k.key(Contacts, nil, 0), box); return err },
		"another key":  func() error { _, _, err := newKeys([32]byte{2}).open(Contacts, key, box); return err },
		"cut off":      func() error { _, _, err := k.open(Contacts, key, box[:30]); return err },
		"nothing":      func() error { _, _, err := k.open(Contacts, key, nil); return err },
	} {
		if open() == nil {
			t.Errorf("opens in %s", what)
		}
	}
	if bytes.Equal(k.hash(Contacts, name), k.hash(Chat, name)) {
		t.Error("a name looks alike in two rooms")
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	a, b := testStore(t, testOptions(dir)), testStore(t, testOptions(dir))
	update(t, a, func(tx *Tx) error { return tx.Map(Chat).Put(nil, []byte("a")) })
	for range 2 { // the second time at once
		if err := b.View(func(tx *Tx) error { return nil }); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v", err)
		}
	}
	a.Close()
	b.again = b.again.Add(-retryAfter)
	if err := b.View(func(tx *Tx) error {
		if v, _ := tx.Map(Chat).Get(nil); string(v) != "a" {
			t.Errorf("%q", v)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// logged returns a logger and what it was told.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
