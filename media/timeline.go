// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

// timeline turns the timestamps an app gives into ones that always move
// forward by at least the frame before. An app may count from anywhere, not
// count at all, or start again with each file it plays.
type timeline struct {
	begun bool
	in    uint32 // timestamp given with the last frame
	out   uint32 // timestamp made for it
	span  uint32 // its duration
	moved bool   // out was set: the next frame is there, whatever its timestamp
}

// maxSpan bounds what one frame may claim to last, so that a wrong duration
// cannot turn the clock backwards. One second is far above any frame.
const maxSpan = ClockRate

// next returns the timestamp of a frame and whether time passed between it and
// the frame before, which is true of the first.
func (t *timeline) next(ts uint32, samples int) (out uint32, gap bool) {
	span := uint32(min(max(samples, 0), maxSpan))
	switch {
	case t.moved:
		t.moved, t.in, t.span = false, ts, span
		return t.out, true
	case !t.begun:
		*t = timeline{begun: true, in: ts, out: ts, span: span}
		return ts, true
	}
	step := ts - t.in
	if int32(step) < int32(t.span) {
		step = t.span
	}
	gap = step > t.span
	t.in, t.out, t.span = ts, t.out+step, span
	return t.out, gap
}

// set makes at the timestamp of the next frame.
func (t *timeline) set(at uint32) { t.begun, t.moved, t.out = true, true, at }
