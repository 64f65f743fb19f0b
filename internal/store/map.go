// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import "iter"

// A Map is a room used as a map from names to values, within one transaction.
type Map struct {
	tx *Tx
	r  Room
}

// Map returns a room as a map.
func (tx *Tx) Map(r Room) Map { return Map{tx, r} }

// Get returns the value under a name, nil when there is none. The error says
// that it is there but damaged.
func (m Map) Get(name []byte) ([]byte, error) { return m.tx.get(m.r, name, 0) }

// Put keeps a value under a name. Errors: ErrTooLong, ErrDamaged.
func (m Map) Put(name, value []byte) error {
	_, err := m.tx.put(m.r, name, value, 0, false)
	return err
}

// Delete forgets a name. That it is not there is no error.
func (m Map) Delete(name []byte) error { return m.tx.remove(m.r, m.tx.s.k.key(m.r, name, 0)) }

// All returns names and values in an order that tells nothing but stays the
// same. The loop may change the Map.
func (m Map) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for key := []byte{0}; ; {
			k, sealed, ok := m.tx.step(m.r, key, false)
			if !ok {
				return
			}
			name, value, ok := m.tx.openOr(m.r, k, sealed)
			if ok && !yield(name, value) {
				return
			}
			key = append(k, 0) // the next possible key
		}
	}
}
