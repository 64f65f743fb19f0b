// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"time"

	"github.com/pion/rtp"
)

// copySlots bounds the copies kept: more lost frames than that are no longer
// worth waiting for.
const copySlots = 32

// copies keeps what came in the place of lost packets, by timestamp: a copy
// does not tell its sequence number. Those that were played or came too late
// stay until their slot is needed, so that no second copy counts.
type copies [copySlots]copySlot

type copySlot struct {
	full    bool
	fec     bool // in-band FEC of the packet behind: there is nothing in buf
	ts      int64
	samples int64
	arrived time.Duration
	buf     []byte
}

func (c *copies) clear() {
	for i := range c {
		c[i].full = false
	}
}

// find returns the slot that begins at ts, or nil.
func (c *copies) find(ts int64) *copySlot {
	for i := range c {
		if s := &c[i]; s.full && s.ts == ts {
			return s
		}
	}
	return nil
}

// put returns a slot for ts: a free one, or the oldest.
func (c *copies) put(ts int64) *copySlot {
	old := &c[0]
	for i := range c {
		s := &c[i]
		if !s.full {
			old = s
			break
		}
		if s.ts < old.ts {
			old = s
		}
	}
	old.full, old.fec, old.ts = true, false, ts
	return old
}

// next returns the earliest copy that fits between two timestamps, or nil.
// Timestamps of bridges may be off by a rounding.
func (c *copies) next(from, to int64) *copySlot {
	var best *copySlot
	for i := range c {
		s := &c[i]
		if s.full && !s.fec && s.ts > from-minSamples && s.ts+s.samples < to+minSamples && (best == nil || s.ts < best.ts) {
			best = s
		}
	}
	return best
}

// PushRedundant takes in a packet with the copies of earlier ones that came
// along, and copies all payloads. Copies of packets that are there or too late
// are dropped; the rest is played where a packet is missing. The buffer learns
// how long it pays to wait for copies.
func (p *Playout) PushRedundant(now time.Time, h *rtp.Header, payload []byte, list []Copy) {
	s := p.push(now, h, payload)
	if s == nil {
		return
	}
	ts, samples := s.ts, s.samples
	for i := range list {
		c := &list[i]
		n, err := OpusSamples(c.Payload)
		if err == nil && c.Offset > 0 && c.Offset <= maxREDOffset && len(c.Payload) <= MaxPayload {
			p.restore(ts-int64(c.Offset), int64(n), s.arrived, int64(c.Offset), c.Payload)
		}
	}
	if HasFEC(payload) {
		p.restore(ts-samples, samples, s.arrived, samples, nil)
	}
}

// restore keeps one copy; without a payload it is in-band FEC.
func (p *Playout) restore(ts, samples int64, at time.Duration, after int64, payload []byte) {
	if p.there(ts) {
		return
	}
	s := p.copies.find(ts)
	if s != nil && (!s.fec || payload == nil) {
		return
	}
	if s == nil {
		// Also when it came too late: the delay is to grow, then.
		p.delay.restored(toDuration(after))
		s = p.copies.put(ts)
	}
	s.fec, s.samples, s.arrived = payload == nil, samples, at
	s.buf = append(s.buf[:0], payload...)
}

// there says whether the packet at ts has come, or is older than is known.
func (p *Playout) there(ts int64) bool {
	first := int64(1<<63 - 1)
	for i := range p.slots {
		s := &p.slots[i]
		if s.seq == 0 {
			continue
		}
		if s.ts == ts {
			return true
		}
		first = min(first, s.ts)
	}
	return ts < first
}
