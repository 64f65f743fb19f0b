// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

const (
	// A packet with sound in it is left out no more often than this, in frames,
	// when the delay is too long by less or more than what follows: each time
	// is a small click, but half a second of delay must go within two.
	removeSlow    = 25
	removeFast    = 10
	removeFaster  = 4
	removeFastest = 2
	far           = 60 * time.Millisecond
	farther       = 100 * time.Millisecond
	farthest      = 200 * time.Millisecond
	// insertEvery is how often a frame is put in while the delay is too short:
	// faster than leaving out, because too short a delay loses packets.
	insertEvery = 5
	// shortBy and longBy are the errors of the delay that are corrected. They
	// are further apart than one frame, so that a correction never calls for the
	// opposite one. Too short weighs more: it is allowed no more than the margin
	// of the estimate.
	shortBy = jitterMargin
	longBy  = 30 * time.Millisecond
	// stretchBy is longBy where the reader can take out a pitch period, at most
	// 12.5 ms, at a time.
	stretchBy = 8 * time.Millisecond
	// idleStep is how much a stretching reader gets at a time while nothing is
	// going on, 5 ms, so that it begins to play at the right moment.
	idleStep = ClockRate / 200
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
// until the buffer has filled again; f is then an empty frame of 20 ms (5 ms
// with PlayoutConfig.Stretch), which counts as concealed if anything was ever
// played.
func (p *Playout) Pop(now time.Time, f *Frame, buf []byte) bool {
	at := now.Sub(p.epoch)
	if p.playing && p.stats.Buffered == 0 && at-p.last > idleAfter {
		p.desync()
	}
	if !p.playing && !p.start(at) {
		n := int64(FrameSamples)
		if p.stretch {
			n = idleStep
		}
		p.fill(f, buf, n, p.heard)
		if p.heard {
			p.conceal(n, true)
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
		p.passed(s.seq)
		long := at - toDuration(p.next) - p.delay.due // negative: too short
		hole := s.ts - p.next
		if hole >= minSamples {
			if c := p.copies.next(p.next, s.ts); c != nil {
				if c.ts-p.next < minSamples {
					p.playCopy(at, long, s, c, f, buf)
					return true
				}
				hole = c.ts - p.next // up to the copy
			}
		}
		if hole >= minSamples {
			lost := s.seq != p.nextSeq
			n := min(p.step, hole-hole%minSamples)
			behind := s.ts - p.next
			fec := lost && behind-s.samples < minSamples && HasFEC(s.buf)
			if fec {
				n = behind
			}
			if long > longBy && !fec { // skipping what isn't there costs nothing
				p.next += n
				p.stats.RemovedFor += uint64(n)
				continue
			}
			if long < -shortBy && !fec {
				p.insert(n)
			} else {
				p.next += n
			}
			p.fill(f, buf, n, lost)
			if fec {
				f.FEC = append(buf[:0], s.buf...)
				f.Long = p.adjust(long)
			}
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
		if long < -shortBy && (quiet || !p.stretch && p.since >= insertEvery) {
			p.insert(p.step)
			p.fill(f, buf, p.step, !quiet)
			p.conceal(p.step, !quiet)
			return true
		}
		p.take(s)
		p.play(at, s, f, buf)
		f.Long = p.adjust(long)
		return true
	}
}

// adjust returns what the reader is asked to make up for.
func (p *Playout) adjust(long time.Duration) int {
	if !p.stretch || -shortBy <= long && long <= stretchBy {
		return 0
	}
	return int(toSamples(min(max(long, -playoutMax), playoutMax)))
}

// Stretched notes that the reader has made sound shorter by removed samples, or
// longer by inserted ones.
func (p *Playout) Stretched(removed, inserted int) {
	p.stats.RemovedFor += uint64(removed)
	p.stats.Inserted += uint64(inserted)
}

// Recovered notes that the reader has restored samples of a lost frame out of
// its FEC.
func (p *Playout) Recovered(samples int) {
	n := min(uint64(max(samples, 0)), p.stats.Concealed)
	p.stats.Concealed -= n
	p.stats.FEC += n
}

// Restart lets the buffer begin again with what it holds and drop what is too
// old, for a reader that stopped for a while.
func (p *Playout) Restart() { p.playing = false }

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

// removable says whether the packet at hand may be left out: silence at once,
// sound at intervals, and never the last packet.
func (p *Playout) removable(long time.Duration, quiet bool) bool {
	switch {
	case long <= longBy || p.stats.Buffered < 2:
		return false
	case quiet:
		return true
	case p.stretch:
		return false
	case long > farthest:
		return p.since >= removeFastest
	case long > farther:
		return p.since >= removeFaster
	case long > far:
		return p.since >= removeFast
	}
	return p.since >= removeSlow
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
	p.sound(at-s.arrived, s.samples, s.buf, f, buf)
	f.Marker = s.marker
	p.stats.Buffered--
	p.stats.Played++
	s.full = false
}

// playCopy plays a copy of a packet lost before s.
func (p *Playout) playCopy(at, long time.Duration, s *slot, c *copySlot, f *Frame, buf []byte) {
	p.sound(at-c.arrived, c.samples, c.buf, f, buf)
	f.Long = p.adjust(long)
	p.next = max(p.next, c.ts+c.samples)
	p.nextSeq = min(p.nextSeq+1, s.seq)
	p.stats.Restored++
}

// sound fills f with what waited here for a time.
func (p *Playout) sound(waited time.Duration, samples int64, payload []byte, f *Frame, buf []byte) {
	p.fill(f, buf, samples, false)
	f.Payload = append(f.Payload, payload...)
	p.stats.Samples += uint64(samples)
	p.stats.Emitted += uint64(samples)
	p.stats.Delay += max(waited, 0) * time.Duration(samples)
	p.stats.Frame = toDuration(samples)
	p.step = min(samples, FrameSamples)
	p.quiet, p.hole = isSilence(payload), false
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
