// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Room is a part of the database with an owner and a use of its own. The
// numbers stand in the file: they never change their meaning.
type Room uint8

// The rooms.
const (
	Contacts  Room = 1 + iota // map: ID → contact
	History                   // list "": what happened, oldest first; drops the oldest when full
	Outbox                    // lists by peer: messages until they are delivered
	Chat                      // map: what the message protocol must remember (ratchets, numbers seen)
	Held                      // lists by queue: sealed blobs held for others; a budget of its own
	Queues                    // map: own message queues at others
	Transfers                 // map: transfer → its state
	Devices                   // map: own other devices and what is synced with them
	Groups                    // map: ID → a group's roster
	Past                      // map: ID → what own devices tell each other of what happened
	lastRoom  = Past
)

// String names the room as in the file.
func (r Room) String() string {
	switch r {
	case Contacts:
		return "contacts"
	case History:
		return "history"
	case Outbox:
		return "outbox"
	case Chat:
		return "chat"
	case Held:
		return "held"
	case Queues:
		return "queues"
	case Transfers:
		return "transfers"
	case Devices:
		return "devices"
	case Groups:
		return "groups"
	case Past:
		return "past"
	}
	return fmt.Sprintf("room %d", uint8(r))
}

// A Tx is a transaction. It belongs to the goroutine that runs it and ends with
// the function that got it.
type Tx struct {
	s      *Store
	b      *bbolt.Tx // nil = there is no database
	used   *usage    // of this transaction, once it writes
	broken error     // damage that was met
}

// guard calls into bbolt, whose answer to a damaged page is a panic.
func (tx *Tx) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			tx.broken = fmt.Errorf("%w: %v", ErrDamaged, p)
			err = tx.broken
		}
	}()
	return f()
}

// settle ends the transaction, whatever happened to it. A finished one stays
// as it is.
func (tx *Tx) settle() {
	stuck := tx.b == nil // Begin itself broke, and may hold bbolt's locks
	if tx.b != nil {
		stuck = errors.Is(tx.guard(tx.b.Rollback), ErrDamaged)
	}
	if tx.broken != nil {
		s := tx.s
		s.use.RUnlock()
		s.use.Lock()
		s.doubt, s.stuck = true, s.stuck || stuck
		s.use.Unlock()
		s.use.RLock()
	}
}

// bucket returns a room's bucket, nil when there is none.
func (tx *Tx) bucket(r Room) *bbolt.Bucket {
	if tx.b == nil {
		return nil
	}
	return tx.b.Bucket([]byte(r.String()))
}

// get returns the value of an entry, nil when there is none.
func (tx *Tx) get(r Room, name []byte, number uint64) (value []byte, err error) {
	if tx.broken != nil {
		return nil, tx.broken
	}
	err = tx.guard(func() error {
		b := tx.bucket(r)
		if b == nil {
			return nil
		}
		key := tx.s.k.key(r, name, number)
		sealed := b.Get(key)
		if sealed == nil {
			return nil
		}
		_, value, err = tx.s.k.open(r, key, sealed)
		if err != nil {
			return fmt.Errorf("%w: room %v", err, r)
		}
		return nil
	})
	return value, err
}

// put writes an entry; number 0 with next draws the room's next number.
func (tx *Tx) put(r Room, name, value []byte, number uint64, next bool) (uint64, error) {
	switch {
	case tx.broken != nil:
		return 0, tx.broken
	case len(name) > MaxName:
		return 0, fmt.Errorf("%w: a name of %d bytes, at most %d", ErrTooLong, len(name), MaxName)
	case len(value) > MaxValue:
		return 0, fmt.Errorf("%w: a value of %d bytes, at most %d", ErrTooLong, len(value), MaxValue)
	case tx.b == nil || !tx.b.Writable():
		return 0, fmt.Errorf("store: write to %v in a View", r)
	}
	err := tx.guard(func() error {
		b, err := tx.b.CreateBucketIfNotExists([]byte(r.String()))
		if err != nil {
			return err
		}
		if next {
			if number, err = b.NextSequence(); err != nil {
				return err
			}
		}
		key := tx.s.k.key(r, name, number)
		sealed := tx.s.k.seal(r, key, name, value)
		tx.account(r, key, b.Get(key), sealed)
		return b.Put(key, sealed)
	})
	return number, tx.s.explain(err)
}

func (tx *Tx) remove(r Room, key []byte) error {
	if tx.broken != nil {
		return tx.broken
	}
	if tx.b == nil || !tx.b.Writable() {
		return fmt.Errorf("store: delete from %v in a View", r)
	}
	return tx.guard(func() error {
		b := tx.bucket(r)
		if b == nil {
			return nil
		}
		old := b.Get(key)
		if old == nil {
			return nil
		}
		tx.account(r, key, old, nil)
		return b.Delete(key)
	})
}

// step returns the entry at or behind key, or with back at or before it; ok is
// false at the end. It looks anew each time, so that the room may be changed
// between two steps.
func (tx *Tx) step(r Room, key []byte, back bool) (found, sealed []byte, ok bool) {
	if tx.broken != nil {
		return nil, nil, false
	}
	tx.guard(func() error {
		b := tx.bucket(r)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, v := c.Seek(key)
		if back && k == nil {
			k, v = c.Last()
		} else if back && string(k) != string(key) {
			k, v = c.Prev()
		}
		if k != nil {
			found, sealed, ok = append([]byte(nil), k...), v, true
		}
		return nil
	})
	return found, sealed, ok
}

// openOr opens an entry; one that doesn't open is told once in the Store's life
// and then left out: the others are still good.
func (tx *Tx) openOr(r Room, key, sealed []byte) (name, value []byte, ok bool) {
	if err := tx.guard(func() (err error) { name, value, err = tx.s.k.open(r, key, sealed); return err }); err != nil {
		tx.s.said.Do(func() { tx.s.log.Warn("store: entries are left out that do not open", "room", r.String()) })
		return nil, nil, false
	}
	return name, value, true
}
