// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// usage is how many bytes the entries of each room have in the file. It stands
// in the meta bucket, under "used".
type usage struct {
	before, now [lastRoom + 1]int64
}

func (u *usage) own() (before, now int64) {
	for r := range u.now {
		if Room(r) != Held {
			before, now = before+u.before[r], now+u.now[r]
		}
	}
	return before, now
}

// account notes that an entry changes; called before the change, inside guard.
func (tx *Tx) account(r Room, key, old, sealed []byte) {
	if tx.used == nil {
		tx.used = &usage{before: tx.readUsage()}
		tx.used.now = tx.used.before
	}
	n := int64(len(sealed) - len(old))
	if old == nil {
		n += int64(len(key))
	}
	if sealed == nil {
		n -= int64(len(key))
	}
	tx.used.now[r] += n
}

func (tx *Tx) readUsage() (u [lastRoom + 1]int64) {
	if b := tx.b.Bucket([]byte(metaBucket)); b != nil {
		v := b.Get([]byte(usedKey))
		for i := 0; i < len(u) && len(v) >= 8*(i+1); i++ {
			u[i] = int64(binary.BigEndian.Uint64(v[8*i:]))
		}
	}
	return u
}

// fit makes room at the end of an Update by dropping the oldest history, and
// writes down what is used. The error is ErrFull when that is not enough and
// the Update has added something.
func (tx *Tx) fit() error {
	if tx.used == nil {
		return nil
	}
	for _, now := tx.used.own(); now > tx.s.o.Size; _, now = tx.used.own() {
		k, _, ok := tx.step(History, []byte{0}, false)
		if !ok {
			break
		}
		if err := tx.remove(History, k); err != nil {
			return err
		}
	}
	if before, now := tx.used.own(); now > tx.s.o.Size && now > before {
		return fmt.Errorf("%w: %d bytes of %d", ErrFull, now, tx.s.o.Size)
	}
	if before, now := tx.used.before[Held], tx.used.now[Held]; now > tx.s.o.Held && now > before {
		return fmt.Errorf("%w: %d bytes of %d held for others", ErrFull, now, tx.s.o.Held)
	}
	return tx.guard(func() error {
		b, err := tx.b.CreateBucketIfNotExists([]byte(metaBucket))
		if err != nil {
			return err
		}
		v := make([]byte, 0, 8*len(tx.used.now))
		for _, n := range tx.used.now {
			v = binary.BigEndian.AppendUint64(v, uint64(n))
		}
		return b.Put([]byte(usedKey), v)
	})
}

// Size returns how many bytes the room's entries have, the Update's own
// changes included.
func (tx *Tx) Size(r Room) int64 {
	if tx.used != nil {
		return tx.used.now[r]
	}
	if tx.b == nil {
		return 0
	}
	var n int64
	tx.guard(func() error { n = tx.readUsage()[r]; return nil })
	return n
}

// diskFull reports whether err means that there is no room for more.
func diskFull(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	for _, full := range fullErrors {
		if no == full {
			return true
		}
	}
	return false
}
