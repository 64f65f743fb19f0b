// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import "time"

// Stamp says when a device changed something: milliseconds since 1970 in the
// upper 48 bits, and below them a number that tells changes of one moment apart.
// It is a hybrid of clock and counter: a change made after another one was seen
// is later, whatever the clocks say.
type Stamp uint64

// maxStamp refuses what no clock says (the year 2200): a stamp that nothing could
// follow would freeze a field.
const maxStamp = Stamp(7_258_118_400_000) << 16

// StampOf is the first stamp of a moment.
func StampOf(t time.Time) Stamp {
	ms := t.UnixMilli()
	if ms <= 0 {
		return 1
	}
	return min(Stamp(ms)<<16, maxStamp)
}

// Clock makes stamps: the zero value is one that has seen none.
type Clock struct{ last Stamp }

// See notes a stamp of any device.
func (c *Clock) See(s Stamp) { c.last = max(c.last, s) }

// Next returns a stamp after all that were seen.
func (c *Clock) Next(now time.Time) Stamp {
	c.last = max(StampOf(now), c.last+1)
	return c.last
}
