// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// numbersWindow is how far back a number may be used that was left out: longer
// than a browser goes on repairing.
const numbersWindow = 1024

// Numbers joins packets of one source after another into one stream. Steps of
// sequence number and timestamp are kept, so holes and reordering stay visible;
// no sequence number is given twice, since two packets under one would share a
// nonce of the cipher. It is pure; the zero value is ready.
type Numbers struct {
	begun  bool
	fresh  bool // the next packet is of another source
	high   int64
	shift  int64 // outgoing number minus incoming one
	used   [numbersWindow / 64]uint64
	stamp  uint32 // outgoing timestamp minus incoming one
	last   uint32 // outgoing timestamp of the highest packet
	at     time.Time
	odd    uint16 // what would confirm a jump
	oddSet bool
}

// Begin tells that the next packet is of another source, whose numbers begin
// anywhere.
func (n *Numbers) Begin() { n.fresh = true }

// Next gives p its numbers, with timestamps in units of clock a second. It
// returns false for a packet that must not be sent: its number was used, is too
// old to know, or is the first after a jump that no second one confirms.
func (n *Numbers) Next(now time.Time, clock int, p *Packet) bool {
	if !n.begun {
		n.begun, n.fresh = true, false
		n.high = int64(p.Sequence) + 1<<16
		n.last, n.at = p.Timestamp, now
		n.mark(n.high)
		return true
	}
	seq := n.high - n.shift + int64(int16(p.Sequence-uint16(n.high-n.shift)))
	step := seq + n.shift - n.high
	if !n.fresh && (step > maxDropout || step <= -numbersWindow) {
		if !n.oddSet || n.odd != p.Sequence {
			n.odd, n.oddSet = p.Sequence+1, true
			return false
		}
		n.fresh = true
	}
	n.oddSet = false
	if n.fresh {
		n.fresh = false
		n.shift = n.high + 1 - seq
		passed := max(now.Sub(n.at), 0)
		n.stamp = n.last + uint32(max(int64(passed)/1000*int64(clock)/1000000, 1)) - p.Timestamp
		step = 1
	}
	out := n.high + step
	if step <= 0 && n.marked(out) {
		return false
	}
	for i := n.high + 1; i <= out; i++ {
		n.clear(i)
	}
	p.Sequence = uint16(out)
	p.Timestamp += n.stamp
	if step > 0 {
		n.high, n.last, n.at = out, p.Timestamp, now
	}
	n.mark(out)
	return true
}

func (n *Numbers) slot(i int64) (word *uint64, bit uint64) {
	i &= numbersWindow - 1
	return &n.used[i/64], 1 << (i % 64)
}

func (n *Numbers) mark(i int64) {
	w, bit := n.slot(i)
	*w |= bit
}

func (n *Numbers) clear(i int64) {
	w, bit := n.slot(i)
	*w &^= bit
}

func (n *Numbers) marked(i int64) bool {
	w, bit := n.slot(i)
	return *w&bit != 0
}
