// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"fmt"
	"io"
	"time"

	"github.com/p2pos/p2pos/media"
)

const (
	// horizon is how long a track may give nothing before it counts as silent,
	// and how much of the other one waits meanwhile.
	horizon = media.ClockRate
	// maxWaiting bounds the items of a track that wait for the other one: the
	// horizon in frames of 10 ms, and as much again for a burst.
	maxWaiting = 200
	// unit is what gaps are made of, 20 ms: with the usual frames all packets of
	// both tracks then begin together, and none needs to be joined with another.
	unit = media.FrameSamples
	// offBy is how far a track may be from the clock, 60 ms, before a frame is
	// put in or left out: less than a listener notices between two voices, and
	// for 100 ppm of drift one correction in ten minutes.
	offBy = media.ClockRate * 60 / 1000
	// offFilter is how many frames the distance is averaged over, so that a
	// writer that stalls and catches up is not corrected.
	offFilter = 64
	// lapse is a distance that is no drift: the writer stopped for a while. It is
	// below the horizon, up to which silence is filled in meanwhile.
	lapse = media.ClockRate / 2
	// maxTracks is what fits stereo, one on each ear.
	maxTracks = 2
	// maxLapse is the longest time that is filled, a day, or 17 MB of file: more
	// is a mistake.
	maxLapse = 24 * 3600 * media.ClockRate
)

// item is a packet of a track, or time in which there is none.
type item struct {
	payload []byte // empty = conceal
	samples int64
}

// track is what waits of one side.
type track struct {
	items []item // in time, capacity maxWaiting
	pos   int64  // samples, up to the end of the newest item
	off   int64  // average distance of the clock to pos, times offFilter
	begun bool
	ts    uint32 // of the newest frame
	span  uint32
	toc   byte     // of the last packet
	spare [][]byte // buffers to use again
}

// Recorder writes one or two tracks into one file, without decoding them. Two
// are one on each ear: track 0 left, track 1 right, as two mono streams in one
// (RFC 7845 §5.1.1, mapping family 1), which every player of Ogg Opus plays at
// once. Both keep their time by the clock the caller gives. It is pure and not
// safe for concurrent use; [Tape] is.
type Recorder struct {
	w       *Writer
	tracks  []track
	lost    uint64
	scratch frames
	buf     []byte
}

// NewRecorder writes the headers for 1 or 2 tracks. o.Channels does not matter.
func NewRecorder(w io.Writer, tracks int, o Options) (*Recorder, error) {
	if tracks < 1 || tracks > maxTracks {
		return nil, fmt.Errorf("ogg: %d tracks, want 1 or 2", tracks)
	}
	o.Channels, o.tracks = tracks, tracks
	x, err := NewWriter(w, o)
	if err != nil {
		return nil, err
	}
	r := &Recorder{w: x, tracks: make([]track, tracks)}
	for i := range r.tracks {
		r.tracks[i].toc = 0xf8
		r.tracks[i].items = make([]item, 0, maxWaiting+1)
	}
	return r, nil
}

// Write records a frame of a track that begins, in the recording's time, at
// about at. Frames of a track follow each other as their timestamps say; at
// places the first one and corrects a clock that runs differently, or stopped.
// A frame without payload is concealed by players.
//
// It returns a *media.PayloadError for what is not an Opus packet,
// io.ErrClosedPipe after Close, and the errors of the underlying writer.
func (r *Recorder) Write(n int, at time.Duration, f *media.Frame) error {
	if r.w.closed {
		return io.ErrClosedPipe
	}
	if n < 0 || n >= len(r.tracks) {
		return fmt.Errorf("ogg: track %d of %d", n, len(r.tracks))
	}
	samples := f.Samples
	if len(f.Payload) > 0 {
		if len(f.Payload) > media.MaxPayload {
			return &media.PayloadError{Len: len(f.Payload), What: "above 1200 bytes"}
		}
		s, err := media.OpusSamples(f.Payload)
		if err != nil {
			return err
		}
		samples = s
	} else if samples <= 0 || samples > horizon || samples%minFrame != 0 {
		return fmt.Errorf("ogg: cannot leave out %d samples", samples)
	}
	t := &r.tracks[n]
	clock := int64(at / time.Microsecond * (media.ClockRate / 1000) / 1000)
	if at < 0 || clock-t.pos > maxLapse {
		return fmt.Errorf("ogg: frame at %v, %v after the one before", at, time.Duration(clock-t.pos)*time.Second/media.ClockRate)
	}
	if t.place(clock, f.Timestamp, samples) {
		t.push(f.Payload, int64(samples))
	}
	r.advance(max(t.pos, clock) - horizon)
	return r.w.err
}

// place makes room in front of a frame, and says whether it is to be recorded.
func (t *track) place(clock int64, ts uint32, samples int) bool {
	defer func() { t.begun, t.ts, t.span = true, ts, uint32(samples) }()
	behind := clock - t.pos
	if !t.begun || behind > lapse {
		t.gap(behind)
		t.off = 0
		return true
	}
	if skip := int32(ts - t.ts - t.span); skip > 0 && skip <= lapse {
		t.gap(int64(skip))
		behind = clock - t.pos
	}
	t.off += behind - t.off/offFilter
	switch off := t.off / offFilter; {
	case off > offBy:
		t.gap(offBy)
		t.off -= offBy * offFilter
	case off < -offBy:
		t.off += int64(samples) * offFilter
		return false
	}
	return true
}

// gap adds time without sound, in whole units.
func (t *track) gap(samples int64) {
	samples = (samples + unit/2) / unit * unit
	if samples <= 0 {
		return
	}
	t.pos += samples
	if n := len(t.items); n > 0 && len(t.items[n-1].payload) == 0 {
		t.items[n-1].samples += samples
		return
	}
	t.items = append(t.items, item{samples: samples})
}

func (t *track) push(payload []byte, samples int64) {
	if len(payload) == 0 {
		t.pos += samples
		t.items = append(t.items, item{samples: samples})
		return
	}
	var b []byte
	if n := len(t.spare); n > 0 {
		b, t.spare = t.spare[n-1], t.spare[:n-1]
	}
	t.pos += samples
	t.items = append(t.items, item{payload: append(b[:0], payload...), samples: samples})
}

// pop takes off the first n items.
func (t *track) pop(n int) {
	for _, it := range t.items[:n] {
		if it.payload != nil {
			t.toc = it.payload[0]
			t.spare = append(t.spare, it.payload)
		}
	}
	t.items = append(t.items[:0], t.items[n:]...)
}

// advance writes what is complete. Tracks that end before limit are silent up
// to there; one with too much waiting drags the others along.
func (r *Recorder) advance(limit int64) {
	for i := range r.tracks {
		if len(r.tracks[i].items) >= maxWaiting {
			limit = max(limit, r.tracks[i].pos)
		}
	}
	for i := range r.tracks {
		r.tracks[i].gap(limit - r.tracks[i].pos)
	}
	for r.block() {
	}
}

// block writes one packet of the file: of each track as many items as make the
// same time.
func (r *Recorder) block() bool {
	var sum [maxTracks]int64
	var count [maxTracks]int
	for {
		low, high := 0, 0
		for i := range r.tracks {
			if sum[i] < sum[low] {
				low = i
			}
			if sum[i] > sum[high] {
				high = i
			}
		}
		if sum[low] > 0 && sum[low] == sum[high] {
			break
		}
		t := &r.tracks[low]
		if count[low] == len(t.items) {
			return false
		}
		it := &t.items[count[low]]
		room := maxBlock - sum[low]
		want := min(room, max(sum[high]-sum[low], media.FrameSamples))
		switch {
		case len(it.payload) == 0 && it.samples > want:
			t.split(count[low], want)
		case it.samples > room:
			t.split(count[low], -room) // durations that never meet
		}
		sum[low] += t.items[count[low]].samples
		count[low]++
	}
	b := r.buf[:0]
	for i := range r.tracks {
		t := &r.tracks[i]
		r.lost += uint64(r.scratch.merge(t.items[:count[i]], int(sum[i]), t.toc))
		b = r.scratch.appendPacket(b, i < len(r.tracks)-1)
		t.pop(count[i])
	}
	r.buf = b
	r.w.write(b, int(sum[0]))
	return true
}

// split cuts a gap into one of n samples and the rest; for negative n it puts a
// gap of -n in front of item i instead.
func (t *track) split(i int, n int64) {
	t.items = append(t.items, item{})
	copy(t.items[i+1:], t.items[i:])
	if n < 0 {
		n = -n
		t.pos += n
	} else {
		t.items[i+1].samples -= n
	}
	t.items[i] = item{samples: n}
}

// Lost returns how many packets could not be kept, because another one in the
// same block had a different mode. It is 0 while both sides use the same frame
// duration.
func (r *Recorder) Lost() uint64 { return r.lost }

// Close completes the file up to the end of the longer track. It does not close
// the underlying writer, and may be called twice.
func (r *Recorder) Close() error {
	if r.w.closed {
		return r.w.Close()
	}
	var end int64
	for i := range r.tracks {
		end = max(end, r.tracks[i].pos)
	}
	r.advance(end)
	// What is left is the last few milliseconds of a track that ends between
	// two units.
	for i := range r.tracks {
		if n := len(r.tracks[i].items); n > 0 {
			r.tracks[i].pop(n)
		}
	}
	return r.w.Close()
}
