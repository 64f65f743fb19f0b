// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"encoding/binary"
	"slices"
	"time"
)

const (
	// maxFailed bounds the pairs a node remembers: a node makes about 60
	// attempts while it fills its table, and twice that in ten minutes of a
	// mass failure. Of more, those nearest to their end are forgotten.
	maxFailed = 128
	// failedLife is how long a failed punch is remembered. A NAT does not
	// change its kind while it runs; its owner moving to another network does,
	// and a node should not be shunned for long after that.
	failedLife = 10 * time.Minute
	// refusedLife is how long a refusal counts: a full bucket seldom opens
	// before a repair round.
	refusedLife = time.Minute
)

// memory is what a node remembers of attempts that came to nothing.
type memory struct{ list []failure }

type failure struct {
	key   uint64
	until time.Duration
}

// A punch that failed concerns the node; a refusal the node and who was asked
// to introduce or carry.
func failedKey(id ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

func refusedKey(id, via ID) uint64 {
	return binary.BigEndian.Uint64(id[16:]) ^ binary.BigEndian.Uint64(via[24:])
}

func (m *memory) has(now time.Duration, key uint64) bool {
	return slices.ContainsFunc(m.list, func(f failure) bool { return f.key == key && f.until > now })
}

func (m *memory) add(now time.Duration, key uint64, life time.Duration) {
	m.list = slices.DeleteFunc(m.list, func(f failure) bool { return f.key == key || f.until <= now })
	if len(m.list) == maxFailed {
		first := 0
		for i, f := range m.list {
			if f.until < m.list[first].until {
				first = i
			}
		}
		m.list = slices.Delete(m.list, first, first+1)
	}
	m.list = append(m.list, failure{key, now + life})
}

// forget is for a pair that has come to a link after all.
func (m *memory) forget(key uint64) {
	m.list = slices.DeleteFunc(m.list, func(f failure) bool { return f.key == key })
}
