// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"time"

	"github.com/pion/rtp"
)

const (
	// playoutSlots is how many packets the buffer holds: 500 ms of 10 ms
	// packets with room for reordering. Shorter packets get less time.
	playoutSlots = 64
	// playoutStart is the delay to start with: nothing is known of the net yet,
	// and growing is heard, in the second word.
	playoutStart = 40 * time.Millisecond
	// playoutTarget is the least delay by default: one frame, so that the
	// reader's and the sender's clocks may be off by some milliseconds.
	playoutTarget = 20 * time.Millisecond
	// playoutMax caps buffered sound. More makes talking at once impossible
	// (ITU-T G.114 plans with 400 ms in all).
	playoutMax = 500 * time.Millisecond
	// playoutMaxLeast leaves room for the longest packet (120 ms) and headroom.
	playoutMaxLeast = 160 * time.Millisecond
	// maxDropout and maxMisorder bound a plausible step of the sequence number
	// (RFC 3550 A.1). A step outside must be confirmed by the next packet.
	maxDropout  = 3000
	maxMisorder = 100
	// maxLeap is the longest plausible step of the timestamp, 2 s.
	maxLeap = 2 * ClockRate
	// idleAfter is how long nothing may arrive before the stream is taken up
	// anew, with whatever numbers it then has.
	idleAfter = 2 * time.Second
)

// PlayoutConfig sets a playout buffer. The zero value works.
type PlayoutConfig struct {
	// Target is the least delay added to the fastest packets. Zero is 20 ms,
	// negative is none but what the jitter asks for. The delay begins with 40
	// ms, or with Target where that is more.
	Target time.Duration
	// Max caps the sound in the buffer. Zero, negative and more than 500 ms
	// are 500 ms; less than 160 ms is 160 ms.
	Max time.Duration
	// Stretch says that the reader decodes, and shortens or lengthens the sound
	// as Frame.Long tells. The buffer then leaves whole frames of sound alone.
	Stretch bool
}

// PlayoutStats counts what a playout buffer did. Every packet given to Push is
// in exactly one of Played, Late, Duplicate, Dropped, Removed, Malformed or
// still buffered.
type PlayoutStats struct {
	Received  uint64 // packets pushed
	Played    uint64 // packets popped
	Late      uint64 // came after their time
	Duplicate uint64
	Dropped   uint64 // outside the window, or pushed out of a full buffer
	Removed   uint64 // left out to shorten the delay
	Malformed uint64 // no Opus packet, or longer than MaxPayload
	Restored  uint64 // apart from these: frames played from a copy
	Resyncs   uint64 // times the stream went on with new numbers
	Buffered  int    // packets in the buffer now

	Samples    uint64 // popped in all, at 48 kHz, since the first frame
	Concealed  uint64 // of these, in place of lost, late or not yet arrived ones
	Silent     uint64 // of these, in place of what the sender left out (DTX)
	Inserted   uint64 // of Concealed, only to lengthen the delay
	RemovedFor uint64 // samples left out to shorten the delay
	Events     uint64 // runs of concealment
	FEC        uint64 // samples the reader restored by in-band FEC, not in Concealed

	Target time.Duration // wanted delay above the fastest packet
	Buffer time.Duration // sound from the playout position to the newest packet
	Frame  time.Duration // duration of the packet played last
	// Delay is the time packets spent here, summed over samples: divided by
	// Emitted it is the mean.
	Delay   time.Duration
	Emitted uint64
}

type slot struct {
	full    bool
	marker  bool
	seq     int64 // extended
	ts      int64 // extended
	samples int64
	arrived time.Duration
	buf     []byte
}

// Playout puts packets back in order and in time, and says what to conceal. It
// is pure and has no lock. Times given to it must not go backwards. Its memory
// is bounded and, once each slot has held a packet, nothing is allocated.
type Playout struct {
	max     int64 // samples
	stretch bool
	slots   [playoutSlots]slot
	copies  copies
	delay   jitter
	stats   PlayoutStats

	// The stream as it arrives.
	begun    bool // a packet was seen, epoch is set
	synced   bool // high and highTS are meaningful
	epoch    time.Time
	last     time.Duration // arrival of the newest packet
	ssrc     uint32
	high     int64 // highest sequence number, extended
	highTS   int64 // its timestamp
	highEnd  int64 // where it ends
	oddSSRC  uint32
	oddNext  uint16 // what would confirm a jump
	oddArmed bool

	// The stream as it is played.
	heard   bool   // a frame was ever played
	playing bool   // next and clock are running
	nextSeq int64  // lowest sequence number not yet decided on
	next    int64  // timestamp due next
	debt    int64  // samples concealed beyond next while the buffer was empty
	step    int64  // samples to conceal at once
	clock   uint32 // timestamp given out, runs without a jump
	quiet   bool   // the last packet played was silence
	hole    bool   // the last frame was concealed
	since   int    // frames since the delay was last changed
}

// NewPlayout returns an empty buffer.
func NewPlayout(c PlayoutConfig) *Playout {
	if c.Max <= 0 || c.Max > playoutMax {
		c.Max = playoutMax
	}
	c.Max = max(c.Max, playoutMaxLeast)
	switch {
	case c.Target == 0:
		c.Target = playoutTarget
	case c.Target < 0:
		c.Target = 0
	}
	p := &Playout{max: toSamples(c.Max), step: FrameSamples, stretch: c.Stretch}
	p.delay.ceil = c.Max - jitterHeadroom
	p.delay.floor = min(c.Target, p.delay.ceil)
	p.delay.begin(playoutStart)
	return p
}

// Push takes in one packet and copies its payload. Duplicates, packets after
// their time and packets outside the window are counted and dropped. A jump of
// sequence number, timestamp or SSRC is believed when a second packet confirms
// it; the buffer then begins anew.
func (p *Playout) Push(now time.Time, h *rtp.Header, payload []byte) { p.push(now, h, payload) }

// Skip notes a packet of the stream that has no sound in it, a key for instance,
// so that its number is not taken for a loss.
func (p *Playout) Skip(h *rtp.Header) {
	if !p.synced || h.SSRC != p.ssrc {
		return
	}
	seq := p.high + int64(int16(h.SequenceNumber-uint16(p.high)))
	s := &p.slots[seq&(playoutSlots-1)]
	if seq < p.nextSeq || seq >= p.nextSeq+playoutSlots || s.full {
		return
	}
	s.seq, s.ts = seq, p.highTS
}

// passed moves the position over numbers without sound in front of seq.
func (p *Playout) passed(seq int64) {
	for p.nextSeq < seq {
		s := &p.slots[p.nextSeq&(playoutSlots-1)]
		if s.seq != p.nextSeq || s.full {
			return
		}
		p.nextSeq++
	}
}

// push returns the slot in which the packet now is, or nil.
func (p *Playout) push(now time.Time, h *rtp.Header, payload []byte) *slot {
	p.stats.Received++
	samples, err := OpusSamples(payload)
	if err != nil || len(payload) > MaxPayload {
		p.stats.Malformed++
		return nil
	}
	if !p.begun {
		p.begun, p.epoch = true, now
	}
	at := now.Sub(p.epoch)
	if p.synced && at-p.last > idleAfter {
		p.desync()
	}
	if !p.synced {
		p.sync(h)
	}
	seq := p.high + int64(int16(h.SequenceNumber-uint16(p.high)))
	ts := p.highTS + int64(int32(h.Timestamp-uint32(p.highTS)))
	if !p.plausible(h.SSRC, seq, ts) {
		if !p.oddArmed || p.oddNext != h.SequenceNumber || p.oddSSRC != h.SSRC {
			p.oddArmed, p.oddNext, p.oddSSRC = true, h.SequenceNumber+1, h.SSRC
			p.stats.Dropped++
			return nil
		}
		p.stats.Resyncs++
		p.desync()
		p.sync(h)
		seq, ts = p.high, p.highTS
	}
	p.oddArmed = false
	// A slot keeps its number when it is emptied, so a repeat is told from a
	// packet that is merely late: only the latter says something about delay.
	if p.slots[seq&(playoutSlots-1)].seq == seq {
		p.stats.Duplicate++
		return nil
	}
	p.delay.add(at, at-toDuration(ts))
	if seq < p.nextSeq {
		p.stats.Late++
		return nil
	}
	p.last = at
	p.advance(seq - playoutSlots + 1)
	s := &p.slots[seq&(playoutSlots-1)]
	s.full, s.marker, s.seq, s.ts = true, h.Marker, seq, ts
	s.samples, s.arrived = int64(samples), at
	s.buf = append(s.buf[:0], payload...)
	p.stats.Buffered++
	if seq >= p.high {
		p.high, p.highTS, p.highEnd = seq, ts, ts+int64(samples)
	}
	p.trim()
	if !s.full {
		return nil
	}
	return s
}

// plausible says whether a packet can belong to the stream as it is.
func (p *Playout) plausible(ssrc uint32, seq, ts int64) bool {
	ds, dt := seq-p.high, ts-p.highTS
	switch {
	case ssrc != p.ssrc:
		return false
	case ds > 0:
		return ds <= maxDropout && dt > 0 && dt <= maxLeap
	case ds < 0:
		return ds >= -maxMisorder && dt < 0 && dt >= -maxLeap
	default:
		return dt == 0
	}
}

// sync takes the numbers of h for the start of a stream.
func (p *Playout) sync(h *rtp.Header) {
	p.synced = true
	p.ssrc = h.SSRC
	// An offset keeps extended numbers of earlier packets positive.
	p.high = int64(h.SequenceNumber) + 1<<16
	p.highTS = int64(h.Timestamp) + 1<<32
	p.highEnd = p.highTS
	p.nextSeq = p.high - playoutSlots + 1
	p.delay.reset()
}

// desync empties the buffer and waits for a new start.
func (p *Playout) desync() {
	for i := range p.slots {
		if p.slots[i].full {
			p.drop(&p.slots[i], &p.stats.Dropped)
		}
		p.slots[i].seq = 0
	}
	p.copies.clear()
	p.synced, p.playing, p.oddArmed = false, false, false
}

// drop empties a slot and counts it.
func (p *Playout) drop(s *slot, n *uint64) {
	s.full = false
	p.stats.Buffered--
	*n++
}

// advance gives up all packets below seq.
func (p *Playout) advance(seq int64) {
	for n := 0; p.nextSeq < seq && n < playoutSlots; n++ {
		if s := &p.slots[p.nextSeq&(playoutSlots-1)]; s.full && s.seq == p.nextSeq {
			p.drop(s, &p.stats.Dropped)
		}
		p.nextSeq++
	}
	p.nextSeq = max(p.nextSeq, seq)
}

// first returns the earliest packet that can still be played, or nil.
func (p *Playout) first() *slot {
	for seq := p.nextSeq; p.stats.Buffered > 0 && seq <= p.high; seq++ {
		s := &p.slots[seq&(playoutSlots-1)]
		if !s.full || s.seq != seq {
			continue
		}
		// Timestamps of bridges may be off by a rounding; more is overlap.
		if p.playing && s.ts <= p.next-minSamples {
			p.drop(s, &p.stats.Late)
			continue
		}
		return s
	}
	return nil
}

// settle makes up the account of what was concealed while the buffer was empty:
// as far as the sender's time has passed too, it stood for lost frames, the
// rest has lengthened the delay.
func (p *Playout) settle(s *slot) {
	if p.debt > 0 {
		p.next = max(p.next, min(p.next+p.debt, s.ts))
		p.debt = 0
	}
}

// trim holds the sound in the buffer below the cap: first by shortening a hole
// in front, then by dropping the oldest packet.
func (p *Playout) trim() {
	for p.stats.Buffered > 0 {
		s := p.first()
		if s == nil {
			return
		}
		start := s.ts
		if p.playing {
			start = max(p.next, min(p.next+p.debt, s.ts))
		}
		over := p.highEnd - start - p.max
		if over <= 0 {
			return
		}
		if s.ts > start {
			p.next, p.debt = min(s.ts, start+over), 0
			continue
		}
		if p.stats.Buffered == 1 {
			return
		}
		p.take(s)
		p.drop(s, &p.stats.Dropped)
	}
}

// Stats returns the counters so far.
func (p *Playout) Stats(time.Time) PlayoutStats {
	f := p.first() // may find packets overtaken, so before the copy
	s := p.stats
	s.Target = p.delay.target()
	if f != nil {
		start := f.ts
		if p.playing && p.debt == 0 {
			start = p.next
		}
		s.Buffer = toDuration(max(p.highEnd-start, 0))
	}
	return s
}

func toDuration(samples int64) time.Duration {
	return time.Duration(samples * int64(time.Second/1000) / (ClockRate / 1000))
}

func toSamples(d time.Duration) int64 {
	return int64(d) * (ClockRate / 1000) / int64(time.Second/1000)
}
