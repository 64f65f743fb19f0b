// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// The errors of a Store. Others are those of the file system.
var (
	// ErrInUse reports that another process, or another node of this one, has
	// the database open.
	ErrInUse = errors.New("store: in use by another process")
	// ErrNewer reports a database that a newer program wrote. It is not touched.
	ErrNewer = errors.New("store: written by a newer program")
	// ErrFull reports that the size limit is reached and nothing may be dropped
	// to make room.
	ErrFull = errors.New("store: full")
	// ErrDisk reports that the disk, or the user's share of it, is full. Nothing
	// of the Update was kept; what was there before is whole.
	ErrDisk = errors.New("store: no room on the disk")
	// ErrDamaged reports that the database turned out damaged in use. It is
	// repaired at the next use as far as it can be.
	ErrDamaged = errors.New("store: database is damaged")
	// ErrTooLong reports a name or value above MaxName or MaxValue.
	ErrTooLong = errors.New("store: too long")
)

// Options configure a Store.
type Options struct {
	Dir string
	Key [32]byte // secret, from the key store
	// Size is how many bytes the node's own rooms may hold, names and overhead
	// included; 0 is DefaultSize.
	Size int64
	// Held is the same for what is kept for others; 0 is a quarter of Size.
	Held   int64
	Logger *slog.Logger // nil = silent
}

const (
	// DefaultSize holds about half a million messages.
	DefaultSize = 256 << 20
	// MaxName bounds the name of an entry or list, in bytes.
	MaxName = 255
	// MaxValue bounds one value, in bytes: far above any message or manifest,
	// and small enough that a transaction stays short.
	MaxValue = 1 << 20

	fileName = "store.db"
	// lockTime is how long an Open waits for another process to end: one that
	// was just told to.
	lockTime = time.Second
	// retryAfter is how long a failure to open is remembered, so that an app
	// that asks all the time does not wait lockTime each time.
	retryAfter = 10 * time.Second
)

// A Store is a node's database. All methods may be called from any goroutine,
// but never from inside a transaction of the same Store.
type Store struct {
	o   Options
	log *slog.Logger
	k   keys

	use    sync.RWMutex // held for reading while a transaction runs; guards what follows
	db     *bbolt.DB    // nil = not open
	closed bool
	failed error // why it could not be opened
	again  time.Time
	doubt  bool // a transaction met damage: check before the next use
	stuck  bool // that one could not be ended: bbolt can't be closed any more

	said sync.Once // entries that did not open
}

// New returns the Store of a directory. It does no I/O.
func New(o Options) *Store {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Held == 0 {
		o.Held = o.Size / 4
	}
	s := &Store{o: o, log: o.Logger, k: newKeys(o.Key)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

func (s *Store) path() string { return filepath.Join(s.o.Dir, fileName) }

// Exists reports whether there is a database: reading finds nothing without
// one.
func (s *Store) Exists() bool {
	_, err := os.Stat(s.path())
	return err == nil
}

// View runs fn in a transaction that reads. It sees the database as it was when
// it began. It should be short: pages freed meanwhile can't be used again.
// Errors: fn's; ErrInUse, ErrNewer, ErrDamaged, net.ErrClosed, and those of the
// file system.
func (s *Store) View(fn func(*Tx) error) error {
	return s.run(false, fn)
}

// Update runs fn in a transaction that reads and writes. One runs at a time. An
// error of fn leaves everything as it was. When Update returns nil, what fn
// wrote is on the disk. Errors: as View; ErrFull, ErrDisk.
func (s *Store) Update(fn func(*Tx) error) error {
	return s.run(true, fn)
}

func (s *Store) run(write bool, fn func(*Tx) error) error {
	db, done, err := s.begin(write)
	if err != nil {
		return err
	}
	defer done()
	if db == nil {
		return fn(&Tx{s: s}) // nothing there
	}
	// A page that cannot be read any more faults; as a panic it can be caught.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx := &Tx{s: s}
	defer tx.settle()
	if err := tx.guard(func() (err error) { tx.b, err = db.Begin(write); return err }); err != nil {
		return s.explain(err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.broken != nil {
		return tx.broken
	}
	if !write {
		return nil
	}
	if err := tx.fit(); err != nil {
		return err
	}
	return s.explain(tx.guard(tx.b.Commit))
}

// begin returns the open database, nil if there is none and write is false.
// done must be called when it is not used any more.
func (s *Store) begin(write bool) (db *bbolt.DB, done func(), err error) {
	for {
		s.use.RLock()
		switch {
		case s.closed:
			err = net.ErrClosed
		case s.db != nil && !s.doubt:
			return s.db, s.use.RUnlock, nil
		}
		s.use.RUnlock()
		if err != nil {
			return nil, nil, err
		}
		if there, err := s.ready(write); err != nil {
			return nil, nil, err
		} else if !there {
			return nil, func() {}, nil
		}
	}
}

// ready opens the database if it is not open.
func (s *Store) ready(write bool) (there bool, err error) {
	s.use.Lock()
	defer s.use.Unlock()
	switch {
	case s.closed:
		return false, net.ErrClosed
	case s.db != nil && !s.doubt:
		return true, nil
	case s.failed != nil && time.Now().Before(s.again):
		return false, s.failed
	}
	doubt := s.doubt
	s.shut()
	if !write && !s.Exists() {
		return false, nil
	}
	if s.db, err = s.open(doubt); err != nil {
		s.failed, s.again = err, time.Now().Add(retryAfter)
		return false, err
	}
	s.failed, s.doubt = nil, false
	return true, nil
}

// shut closes the database; s.use is held.
func (s *Store) shut() {
	if s.db != nil && !s.stuck {
		closeQuietly(s.db)
	}
	s.db, s.stuck = nil, false
}

// Close waits for running transactions and closes the file. It may be called
// twice. Afterwards everything returns net.ErrClosed.
func (s *Store) Close() error {
	s.use.Lock()
	defer s.use.Unlock()
	s.closed = true
	s.shut()
	return nil
}

// explain turns errors of bbolt and of the system into the package's.
func (s *Store) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged):
		return err
	case errors.Is(err, bbolt.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrInUse, s.path())
	case diskFull(err):
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("store: %w", err)
	}
	return fmt.Errorf("store: %s: %w", s.path(), err)
}
