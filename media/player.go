// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

const (
	// playerRoom holds what is left of a pull, at most one packet and half as
	// much again by stretching.
	playerRoom = 2 * maxPacketSamples
	// playerStall is by how much a sound card may be late or early and still be
	// followed; beyond, it has stopped for a while or the computer slept.
	playerStall = 200 * time.Millisecond
	// playerFollow is the share of a sound card's lateness that is believed with
	// each pull: cards take sound in bursts, and drift by less than 0.1 %.
	playerFollow = 32

	// A stretch each few frames is not heard, one in each frame is a fast
	// speaker: so the more the delay is off, the more often.
	stretchGentle = 20 * time.Millisecond
	stretchFar    = 60 * time.Millisecond
	stretchRare   = 8 // frames, below stretchGentle
	stretchOften  = 2 // below stretchFar
)

// A Source gives frames to a reader with a clock of its own: a Playout with
// Stretch, or an In through [Sound].
type Source interface {
	Pop(now time.Time, f *Frame, buf []byte) bool
	Stretched(removed, inserted int)
	Recovered(samples int)
	Restart()
}

// Player makes sound of frames at the pace of whoever pulls, a sound card for
// instance: it decodes, restores and conceals, and keeps the delay where the
// buffer wants it by stretching the sound. So clocks may drift for hours. It is
// pure; once warm, it allocates nothing of its own.
type Player struct {
	src      Source
	dec      Decoder
	fec      FECDecoder // nil when dec has none
	channels int
	stretch  *Stretch
	frame    Frame
	bytes    [MaxPayload]byte
	work     []int16 // one frame, with room to grow
	fifo     []int16 // decoded and not yet pulled

	begun  bool
	clock  time.Time // when the first sample of fifo will be heard
	since  int       // frames since the last stretch
	broken uint64
}

// NewPlayer returns a Player for 1 or 2 channels, as many as dec makes.
func NewPlayer(src Source, dec Decoder, channels int) *Player {
	p := &Player{src: src, dec: dec, channels: channels, stretch: NewStretch(channels)}
	p.channels = p.stretch.channels
	p.fec, _ = dec.(FECDecoder)
	p.work = make([]int16, 0, playerRoom*p.channels)
	p.fifo = make([]int16, 0, playerRoom*p.channels)
	return p
}

// Pull fills pcm, channels interleaved, with the sound to be heard from now on.
func (p *Player) Pull(now time.Time, pcm []int16) {
	p.follow(now)
	for len(pcm) >= p.channels {
		if len(p.fifo) == 0 {
			p.refill()
		}
		n := copy(pcm, p.fifo)
		pcm = pcm[n:]
		p.fifo = p.fifo[:copy(p.fifo, p.fifo[n:])]
		p.clock = p.clock.Add(toDuration(int64(n / p.channels)))
	}
	clear(pcm)
}

// follow keeps the clock near that of the puller.
func (p *Player) follow(now time.Time) {
	late := now.Sub(p.clock)
	switch {
	case !p.begun:
		p.begun, p.clock = true, now
	case late > playerStall || late < -playerStall:
		p.clock = now
		p.fifo = p.fifo[:0]
		p.src.Restart()
	default:
		p.clock = p.clock.Add(late / playerFollow)
	}
}

// refill decodes the next frame into the empty fifo.
func (p *Player) refill() {
	f := &p.frame
	ok := p.src.Pop(p.clock, f, p.bytes[:0])
	pcm := p.work[:f.Samples*p.channels]
	sound := false
	if ok {
		sound = p.decode(f, pcm)
	} else {
		clear(pcm)
	}
	p.since++
	n := f.Samples
	if sound && f.Long != 0 && p.ripe(f.Long) {
		n = p.stretch.Adjust(pcm, f.Long)
		if d := f.Samples - n; d != 0 {
			p.since = 0
			p.src.Stretched(max(d, 0), max(-d, 0))
		}
	}
	p.fifo = append(p.fifo[:0], pcm[:n*p.channels:cap(pcm)]...)
}

// ripe says whether it is time for a stretch.
func (p *Player) ripe(long int) bool {
	switch off := toDuration(int64(max(long, -long))); {
	case off < stretchGentle:
		return p.since >= stretchRare
	case off < stretchFar:
		return p.since >= stretchOften
	}
	return true
}

// decode fills pcm with the sound of f and says whether it is real.
func (p *Player) decode(f *Frame, pcm []int16) bool {
	if len(f.Payload) > 0 {
		n, err := p.dec.Decode(f.Payload, pcm)
		if err == nil && n == f.Samples {
			return true
		}
		p.broken++
	} else if len(f.FEC) > 0 && p.fec != nil {
		n, err := p.fec.DecodeFEC(f.FEC, pcm, f.Samples)
		if err == nil && n == f.Samples {
			p.src.Recovered(n)
			return true
		}
	}
	n := min(max(p.dec.Conceal(pcm, f.Samples), 0), f.Samples)
	clear(pcm[n*p.channels:])
	return false
}

// Broken returns how many packets the decoder refused.
func (p *Player) Broken() uint64 { return p.broken }
