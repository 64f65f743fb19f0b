// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"slices"
	"time"
)

const (
	// missingMost bounds the holes that are tracked: a quarter of a second of a
	// large picture. After more a key frame mends sooner than repair.
	missingMost = 128
	// missingWait is how old a hole must be to be no reordering, or overtaken by
	// missingOver packets.
	missingWait = 10 * time.Millisecond
	missingOver = 2
	// missingTries is how often a packet is asked for, missingAgain the least
	// time between: a round trip and a quarter and missingMargin where that is
	// longer. After missingLife it is too late for any screen.
	missingTries  = 4
	missingAgain  = 30 * time.Millisecond
	missingMargin = 10 * time.Millisecond
	missingLife   = 600 * time.Millisecond
	// missingBatch bounds the packets asked for at once.
	missingBatch = 64
)

// Missing finds the holes in a stream and says what to ask the sender for again
// (generic NACK, RFC 4585 §6.2.1). It is pure, needs authenticated packets
// without repeats; the zero value is ready.
type Missing struct {
	begun bool
	high  int64
	holes []hole // by number
	asked uint64
}

type hole struct {
	seq   int64
	since time.Time
	over  int // packets that came and are newer
	tries int
	next  time.Time // not asked for before; zero = never was
}

// Receive notes a packet.
func (m *Missing) Receive(now time.Time, seq uint16) {
	if !m.begun {
		m.begun, m.high = true, int64(seq)+1<<16
		return
	}
	n := m.high + int64(int16(seq-uint16(m.high)))
	switch {
	case n > m.high+missingMost:
		m.holes, m.high = m.holes[:0], n // not worth repairing
	case n > m.high:
		for i := m.high + 1; i < n; i++ {
			if len(m.holes) == missingMost {
				m.holes = m.holes[1:]
			}
			m.holes = append(m.holes, hole{seq: i, since: now})
		}
		m.high = n
	}
	m.holes = slices.DeleteFunc(m.holes, func(h hole) bool { return h.seq == n })
	for i := range m.holes {
		if m.holes[i].seq < n {
			m.holes[i].over++
		}
	}
}

// due returns when to ask for the hole.
func (h *hole) due() time.Time {
	switch {
	case !h.next.IsZero():
		return h.next
	case h.over >= missingOver:
		return h.since
	}
	return h.since.Add(missingWait)
}

// Deadline returns when Take is due next; zero when nothing is missing.
func (m *Missing) Deadline() (t time.Time) {
	for i := range m.holes {
		if d := m.holes[i].due(); t.IsZero() || d.Before(t) {
			t = d
		}
	}
	return t
}

// Take appends the numbers to ask for now to list, rising, at most 64 of them.
func (m *Missing) Take(now time.Time, rtt time.Duration, list []uint16) []uint16 {
	m.holes = slices.DeleteFunc(m.holes, func(h hole) bool {
		return now.Sub(h.since) > missingLife || h.tries == missingTries && !now.Before(h.next)
	})
	room := missingBatch
	for i := range m.holes {
		h := &m.holes[i]
		if room == 0 {
			break
		}
		if h.tries == missingTries || now.Before(h.due()) {
			continue
		}
		h.tries++
		h.next = now.Add(max(rtt+rtt/4+missingMargin, missingAgain))
		list = append(list, uint16(h.seq))
		m.asked++
		room--
	}
	return list
}

// Asked returns how many numbers were asked for.
func (m *Missing) Asked() uint64 { return m.asked }
