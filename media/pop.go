// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

const (
	// A packet with sound in it is left out no more often than this, in frames,
	// when the delay is somewhat or far too long: each time is a small click.
	removeSlow = 25
	removeFast = 10
	// far is what counts as far too long.
	far = 60 * time.Millisecond
	// insertEvery is how often a frame is put in while the delay is too short:
	// faster than leaving out, because too short a delay loses packets.
	insertEvery = 5
	// shortBy and longBy are the errors of the delay that are corrected. They
	// are further apart than one frame, so that a correction never calls for the
	// opposite one. Too short weighs more: it is allowed no more than the margin
	// of the estimate.
	shortBy = delayMargin
	longBy  = 30 * time.Millisecond
)

// Ready returns when the first frame is due, or false while nothing has
// arrived. After the first frame it returns the time that Pop is given.
func (p *Playout) Ready(now time.Time) (time.Time, bool) {
	if p.playing {
		return now, true
	}
	s := p.first()
	if s == nil {
		return time.Time{}, false
	}
	return p.epoch.Add(toDuration(s.ts) + p.delay.due), true
}

// Pop fills f with the next frame; its payload is appended to buf[:0]. It is
// called each time the frame before has been played, each 20 ms for the usual
// frames. A frame with nothing to play has an empty payload: Lost says whether
// the sender did send something. The timestamps it gives out run on without a
// jump. Pop returns false before the stream starts and after a silence of 2 s,
// until the buffer has filled again; f is then an empty frame of 20 ms, which
// counts as concealed if anything was ever played.
func (p *Playout) Pop(now time.Time, f *Frame, buf []byte) bool {
	at := now.Sub(p.epoch)
	if p.playing && p.stats.Buffered == 0 && at-p.last > idleAfter {
		p.desync()
	}
	if !p.playing && !p.start(at) {
		p.fill(f, buf, FrameSamples, p.heard)
		if p.heard {
			p.conceal(FrameSamples, true)
		}
		return false
	}
	p.since++
	for {
		s := p.first()
		if s == nil {
			p.debt += p.step
			p.fill(f, buf, p.step, !p.quiet)
			p.conceal(p.step, !p.quiet)
			return true
		}
		p.settle(s)
		long := at - toDuration(p.next) - p.delay.due // negative: too short
		if hole := s.ts - p.next; hole >= minSamples {
			n := min(p.step, hole-hole%minSamples)
			if long > longBy { // skipping what isn't there costs nothing
				p.next += n
				p.stats.RemovedFor += uint64(n)
				continue
			}
			lost := s.seq != p.nextSeq
			if long < -shortBy {
				p.insert(n)
			} else {
				p.next += n
			}
			p.fill(f, buf, n, lost)
			p.conceal(n, lost)
			return true
		}
		quiet := isSilence(s.buf)
		if p.removable(long, quiet) {
			p.take(s)
			p.since = 0
			p.drop(s, &p.stats.Removed)
			p.stats.RemovedFor += uint64(s.samples)
			continue
		}
		if long < -shortBy && (p.since >= insertEvery || quiet) {
			p.insert(p.step)
			p.fill(f, buf, p.step, !quiet)
			p.conceal(p.step, !quiet)
			return true
		}
		p.take(s)
		p.play(at, s, f, buf)
		return true
	}
}

// start begins to play when the first packet is due. What a late reader let
// grow too old is left out.
func (p *Playout) start(at time.Duration) bool {
	s := p.first()
	if s == nil || at < toDuration(s.ts)+p.delay.due {
		return false
	}
	for p.stats.Buffered > 1 && at-toDuration(s.ts)-p.delay.due > longBy {
		p.nextSeq = s.seq + 1
		p.drop(s, &p.stats.Dropped)
		s = p.first()
	}
	p.playing, p.heard = true, true
	p.nextSeq = s.seq
	p.next, p.debt, p.since = s.ts, 0, 0
	if p.stats.Samples == 0 {
		p.clock = uint32(s.ts)
	}
	return true
}

// restart lets the buffer begin again with what it holds, for a reader that
// stopped for a while.
func (p *Playout) restart() { p.playing = false }

// removable says whether the packet at hand may be left out: silence at once,
// sound at intervals, and never the last packet.
func (p *Playout) removable(long time.Duration, quiet bool) bool {
	if long <= longBy || p.stats.Buffered < 2 {
		return false
	}
	return quiet || p.since >= removeSlow || long > far && p.since >= removeFast
}

// take moves the position behind s.
func (p *Playout) take(s *slot) {
	p.nextSeq = s.seq + 1
	p.next = max(p.next, s.ts+s.samples)
}

// insert lengthens the delay by n samples: the position stays where it is.
func (p *Playout) insert(n int64) {
	p.since = 0
	p.stats.Inserted += uint64(n)
}

func (p *Playout) play(at time.Duration, s *slot, f *Frame, buf []byte) {
	p.fill(f, buf, s.samples, false)
	f.Payload = append(f.Payload, s.buf...)
	f.Marker = s.marker
	p.stats.Buffered--
	p.stats.Played++
	p.stats.Samples += uint64(s.samples)
	p.stats.Emitted += uint64(s.samples)
	p.stats.Delay += max(at-s.arrived, 0) * time.Duration(s.samples)
	p.step = min(s.samples, FrameSamples)
	p.quiet, p.hole = isSilence(s.buf), false
	s.full = false
}

// fill makes f an empty frame at the running clock.
func (p *Playout) fill(f *Frame, buf []byte, n int64, lost bool) {
	*f = Frame{Payload: buf[:0], Timestamp: p.clock, Samples: int(n), Lost: lost}
	if p.heard {
		p.clock += uint32(n)
	}
}

// conceal counts an empty frame.
func (p *Playout) conceal(n int64, lost bool) {
	p.stats.Samples += uint64(n)
	if !lost {
		p.stats.Silent += uint64(n)
	} else {
		p.stats.Concealed += uint64(n)
		if !p.hole {
			p.stats.Events++
		}
	}
	p.hole = true
}
