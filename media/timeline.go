// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

// timeline turns the timestamps an app gives into ones that always move
// forward by at least the frame before. An app may count from anywhere, not
// count at all, start again with each file it plays, or fall silent for a while.
type timeline struct {
	begun  bool
	out    uint32 // the last timestamp made
	span   uint32 // how long what has it lasts
	in     uint32 // the last one the app gave
	lasts  uint32 // how long what has that lasts
	offset uint32 // from the app's time to ours
	apps   bool   // the app has given any
	kept   uint32 // how far keep has moved since then
	ahead  uint32 // how far out is ahead of time, for sound close behind a sign of life
	moved  bool   // out was set: the next frame is there, whatever its timestamp
}

// maxSpan bounds what one frame may claim to last, so that a wrong duration
// cannot turn the clock backwards. One second is far above any frame.
const maxSpan = ClockRate

// next returns the timestamp of a frame and whether time passed between it and
// what came before, which is true of the first. pause is how many samples ago
// the last sign of life was, where there was one: sound that does not say how
// long it was away goes on then.
func (t *timeline) next(ts uint32, samples, pause int) (out uint32, gap bool) {
	span := uint32(min(max(samples, 0), maxSpan))
	switch {
	case t.moved:
		*t = timeline{begun: true, apps: true, in: ts, out: t.out, offset: t.out - ts, lasts: span, span: span}
		return t.out, true
	case !t.begun:
		*t = timeline{begun: true, apps: true, in: ts, out: ts, lasts: span, span: span}
		return ts, true
	}
	least := t.out + t.span
	step := int32(ts - t.in)
	counts := t.apps && step >= int32(t.lasts) && (t.kept == 0 || step != int32(t.lasts))
	switch {
	case counts:
		out = t.offset + ts
		if int32(out-least) < 0 {
			out = least // a sign of life went out just before
		}
	case t.kept > 0:
		step := uint32(min(max(pause, 0), maxKeep))
		if step < t.span {
			t.ahead += t.span - step
			step = t.span
		}
		out = t.out + step
		t.offset = out - ts
	default:
		out = least
		t.offset = out - ts
	}
	gap = out != least || t.kept > 0
	t.apps, t.kept = true, 0
	t.in, t.lasts, t.out, t.span = ts, span, out, span
	return out, gap
}

// keep returns a timestamp that is samples after the last one, for a sign of
// life that the app knows nothing of.
func (t *timeline) keep(samples int) uint32 {
	if !t.begun || t.moved {
		*t = timeline{begun: true, out: t.out, span: FrameSamples, kept: FrameSamples}
		return t.out
	}
	step := uint32(min(max(samples, 0), maxKeep))
	back := min(t.ahead, step-min(step, t.span))
	t.ahead -= back
	step = max(step-back, t.span)
	t.out += step
	t.kept += step
	t.span = FrameSamples
	return t.out
}

// set makes at the timestamp of the next frame.
func (t *timeline) set(at uint32) { t.begun, t.moved, t.out = true, true, at }

// maxKeep bounds the time that one sign of life stands for, 10 s: after more,
// the machine was asleep.
const maxKeep = 10 * ClockRate
