// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// filled makes a database with 300 contacts and 500 entries of history.
func filled(t testing.TB, dir string) (path string) {
	t.Helper()
	s := New(testOptions(dir))
	update(t, s, func(tx *Tx) error {
		for i := range 300 {
			if err := tx.Map(Contacts).Put(fmt.Append(nil, "contact ", i), make([]byte, 100)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 5 { // leaves free pages
		update(t, s, func(tx *Tx) error {
			for i := range 100 {
				if _, err := tx.List(History).Append(nil, fmt.Append(nil, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	s.Close()
	return s.path()
}

func count(t testing.TB, s *Store) (contacts, history int) {
	t.Helper()
	if err := s.View(func(tx *Tx) error {
		for k := range tx.Map(Contacts).All() {
			if !strings.HasPrefix(string(k), "contact ") {
				t.Errorf("a name %q", k)
			}
			contacts++
		}
		for range tx.List(History).From(nil, 0) {
			history++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return contacts, history
}

// change changes some bytes of a file.
func change(t testing.TB, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A damaged file is kept, said once, and gives back what is left of it.
func TestDamage(t *testing.T) {
	page := os.Getpagesize()
	for _, c := range []struct {
		what           string
		damage         func(path string) error
		least          int // contacts that can be saved
		leastOfHistory int
	}{
		{"empty", func(p string) error { return os.Truncate(p, 0) }, 0, 0},
		{"another kind of file", func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("text ", 9999)), 0o600) }, 0, 0},
		{"cut in the middle", func(p string) error {
			st, _ := os.Stat(p)
			return os.Truncate(p, st.Size()/2)
		}, 0, 0},
		{"both heads", func(p string) error { change(t, p, 100, nil); change(t, p, 16, make([]byte, 2*page)); return nil }, 0, 0},
		{"a page of contacts", func(p string) error {
			change(t, p, int64(pageOf(t, p, Contacts))*int64(page), make([]byte, page))
			return nil
		}, 200, 500},
		{"a page of history", func(p string) error {
			change(t, p, int64(pageOf(t, p, History))*int64(page)+8, []byte{0xff, 0xff, 0xff, 0xff, 0xff})
			return nil
		}, 300, 400},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			path := filled(t, dir)
			if err := c.damage(path); err != nil {
				t.Fatal(err)
			}
			o := testOptions(dir)
			var said fmt.Stringer
			o.Logger, said = logged()
			s := testStore(t, o)
			contacts, history := count(t, s)
			if contacts < c.least || contacts > 300 || history < c.leastOfHistory || history > 500 {
				t.Errorf("%d contacts, %d of history", contacts, history)
			}
			if n := strings.Count(said.String(), "\n"); n != 1 || !strings.Contains(said.String(), "store.db.bad") {
				t.Errorf("said %d times: %s", n, said)
			}
			if _, err := os.Stat(path + ".bad"); err != nil {
				t.Error(err)
			}
			update(t, s, func(tx *Tx) error {
				n, err := tx.List(History).Append(nil, []byte("new"))
				if c.leastOfHistory > 0 && n != 501 {
					t.Errorf("number %d is used again", n)
				}
				return err
			})
			s.Close()
			again := testStore(t, testOptions(dir))
			if c2, h2 := count(t, again); c2 != contacts || h2 != history+1 {
				t.Errorf("then %d and %d", c2, h2)
			}
			files, _ := os.ReadDir(dir)
			if len(files) != 2 {
				t.Errorf("%v", files)
			}
		})
	}
}

// pageOf returns the number of a leaf page of a room.
func pageOf(t testing.TB, path string, r Room) int {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found := 0
	db.View(func(tx *bbolt.Tx) error {
		// The last page of the bucket's tree.
		tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if string(name) != r.String() {
				return nil
			}
			f, _ := os.Open(path)
			defer f.Close()
			p, err := openPages(f, 1<<40)
			if err != nil {
				t.Fatal(err)
			}
			p.walk(uint64(b.Root()), 0, func(uint32, []byte, []byte) {})
			for id := uint64(2); id < p.end; id++ {
				if p.seen[id/64]&(1<<(id%64)) != 0 && id != uint64(b.Root()) {
					found = int(id)
				}
			}
			return nil
		})
		return nil
	})
	if found == 0 {
		t.Fatal("the room has one page only")
	}
	return found
}

// Under another key, that of another person, the database stays whole.
func TestOtherKey(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	o := testOptions(dir)
	o.Key = [32]byte{9}
	s := testStore(t, o)
	if c, h := count(t, s); c != 0 || h != 0 {
		t.Errorf("%d, %d", c, h)
	}
	s.Close()
	if err := os.Rename(filepath.Join(dir, fileName+".bad"), filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	if c, h := count(t, testStore(t, testOptions(dir))); c != 300 || h != 500 {
		t.Errorf("%d, %d", c, h)
	}
}

func TestNewer(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	db, err := bbolt.Open(path, 0o600, options())
	if err != nil {
		t.Fatal(err)
	}
	db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(metaBucket)).Put([]byte(versionKey), []byte{version + 1})
	})
	db.Close()
	s := testStore(t, testOptions(dir))
	for _, err := range []error{s.View(func(*Tx) error { return nil }), s.Update(func(*Tx) error { return nil })} {
		if !errors.Is(err, ErrNewer) {
			t.Errorf("%v", err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v", files)
	}
}

// Whatever bytes are changed, the program lives, and what it reads is genuine.
func TestRandomDamage(t *testing.T) {
	master := filled(t, t.TempDir())
	whole, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	st := map[string]int{}
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 7))
		b := slices.Clone(whole)
		for range 1 + rng.IntN(20) {
			switch at := rng.IntN(len(b) - 16); rng.IntN(3) {
			case 0:
				b[at] ^= 1 << rng.IntN(8)
			case 1: // in the head of a page
				b[at&^(os.Getpagesize()-1)+rng.IntN(64)] = byte(rng.Uint32())
			case 2: // a number of a page, maybe one that makes a circle
				for i := range 8 {
					b[at&^7+i] = 0
				}
				b[at&^7] = byte(rng.IntN(len(b) / os.Getpagesize()))
			}
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := New(testOptions(dir))
		c, h := count(t, s)
		if c > 300 || h > 500 {
			t.Fatalf("seed %d: %d, %d", seed, c, h)
		}
		if err := s.Update(func(tx *Tx) error { return tx.Map(Chat).Put(nil, nil) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s.Close()
		switch {
		case c == 300 && h == 500:
			st["all"]++
		case c+h > 0:
			st["some"]++
		default:
			st["nothing"]++
		}
	}
	t.Logf("%v", st)
	if st["some"] == 0 {
		t.Error("the damage proves nothing")
	}
}

// Damage that shows in use is repaired at the next use.
func TestDamageInUse(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	id := int64(pageOf(t, path, Contacts))
	s := testStore(t, testOptions(dir))
	if c, _ := count(t, s); c != 300 {
		t.Fatal(c)
	}
	change(t, path, id*int64(os.Getpagesize()), make([]byte, os.Getpagesize()))
	err := s.View(func(tx *Tx) error {
		for range tx.Map(Contacts).All() {
		}
		return nil
	})
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("%v", err)
	}
	if c, h := count(t, s); c < 200 || c == 300 || h != 500 {
		t.Errorf("%d, %d", c, h)
	}
	update(t, s, func(tx *Tx) error { return tx.Map(Chat).Put(nil, nil) })
}

func FuzzPages(f *testing.F) {
	b, err := os.ReadFile(filled(f, f.TempDir()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4*os.Getpagesize()])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := openPages(strings.NewReader(string(b)), int64(len(b)))
		if err != nil {
			return
		}
		p.entries(func(string, uint64, []byte, []byte) {})
		p.freeList()
	})
}
