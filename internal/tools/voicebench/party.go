// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/voice"
)

// piece is what a sound card gives and takes at once, 10 ms.
const (
	piece     = 10 * time.Millisecond
	pieceSize = voice.SampleRate / 100
)

// line is one end of a call under test: it takes what is said, gives what is
// heard, and sends and receives datagrams in between. Time is an argument.
type line interface {
	say(now time.Time, pcm []int16) error
	hear(now time.Time, pcm []int16)
	receive(now time.Time, b []byte)
	tick(now time.Time) time.Time // what is due; returns when it is next
	poll() []byte                 // next datagram to send, or nil
	count() counts
}

// counts is what a line knows about itself at the end.
type counts struct {
	samples, concealed uint64
	mos                float64 // live, by the E-model; 0 = has none
	sent               uint64  // bytes on the wire, with IP and UDP headers
}

// person sits at a line with a sound card. It is a simnet.Node.
type person struct {
	line
	peer   netip.AddrPort
	voice  voice.Source
	period time.Duration // between two pieces: a sound card's clock may be off
	due    time.Time     // of the next piece
	until  time.Time     // falls silent
	tickAt time.Time
	said   []int16 // from start on, one value each 1/48000 s
	heard  []int16
	bytes  uint64
	err    error
}

func newPerson(l line, v voice.Source, start time.Time, length time.Duration) *person {
	return &person{line: l, voice: v, period: piece, due: start, until: start.Add(length)}
}

func (p *person) Receive(now time.Time, _ int, _ netip.AddrPort, b []byte) { p.receive(now, b) }

func (p *person) Advance(now time.Time) {
	for !p.due.After(now) {
		p.turn(p.due)
		p.due = p.due.Add(p.period)
	}
	if !p.tickAt.After(now) {
		p.tickAt = p.tick(now)
	}
}

// turn is one call of the sound card: the piece that ended now was said, the
// one that begins now will be heard.
func (p *person) turn(now time.Time) {
	heard := len(p.heard)
	p.heard = append(p.heard, make([]int16, pieceSize)...)
	p.hear(now, p.heard[heard:])
	if heard == 0 {
		return // nothing was said before the start
	}
	said := len(p.said)
	p.said = append(p.said, make([]int16, pieceSize)...)
	if now.Before(p.until) {
		// A source that ends is followed by silence.
		p.voice.ReadPCM(p.said[said:])
	}
	if err := p.say(now, p.said[said:]); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *person) Deadline() time.Time {
	if !p.tickAt.IsZero() && p.tickAt.Before(p.due) {
		return p.tickAt
	}
	return p.due
}

// header is what IPv4 and UDP add to a datagram.
const header = 28

func (p *person) Poll() (int, netip.AddrPort, []byte, bool) {
	b := p.poll()
	if b != nil {
		p.bytes += uint64(len(b)) + header
	}
	return 0, p.peer, b, b != nil
}

// outbox keeps datagrams until the world takes them.
type outbox struct {
	list [][]byte
	next int
}

func (o *outbox) put(b []byte) { o.list = append(o.list, append([]byte(nil), b...)) }

func (o *outbox) poll() []byte {
	if o.next == len(o.list) {
		o.list, o.next = o.list[:0], 0
		return nil
	}
	o.next++
	return o.list[o.next-1]
}

// network is what lies between the two persons.
type network struct {
	loss   float64
	burst  float64
	jitter time.Duration
	oneWay time.Duration
	rate   int
	queue  time.Duration
}

func (n network) profile() simnet.Profile {
	return simnet.Profile{Delay: n.oneWay, Jitter: n.jitter, Loss: n.loss, Burst: n.burst, Rate: n.rate, Queue: n.queue}
}

// call lets two persons talk over a network for a time, with half a second more
// to hear the end. script may change the network meanwhile.
func call(seed uint64, n network, a, b *person, length time.Duration, script func(w *simnet.World, near, far *simnet.Host)) error {
	w := simnet.NewWorld(seed, start)
	// All that the network does happens on one link, so that loss is what it is
	// called; the other one is perfect.
	near := w.Host("a", n.profile(), netip.MustParseAddr("45.0.0.1"))
	far := w.Host("b", simnet.Profile{}, netip.MustParseAddr("45.0.0.2"))
	b.peer = near.Attach(4000, a)
	a.peer = far.Attach(4000, b)
	if script != nil {
		script(w, near, far)
	}
	w.Run(start.Add(length + tail))
	if a.err != nil {
		return a.err
	}
	return b.err
}

// tail is how long is listened after the last word.
const tail = 1500 * time.Millisecond

// start is any moment; the world's clock begins there.
var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func newCodec(c libopus.EncoderConfig) (*libopus.Encoder, *libopus.Decoder, error) {
	enc, err := libopus.NewEncoder(c)
	if err != nil {
		return nil, nil, err
	}
	dec, err := libopus.NewDecoder(1)
	return enc, dec, err
}
