// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"fmt"
	"time"
)

// Record tells the peer of an answered call that what is said is recorded from
// now on, or no longer. A Recording event follows when it has seen that; nothing
// may be recorded before. Saying the same twice is no error. Errors: ErrNoCall,
// ErrIncapable.
func (m *Machine) Record(now time.Time, id CallID, on bool) error {
	c := m.find(id)
	switch {
	case c == nil || c.phase != phaseTalk:
		return fmt.Errorf("%w: record %s", ErrNoCall, id.Short())
	case c.params.Capabilities&CapRecord == 0:
		return fmt.Errorf("%w: it does not know of recordings", ErrIncapable)
	case on == (c.talk.ours&StateRecords != 0):
		return nil
	}
	c.talk.ours ^= StateRecords
	c.talk.recording = true
	m.tell(now, c)
	return nil
}

// recorded reports who records, after an UPDATE that changed the peer's state
// from old, and has seen all news of ours if seen.
func (m *Machine) recorded(c *call, old State, seen bool) {
	k := &c.talk
	if seen && k.recording {
		k.recording = false
		m.emit(Recording{ID: c.id, On: k.ours&StateRecords != 0, ByUs: true})
	}
	if (old^k.theirs)&StateRecords != 0 {
		m.emit(Recording{ID: c.id, On: k.theirs&StateRecords != 0})
	}
}
