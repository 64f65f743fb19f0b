// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"encoding/binary"
	"iter"
	"math"
)

// A List is a room used as lists, within one transaction: each list has a name,
// which may be empty, and values with numbers. Numbers rise with every Append to
// any list of the room and are never used again.
type List struct {
	tx *Tx
	r  Room
}

// List returns a room as lists.
func (tx *Tx) List(r Room) List { return List{tx, r} }

// Append adds a value at the end of a list and returns its number, at least 1.
// Errors: ErrTooLong, ErrDamaged.
func (l List) Append(name, value []byte) (uint64, error) {
	return l.tx.put(l.r, name, value, 0, true)
}

// Get returns a value, nil when there is none under this number. The error says
// that it is there but damaged.
func (l List) Get(name []byte, number uint64) ([]byte, error) {
	return l.tx.get(l.r, name, number)
}

// Set replaces a value that Append has added, and nothing else: one that is
// gone stays away. Errors: as Append.
func (l List) Set(name []byte, number uint64, value []byte) error {
	if old, err := l.Get(name, number); old == nil || err != nil {
		return err
	}
	_, err := l.tx.put(l.r, name, value, number, false)
	return err
}

// Delete takes a value out of its list. That it is not there is no error.
func (l List) Delete(name []byte, number uint64) error {
	return l.tx.remove(l.r, l.tx.s.k.key(l.r, name, number))
}

// From returns the values of a list with at least the given number, in order.
// The loop may change the List.
func (l List) From(name []byte, number uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for key := l.tx.s.k.key(l.r, name, number); ; {
			k, sealed, ok := l.tx.step(l.r, key, false)
			if !ok || string(k[:hashLen]) != string(key[:hashLen]) {
				return
			}
			_, value, ok := l.tx.openOr(l.r, k, sealed)
			if ok && !yield(numberOf(k), value) || numberOf(k) == math.MaxUint64 {
				return
			}
			binary.BigEndian.PutUint64(key[hashLen:], numberOf(k)+1)
		}
	}
}

// Back returns the values of a list with at most the given number, the last
// first. The loop may change the List.
func (l List) Back(name []byte, number uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for key := l.tx.s.k.key(l.r, name, number); ; {
			k, sealed, ok := l.tx.step(l.r, key, true)
			if !ok || string(k[:hashLen]) != string(key[:hashLen]) {
				return
			}
			_, value, ok := l.tx.openOr(l.r, k, sealed)
			if ok && !yield(numberOf(k), value) || numberOf(k) == 0 {
				return
			}
			binary.BigEndian.PutUint64(key[hashLen:], numberOf(k)-1)
		}
	}
}

// Names returns the names of the lists that have a value, in an order that
// tells nothing but stays the same. The loop may change the List.
func (l List) Names() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for key := []byte{0}; ; {
			k, sealed, ok := l.tx.step(l.r, key, false)
			if !ok {
				return
			}
			name, _, ok := l.tx.openOr(l.r, k, sealed)
			if !ok {
				key = append(k, 0) // another value of the list may open
				continue
			}
			if !yield(name) {
				return
			}
			if key = nextHash(k[:hashLen]); key == nil {
				return
			}
		}
	}
}

// nextHash returns the first key behind all that begin with h, nil if there
// can't be one.
func nextHash(h []byte) []byte {
	next := append([]byte(nil), h...)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next
		}
	}
	return nil
}
