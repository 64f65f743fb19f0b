// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// redKeep is how many frames are remembered for copies: 160 ms of 10 ms.
const redKeep = 16

// Redundancy remembers the frames sent lately and makes RED payloads (RFC 2198)
// with copies of them. It is pure; the zero value is ready. Once warm, it
// allocates nothing.
type Redundancy struct {
	ring [redKeep]keptFrame
	n    int // frames ever kept
}

type keptFrame struct {
	ts  uint32
	buf []byte
}

// Append appends a payload to dst with the copies that advice asks for, as far
// as they fit room bytes, and remembers the frame for later. ts is the frame's
// timestamp, kind the payload type of both. It returns how many copies came
// along: with none, nothing is appended and the frame is to be sent as it is.
//
// Distances count frames of the advised duration; an app that sends longer ones
// gets the copies nearest to that in time. Silence is never copied.
func (r *Redundancy) Append(dst []byte, kind uint8, ts uint32, payload []byte, a Advice, room int) ([]byte, int) {
	var list [MaxCopies]Copy
	var chosen [MaxCopies]int
	n, size := 0, 1+len(payload)
	for _, d := range a.RED[:a.RED.Len()] {
		at, offset := r.nearest(ts, uint32(toSamples(time.Duration(d)*a.FrameDuration)))
		if at < 0 || n > 0 && chosen[n-1] == at {
			continue
		}
		buf := r.ring[at%redKeep].buf
		if size += redHeader + len(buf); size > min(room, REDRoom) {
			break
		}
		list[n], chosen[n] = Copy{Offset: offset, Payload: buf}, at
		n++
	}
	var err error
	if n > 0 {
		for i, j := 0, n-1; i < j; i, j = i+1, j-1 { // oldest first
			list[i], list[j] = list[j], list[i]
		}
		if dst, err = AppendRED(dst, kind, list[:n], payload); err != nil {
			n = 0 // too long for a datagram: alone, then
		}
	}
	r.keep(ts, payload)
	return dst, n
}

// nearest returns the frame whose start lies nearest to offset samples before
// ts, or -1.
func (r *Redundancy) nearest(ts, offset uint32) (at int, is uint32) {
	at = -1
	var best uint32
	for i := max(r.n-redKeep, 0); i < r.n; i++ {
		k := &r.ring[i%redKeep]
		d := ts - k.ts
		if d == 0 || d > uint32(toSamples(planWait)) || len(k.buf) == 0 {
			continue
		}
		off := max(d, offset) - min(d, offset)
		if at < 0 || off <= best {
			at, is, best = i, d, off
		}
	}
	// In silence little is sent: what is much older or newer is another word.
	if at >= 0 && best > max(offset/2, FrameSamples*3) {
		return -1, 0
	}
	return at, is
}

func (r *Redundancy) keep(ts uint32, payload []byte) {
	k := &r.ring[r.n%redKeep]
	r.n++
	k.ts, k.buf = ts, k.buf[:0]
	if !isSilence(payload) && len(payload) <= maxREDLength {
		k.buf = append(k.buf, payload...)
	}
}
