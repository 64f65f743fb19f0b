// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// hum is the sound of a vowel: harmonics of 130 Hz, loud and without a step.
func hum(i int) int16 {
	t := float64(i) / ClockRate
	v := 0.0
	for h := 1.0; h <= 6; h++ {
		v += math.Sin(2*math.Pi*130*h*t) / h
	}
	return int16(6000 * v)
}

// humStep is more than hum changes within a sample.
const humStep = 700

// humDecoder "decodes" speech(id) to the piece of hum that belongs there.
type humDecoder struct {
	channels, at int
	cheap        bool // no sound, only time
	conceals     int
}

func (d *humDecoder) Decode(p []byte, pcm []int16) (int, error) {
	if len(p) < 3 {
		return 0, errors.New("garbage")
	}
	d.at = (int(p[1])<<8 | int(p[2])) * FrameSamples
	return d.fill(pcm, FrameSamples), nil
}

func (d *humDecoder) Conceal(pcm []int16, samples int) int {
	d.conceals++
	return d.fill(pcm, samples) // the perfect guess
}

func (d *humDecoder) fill(pcm []int16, n int) int {
	if !d.cheap {
		for i := range n {
			for c := range d.channels {
				pcm[i*d.channels+c] = hum(d.at + i)
			}
		}
	}
	d.at += n
	return n
}

// room is a listener: packets come as they will, a sound card pulls 10 ms at a
// time by its own clock.
type room struct {
	play   *Playout
	player *Player
	dec    *humDecoder
	card   float64 // its clock's error, 1e-4 = 100 ppm slow
	pcm    [480]int16
	at     time.Duration
	last   int16
	click  int // largest step between two samples
}

func newRoom(c PlayoutConfig) *room {
	c.Stretch = true
	r := &room{play: NewPlayout(c), dec: &humDecoder{channels: 1}}
	r.player = NewPlayer(r.play, r.dec, 1)
	return r
}

// pull plays 10 ms and returns from mouth to ear, but for the net's constant.
func (r *room) pull(t *testing.T) time.Duration {
	r.player.Pull(start.Add(r.at), r.pcm[:])
	for _, v := range r.pcm {
		if r.dec.cheap {
			break
		}
		r.click = max(r.click, int(v)-int(r.last), int(r.last)-int(v))
		r.last = v
	}
	r.at += time.Duration(float64(10*ms) * (1 + r.card))
	if !r.play.playing {
		return 0
	}
	heard := r.play.next - int64(len(r.player.fifo)) - (1 << 32)
	return r.at - toDuration(heard)
}

// hear runs a call: arrive says when packet i comes, negative for never. It
// returns the delay after each pull.
func (r *room) hear(t *testing.T, packets int, arrive func(i int) time.Duration) (delays []time.Duration) {
	type due struct {
		at time.Duration
		i  int
	}
	var late []due // sorted, those held back
	next := 0
	for {
		// Packets are at most a second out of order.
		for next < packets && time.Duration(next)*20*ms <= r.at+time.Second {
			if at := arrive(next); at >= 0 {
				k := len(late)
				late = append(late, due{})
				for k > 0 && late[k-1].at > at {
					late[k] = late[k-1]
					k--
				}
				late[k] = due{at, next}
			}
			next++
		}
		for len(late) > 0 && late[0].at <= r.at {
			k := late[0]
			late = append(late[:0], late[1:]...)
			h := rtp.Header{SequenceNumber: uint16(k.i), Timestamp: uint32(k.i) * 960}
			r.play.PushRedundant(start.Add(k.at), &h, speech(k.i), nil)
		}
		if next == packets && len(late) == 0 {
			return delays
		}
		delays = append(delays, r.pull(t))
	}
}

func even(i int) time.Duration { return time.Duration(i) * 20 * ms }

// TestPlayerClean: on a good net nothing is stretched or concealed, and the
// buffer holds little more than a frame. With the frame itself and the encoder's
// look ahead that is under 60 ms from mouth to ear.
func TestPlayerClean(t *testing.T) {
	r := newRoom(PlayoutConfig{})
	d := r.hear(t, 3000, even)
	s := r.play.Stats(start)
	if s.Concealed > 0 || s.Late > 0 || s.Inserted > 0 {
		t.Errorf("%+v", s)
	}
	if got := d[len(d)-1] + codecDelay + usualFrame; got > 60*ms {
		t.Errorf("mouth to ear %v", got)
	}
	if r.click > humStep {
		t.Errorf("a click of %d", r.click)
	}
	t.Logf("mouth to ear %v, %d samples removed", d[len(d)-1]+codecDelay+usualFrame, s.RemovedFor)
}

// TestPlayerDrift: one hour with a clock that is off by 100 ppm, as crystals
// are, leaves the delay within 20 ms and loses nothing, and so do ten minutes
// with 200 ppm or with a sound card that is off.
func TestPlayerDrift(t *testing.T) {
	for _, ppm := range []float64{-200, -100, 100, 200} {
		for _, card := range []bool{false, true} {
			hour := 180000
			if card || ppm < -100 || ppm > 100 {
				hour /= 6
			}
			r := newRoom(PlayoutConfig{})
			r.dec.cheap = true
			drift := ppm * 1e-6
			arrive := func(i int) time.Duration { return time.Duration(float64(even(i)) * (1 + drift)) }
			if card {
				r.card, arrive = drift, even
			}
			d := r.hear(t, hour, arrive)
			// The sender's clock drifts in arrive, and so does what it said.
			early, late := d[1000], d[len(d)-1]
			if !card {
				late -= time.Duration(drift * float64(even(hour)))
			}
			s := r.play.Stats(start)
			if diff := late - early; diff > 20*ms || diff < -20*ms {
				t.Errorf("%v ppm, sound card %v: delay %v after a minute, %v after an hour", ppm, card, early, late)
			}
			if s.Concealed+s.Late+s.Dropped+s.Removed > 0 {
				t.Errorf("%v ppm, sound card %v: %+v", ppm, card, s)
			}
			want := uint64(math.Abs(drift) * float64(hour*FrameSamples))
			if got := s.Inserted + s.RemovedFor; got < want*8/10 || got > want*12/10+3000 {
				t.Errorf("%v ppm, sound card %v: %d samples stretched, want %d", ppm, card, got, want)
			}
		}
	}
}

// TestPlayerFreeze: half a second without packets, which then come at once:
// every word is heard, and the delay is back where it was within 2 s.
func TestPlayerFreeze(t *testing.T) {
	for _, when := range []int{50, 200, 1000} { // early in a call, and later
		r := newRoom(PlayoutConfig{})
		thaw := even(when) + 500*ms
		d := r.hear(t, when+300, func(i int) time.Duration {
			if i >= when && even(i) < thaw {
				return thaw
			}
			return even(i)
		})
		before, after := d[when*2-2], d[int((thaw+2*time.Second)/(10*ms))]
		if after > before+20*ms {
			t.Errorf("freeze after %d packets: delay %v before it, %v two seconds after", when, before, after)
		}
		if s := r.play.Stats(start); s.Late+s.Dropped > 2 {
			t.Errorf("%d packets not heard: %+v", s.Late+s.Dropped, s)
		}
	}
}

// TestPlayerJitter: the delay follows the jitter, and goes back.
func TestPlayerJitter(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	r := newRoom(PlayoutConfig{})
	d := r.hear(t, 3000, func(i int) time.Duration {
		if i >= 1000 && i < 2000 {
			return even(i) + time.Duration(rng.Int64N(int64(60*ms)))
		}
		return even(i)
	})
	calm, wild, after := d[1900], d[3900], d[5900]
	if wild < calm+20*ms || wild > 90*ms {
		t.Errorf("delay %v in 60 ms of jitter, %v before", wild, calm)
	}
	if after > calm+10*ms {
		t.Errorf("delay %v 18 s after the jitter, %v before", after, calm)
	}
	s := r.play.Stats(start)
	if s.Late > 50 { // 5 % of those with jitter
		t.Errorf("%d packets late", s.Late)
	}
	t.Logf("delay %v, %v, %v; %d late", calm, wild, after, s.Late)
}

// TestPlayerStall: a sound card that stops for seconds finds the present when
// it goes on, and nothing grows meanwhile.
func TestPlayerStall(t *testing.T) {
	r := newRoom(PlayoutConfig{})
	r.hear(t, 500, even)
	before := r.pull(t)
	for i := range 250 { // 5 s of packets nobody takes
		h := rtp.Header{SequenceNumber: uint16(500 + i), Timestamp: uint32(500+i) * 960}
		r.play.Push(start.Add(even(500+i)), &h, speech(500+i))
		checkPlayout(t, r.play, start.Add(even(500+i)))
	}
	r.at = even(749)
	if after := r.pull(t); after > before+40*ms {
		t.Errorf("delay %v, before the stall %v", after, before)
	}
}

// TestPlayerGarbage: packets the decoder refuses are concealed.
func TestPlayerGarbage(t *testing.T) {
	r := newRoom(PlayoutConfig{})
	for i := range 20 {
		p := speech(i)
		if i == 5 {
			p = []byte{0x08, 1} // Opus by its look
		}
		r.play.Push(start.Add(even(i)), &rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, p)
		r.at = even(i)
		r.pull(t)
		r.pull(t)
	}
	if r.player.Broken() != 1 || r.dec.conceals != 1 {
		t.Errorf("%d broken, %d concealed", r.player.Broken(), r.dec.conceals)
	}
}

func TestPlayerAllocates(t *testing.T) {
	r := newRoom(PlayoutConfig{})
	i := 0
	payload := speech(1)
	var h rtp.Header
	step := func() {
		h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
		r.play.PushRedundant(start.Add(r.at), &h, payload, nil)
		r.pull(t)
		r.pull(t)
		i++
	}
	for range 2 * playoutSlots {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkPlayer(b *testing.B) {
	r := newRoom(PlayoutConfig{})
	r.dec.cheap = true
	payload := speech(1)
	var h rtp.Header
	b.ReportAllocs()
	for i := range b.N {
		h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
		r.play.PushRedundant(start.Add(r.at), &h, payload, nil)
		r.pull(nil)
		r.pull(nil)
	}
}

// TestPlayerBadStreams: numbers that jump, wrap and go back, another SSRC,
// repeats, packets of long ago: sound goes on within a second.
func TestPlayerBadStreams(t *testing.T) {
	type stream struct {
		seq  uint16
		ts   uint32
		ssrc uint32
	}
	for name, after := range map[string]stream{
		"nothing":        {500, 500 * 960, 0},
		"number jumps":   {30000, 500 * 960, 0},
		"time jumps":     {500, 1 << 30, 0},
		"time goes back": {500, 960, 0},
		"both go back":   {100, 100 * 960, 0},
		"another SSRC":   {500, 500 * 960, 9},
		"all new":        {7, 7, 7},
	} {
		r := newRoom(PlayoutConfig{})
		push := func(i int, s stream, k int) {
			h := rtp.Header{SequenceNumber: s.seq + uint16(k), Timestamp: s.ts + uint32(k)*960, SSRC: s.ssrc}
			list := []Copy{{Offset: 960, Payload: speech(i - 1)}, {Offset: 4800, Payload: speech(i - 5)}}
			r.play.PushRedundant(start.Add(r.at), &h, speech(i), list)
			if i%10 == 0 { // again, and one of an hour ago
				r.play.PushRedundant(start.Add(r.at), &h, speech(i), list)
				h.SequenceNumber -= 50 * 60 * 60 % 1 << 15
				h.Timestamp -= 3600 * ClockRate
				r.play.PushRedundant(start.Add(r.at), &h, speech(i), list)
			}
		}
		for i := range 1000 {
			if r.at = even(i); i < 500 || name == "nothing" {
				push(i, stream{65000, 1<<32 - 100*960, 0}, i) // both wrap
			} else {
				push(i, after, i-500)
			}
			r.pull(t)
			r.pull(t)
			checkPlayout(t, r.play, start.Add(r.at))
		}
		if s := r.play.Stats(start); s.Played < 940 {
			t.Errorf("%s: %d of 1000 packets played: %+v", name, s.Played, s)
		}
	}
}

// FuzzPlayer reads its input as a script of packets with copies, pulls, waits
// and stalls. Nothing panics or grows, and pulls are always filled.
func FuzzPlayer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0x80, 0x80, 0, 0x80, 0x80, 0x40, 3, 2, 0x80, 0xc5, 0x80})
	f.Add([]byte("jump\xff\xff\xff\xffand\xfe\xfe\xfeback, with \x41\x42\x43 copies"))
	f.Fuzz(func(t *testing.T, script []byte) {
		r := newRoom(PlayoutConfig{})
		r.dec.cheap = true
		var h rtp.Header
		take := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		for len(script) > 0 {
			op := take()
			switch op >> 6 {
			case 0: // the packet after, some lost, with copies
				n := uint16(op&3) + 1
				h.SequenceNumber += n
				h.Timestamp += uint32(n) * 960
				r.play.PushRedundant(start.Add(r.at), &h, []byte{op, 0x40, 1}, []Copy{
					{Offset: uint32(op>>2&7) * 960, Payload: speech(1)},
					{Offset: uint32(op) << 4, Payload: []byte{op, 1, 2}},
				})
			case 1: // a jump
				h.SequenceNumber += uint16(int8(take())) * uint16(op&0x3f)
				h.Timestamp += uint32(int32(int8(take()))) << (op & 0x1f)
				h.SSRC ^= uint32(op & 1)
				if op&2 != 0 { // a key there
					r.play.Skip(&h)
				}
			case 2:
				r.pull(t)
			case 3:
				r.at += time.Duration(op&0x3f) * time.Duration(op&0x3f) * ms
			}
			checkPlayout(t, r.play, start.Add(r.at))
			if len(r.player.fifo) > playerRoom {
				t.Fatalf("%d samples in the player", len(r.player.fifo))
			}
		}
	})
}
