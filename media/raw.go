// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "github.com/pion/rtp"

const (
	// rawRoom is how many packets wait for a reader of packets: a second and a
	// quarter of voice, so that one who sleeps hears the newest when it wakes.
	rawRoom = 64
	// rawSeen is for how many numbers it is known whether they passed.
	rawSeen = 64
)

// raw is what passes through an In whose reader wants packets as they come.
// Copies take the place of packets that are missing. No number passes twice.
type raw struct {
	slots [rawRoom]rawSlot
	first int
	n     int
	begun bool
	high  uint16
	seen  uint64 // bit i: high-i has passed
	lost  uint64 // packets pushed out
}

type rawSlot struct {
	p   Packet
	buf []byte
}

// push takes a packet and the copies in it.
func (r *raw) push(h *rtp.Header, payload []byte, list []Copy) {
	if !r.begun {
		r.begun, r.high, r.seen = true, h.SequenceNumber-1, 0
	}
	for i := range list {
		c := &list[i]
		n, err := OpusSamples(c.Payload)
		if err != nil || c.Offset == 0 || int(c.Offset)%n != 0 {
			continue
		}
		// A copy does not tell its number. It follows from the distance unless
		// the sender was silent in between; then it lands on one that has passed
		// and is dropped, or a little too early among missing ones.
		back := uint16(int(c.Offset) / n)
		r.put(Packet{Sequence: h.SequenceNumber - back, Timestamp: h.Timestamp - c.Offset, Payload: c.Payload})
	}
	r.put(Packet{Sequence: h.SequenceNumber, Timestamp: h.Timestamp, Marker: h.Marker, Payload: payload})
}

// passed says whether a number has, or is too old to know.
func (r *raw) passed(seq uint16) bool {
	back := int16(r.high - seq)
	return back >= 0 && (back >= rawSeen || r.seen&(1<<back) != 0)
}

func (r *raw) put(p Packet) {
	switch ahead := int16(p.Sequence - r.high); {
	case r.passed(p.Sequence):
		return
	case ahead > 0:
		r.seen = r.seen<<ahead | 1
		r.high = p.Sequence
	default:
		r.seen |= 1 << -ahead
	}
	if r.n == rawRoom {
		r.first, r.n = (r.first+1)%rawRoom, r.n-1
		r.lost++
	}
	s := &r.slots[(r.first+r.n)%rawRoom]
	r.n++
	s.buf = append(s.buf[:0], p.Payload...)
	p.Payload = s.buf
	s.p = p
}

// take moves the oldest packet to p, its payload to buf.
func (r *raw) take(p *Packet, buf []byte) bool {
	if r.n == 0 {
		return false
	}
	s := &r.slots[r.first]
	r.first, r.n = (r.first+1)%rawRoom, r.n-1
	*p = s.p
	p.Payload = append(buf, s.p.Payload...)
	return true
}

// restart forgets what waits, and what has passed stays so.
func (r *raw) restart() { r.first, r.n = 0, 0 }
