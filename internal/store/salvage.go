// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"go.etcd.io/bbolt"
)

// salvageBatch is how many entries are copied in one transaction.
const salvageBatch = 1000

// renew puts a new database in place of one that can't be used, with what can
// be read of it; why is the reason. A crash leaves either in place, and an error
// the old one.
func (s *Store) renew(why error) error {
	unlock := func() {}
	if lock, err := s.bolt(s.path(), true); err == nil {
		unlock = sync.OnceFunc(func() { closeQuietly(lock) })
		defer unlock()
	} else if !errors.Is(err, errUnusable) { // what doesn't even open is in nobody's use
		return err
	}
	if err := s.inspect(s.path(), true); !errors.Is(err, errUnusable) {
		return err // another process was faster
	}
	temp, err := s.make()
	if err != nil {
		return s.explain(err)
	}
	defer os.Remove(temp)
	saved, err := s.salvage(temp)
	if err != nil {
		return s.explain(err)
	}
	aside, err := s.keep()
	if err != nil {
		return fmt.Errorf("%w; it could not be kept aside: %w", why, err)
	}
	if runtime.GOOS == "windows" {
		unlock() // a file in use can't be replaced there, nor is one that another process opens now
	}
	if err := os.Rename(temp, s.path()); err != nil {
		return s.explain(err)
	}
	s.log.Warn("store: a new database takes the place of one that could not be used", "err", why, "kept", filepath.Base(aside), "saved", saved)
	return nil
}

// keep gives the database a second name, where links are known, or another
// one, and returns it.
func (s *Store) keep() (string, error) {
	for i := range maxBad {
		name := s.path() + ".bad"
		if i > 0 {
			name = fmt.Sprintf("%s%d", name, i+1)
		}
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if os.Link(s.path(), name) == nil {
			return name, nil
		}
		return name, os.Rename(s.path(), name)
	}
	return "", fmt.Errorf("store: %d of them are there already", maxBad)
}

type entry struct{ key, sealed []byte }

// salvage copies what can be read of the database into the new one at path and
// returns how many entries that were. The error is that of writing.
func (s *Store) salvage(path string) (saved int, err error) {
	f, err := os.Open(s.path())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	old, bad := openPages(f, st.Size())
	if bad != nil {
		return 0, nil
	}
	fresh, err := bbolt.Open(path, 0o600, options())
	if err != nil {
		return 0, err
	}
	defer fresh.Close()
	rooms := make(map[string]Room)
	for r := Room(1); r <= lastRoom; r++ {
		rooms[r.String()] = r
	}
	var batch []entry
	var room Room
	flush := func() {
		if err == nil && len(batch) > 0 {
			err = s.copy(fresh, room, batch, 0)
			saved += len(batch)
		}
		batch = nil
	}
	old.entries(func(bucket string, sequence uint64, key, value []byte) {
		r := rooms[bucket]
		switch {
		case r == 0 || err != nil:
		case key == nil:
			flush()
			room = r
			err = s.copy(fresh, room, nil, sequence)
		default:
			if _, _, bad := s.k.open(r, key, value); bad != nil {
				return
			}
			batch = append(batch, entry{key, value})
			if len(batch) == salvageBatch {
				flush()
			}
		}
	})
	flush()
	return saved, err
}

// copy writes entries as they are. No number up to sequence is used again.
func (s *Store) copy(to *bbolt.DB, r Room, list []entry, sequence uint64) error {
	return to.Update(func(b *bbolt.Tx) error {
		tx := &Tx{s: s, b: b}
		bucket, err := b.CreateBucketIfNotExists([]byte(r.String()))
		if err != nil {
			return err
		}
		for _, e := range list {
			sequence = max(sequence, numberOf(e.key))
			tx.account(r, e.key, bucket.Get(e.key), e.sealed)
			if err := bucket.Put(e.key, e.sealed); err != nil {
				return err
			}
		}
		if sequence > bucket.Sequence() {
			if err := bucket.SetSequence(sequence); err != nil {
				return err
			}
		}
		return tx.fit()
	})
}
