// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// The bucket meta tells what file this is:
//
//	"version"  format version (1)
//	"check"    a sealed constant: whether the key is the right one
//	"used"     bytes of each room (8 each, by number)
const (
	version    = 1
	metaBucket = "meta"
	versionKey = "version"
	checkKey   = "check"
	usedKey    = "used"

	tempName = ".store-*.tmp"
	// tempAge is when a file that a crash left behind is no longer in use.
	tempAge = time.Hour
	// maxBad bounds the damaged files that are kept.
	maxBad = 20
	// fullCheck is up to which length a file is read as a whole at each start:
	// some milliseconds. Of longer ones that is done when in doubt.
	fullCheck = 4 << 20
)

var errUnusable = errors.New("store: the file can't be used")

// open opens the database or makes it. One that can't be used is replaced by a
// new one with what can be read of it, and kept aside; doubt has it read as a
// whole whatever its length.
func (s *Store) open(doubt bool) (*bbolt.DB, error) {
	if !s.Exists() {
		temp, err := s.make()
		if err != nil {
			return nil, s.explain(err)
		}
		defer os.Remove(temp)
		if err := s.place(temp); err != nil {
			return nil, s.explain(err)
		}
	}
	db, err := s.openFile(s.path(), doubt)
	if errors.Is(err, errUnusable) {
		if err = s.renew(err); err != nil {
			return nil, err
		}
		db, err = s.openFile(s.path(), false)
	}
	return db, err
}

// make makes an empty database under another name.
func (s *Store) make() (_ string, err error) {
	s.sweep()
	f, err := os.CreateTemp(s.o.Dir, tempName) // mode 0600
	if err != nil {
		return "", err
	}
	name := f.Name()
	f.Close()
	defer func() {
		if err != nil {
			os.Remove(name)
		}
	}()
	db, err := bbolt.Open(name, 0o600, options())
	if err != nil {
		return "", err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(metaBucket))
		if err != nil {
			return err
		}
		if err := b.Put([]byte(checkKey), s.k.seal(0, []byte(checkKey), nil, nil)); err != nil {
			return err
		}
		return b.Put([]byte(versionKey), []byte{version})
	})
	return name, errors.Join(err, db.Close())
}

// place gives a new database its name, unless there is one by now.
func (s *Store) place(temp string) error {
	// A link fails when another process was faster: then its file is the one.
	// File systems without links take a rename.
	err := os.Link(temp, s.path())
	switch {
	case err == nil, errors.Is(err, fs.ErrExist), s.Exists():
		return nil
	}
	return os.Rename(temp, s.path())
}

// sweep removes what crashes have left behind.
func (s *Store) sweep() {
	old, _ := filepath.Glob(filepath.Join(s.o.Dir, tempName))
	for _, name := range old {
		if st, err := os.Stat(name); err == nil && time.Since(st.ModTime()) > tempAge {
			os.Remove(name)
		}
	}
}

func options() *bbolt.Options {
	return &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType, NoStatistics: true}
}

// openFile opens the database. The error is errUnusable when it is damaged or
// not ours; ErrInUse, ErrNewer.
func (s *Store) openFile(path string, doubt bool) (*bbolt.DB, error) {
	// Read only, bbolt looks at hardly anything, but locks the file.
	look, err := s.bolt(path, true)
	if err != nil {
		return nil, err
	}
	err = s.inspect(path, doubt)
	closeQuietly(look)
	if err != nil {
		return nil, err
	}
	return s.bolt(path, false)
}

// bolt opens a file with bbolt, which panics, or faults, on damaged pages.
func (s *Store) bolt(path string, readOnly bool) (db *bbolt.DB, err error) {
	if st, err := os.Stat(path); err == nil && st.Size() == 0 {
		return nil, fmt.Errorf("%w: it is empty", errUnusable) // bbolt would make a new one
	}
	var f *os.File
	o := options()
	o.ReadOnly = readOnly
	o.OpenFile = func(name string, flag int, perm os.FileMode) (*os.File, error) {
		var err error
		f, err = os.OpenFile(name, flag&^os.O_CREATE, perm)
		return f, err
	}
	defer func() {
		if p := recover(); p != nil {
			f.Close() // and its lock
			db, err = nil, fmt.Errorf("%w: %v", errUnusable, p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	db, err = bbolt.Open(path, 0o600, o)
	var pe *fs.PathError
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bbolt.ErrTimeout), diskFull(err), errors.As(err, &pe):
		return nil, s.explain(err)
	}
	return nil, fmt.Errorf("%w: %w", errUnusable, err)
}

// inspect looks whether a file is whole, of this version and under this key.
func (s *Store) inspect(path string, doubt bool) error {
	f, err := os.Open(path)
	if err != nil {
		return s.explain(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return s.explain(err)
	}
	p, err := openPages(f, st.Size())
	if err != nil {
		return err
	}
	v, known := -1, false
	look := func(bucket string, _ uint64, key, value []byte) {
		switch {
		case bucket != metaBucket:
		case string(key) == versionKey && len(value) == 1:
			v = int(value[0])
		case string(key) == checkKey:
			_, _, err := s.k.open(0, key, value)
			known = err == nil
		}
	}
	if doubt || st.Size() <= fullCheck {
		p.entries(look)
	} else {
		p.entriesOf(metaBucket, look)
	}
	p.freeList()
	switch {
	case v > version:
		return fmt.Errorf("%w: %s has version %d, this one knows version %d", ErrNewer, path, v, version)
	case p.bad != nil:
		return p.bad
	case v < 0:
		return fmt.Errorf("%w: it is something else", errUnusable)
	case !known:
		return fmt.Errorf("%w: it belongs to another key", errUnusable)
	}
	return nil
}

// closeQuietly closes a database that may be damaged.
func closeQuietly(db *bbolt.DB) {
	defer func() { recover() }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	db.Close()
}
